//! Which linear maps a method changes: by role, by PEFT's suffixes, by a pattern over the whole name, or all but the
//! head. Knows names and roles; no tensor and no method.

mod hints;
mod role;

use std::collections::BTreeSet;

use regex::Regex;

use crate::error::{Error, Result};
use crate::layers::Rows;

use hints::nothing;
pub use role::{Map, Part, Role};

/// A linear map of a model: its whole name and what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The name in the checkpoint without `.weight`, such as `model.layers.0.self_attn.q_proj`; of a slice that of the fused
    /// map and a part of its own, such as `model.layers.0.self_attn.qkv_proj.q`.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// The rows of the fused map's weight that it is, where it is a slice of one.
    pub slice: Option<Rows>,
}

impl Place {
    /// A map with a weight of its own.
    pub fn new(name: impl Into<String>, role: Role) -> Self {
        Self { name: name.into(), role, slice: None }
    }

    /// These rows of the fused map `whole`.
    pub fn slice(whole: &str, part: &str, role: Role, rows: Rows) -> Self {
        Self { name: format!("{whole}.{part}"), role, slice: Some(rows) }
    }

    /// The fused map that this is a slice of.
    pub fn whole(&self) -> Option<Self> {
        let (whole, _) = self.slice.and(self.name.rsplit_once('.'))?;
        Some(Self::new(whole, Role::Fused))
    }
}

/// Which linear maps a method changes. Slices of fused maps are meant by their roles alone: names and patterns mean the
/// modules of a checkpoint, as in PEFT.
#[derive(Debug, Clone)]
pub enum Targets {
    /// Maps and slices of these roles.
    Roles(Vec<Role>),
    /// Maps whose whole name is one of these, or ends in a dot and one of these.
    Suffixes(Vec<String>),
    /// Maps whose whole name matches.
    Pattern(Pattern),
    /// Every linear map but the output head.
    AllLinear,
    /// Those of the first that are not of the second.
    Except(Box<Targets>, Box<Targets>),
    /// Those that stand in layers of these numbers.
    InLayers(Box<Targets>, Layers),
    /// The slices of these names, and of the first those that have none of these slices.
    Slices(Box<Targets>, BTreeSet<String>),
}

/// Layers by number, from 0 on.
#[derive(Debug, Clone)]
pub struct Layers {
    numbers: Vec<u64>,
    counted: Vec<Regex>,
}

impl Layers {
    /// Layers as a model counts them, by the first number in a map's name; of an encoder–decoder, of both.
    pub fn new(numbers: Vec<u64>) -> Self {
        Self { numbers, counted: Vec::new() }
    }

    /// Layers as PEFT counts them: by the number behind one of `names` (`layers_pattern`), or, without names, the last one
    /// that stands between dots.
    pub fn of_peft(numbers: Vec<u64>, names: &[String]) -> Result<Self> {
        let all = [r"[^.]*".to_owned()];
        let names = if names.is_empty() { &all[..] } else { names };
        let compile = |name: &String| {
            Regex::new(&format!(r"^.*\.{name}\.(\d+)\.")).map_err(|error| {
                let problem = format!("`{name}` is no valid pattern: {error}");
                Error::setting("layers_pattern", problem, "give a name, such as `layers`")
            })
        };
        Ok(Self { numbers, counted: names.iter().map(compile).collect::<Result<_>>()? })
    }

    /// The number of the layer that the map `name` stands in.
    fn number(&self, name: &str) -> Option<u64> {
        match self.counted.is_empty() {
            true => name.split('.').find_map(|part| part.parse().ok()),
            false => self.counted.iter().find_map(|regex| regex.captures(name)?.get(1)?.as_str().parse().ok()),
        }
    }

    fn contain(&self, name: &str) -> bool {
        self.number(name).is_some_and(|number| self.numbers.contains(&number))
    }
}

/// A regular expression over whole names.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    whole: Regex,
}

impl Pattern {
    /// Compiles `text`, which must match a name from its start to its end.
    pub fn new(text: &str) -> Result<Self> {
        let whole = Regex::new(&format!("^(?:{text})$")).map_err(|error| {
            Error::setting(
                "targets",
                format!("`{text}` is no valid pattern: {error}"),
                "give a regular expression over whole names",
            )
        })?;
        Ok(Self { text: text.to_owned(), whole })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Targets {
    /// Whether the linear map at `place` is meant.
    pub fn contain(&self, place: &Place) -> bool {
        match self {
            Self::Roles(roles) => roles.iter().any(|role| role.covers(place.role)),
            Self::Suffixes(_) | Self::Pattern(_) | Self::AllLinear if place.slice.is_some() => false,
            Self::Suffixes(suffixes) => suffixes.iter().any(|suffix| ends_in(&place.name, suffix)),
            Self::Pattern(pattern) => pattern.whole.is_match(&place.name),
            Self::AllLinear => !matches!(place.role, Role::Head | Role::Embedding),
            Self::Except(targets, others) => {
                let with_the_whole = || place.whole().is_some_and(|whole| others.contain(&whole));
                targets.contain(place) && !others.contain(place) && !with_the_whole()
            }
            Self::InLayers(targets, layers) => targets.contain(place) && layers.contain(&place.name),
            Self::Slices(targets, slices) => match place.slice {
                Some(_) => slices.contains(&place.name),
                None => targets.contain(place) && !slices.iter().any(|slice| is_part(slice, &place.name)),
            },
        }
    }

    /// Checks that each entry means at least one of a model's linear maps.
    pub fn check(&self, places: &[&Place]) -> Result<()> {
        let any = |meant: &dyn Fn(&Place) -> bool| places.iter().any(|place| meant(place));
        match self {
            Self::Roles(roles) if roles.is_empty() => Err(nothing("names no role", places, None)),
            Self::Suffixes(suffixes) if suffixes.is_empty() => Err(nothing("names no linear map", places, None)),
            Self::Roles(roles) => match roles.iter().find(|role| !any(&|place| role.covers(place.role))) {
                Some(role) => {
                    let has = Role::all().filter(|role| any(&|place| role.covers(place.role)));
                    let has: Vec<_> = has.map(Role::name).collect();
                    let problem = format!("the model has no linear map of the role `{role}`");
                    Err(Error::setting("targets", problem, format!("it has: {}", has.join(", "))))
                }
                None => Ok(()),
            },
            Self::Suffixes(suffixes) => {
                match suffixes.iter().find(|suffix| !any(&|place| ends_in(&place.name, suffix))) {
                    Some(suffix) => {
                        Err(nothing(&format!("no linear map is called `{suffix}`"), places, Some(suffix.as_str())))
                    }
                    None => Ok(()),
                }
            }
            Self::Pattern(pattern) if !any(&|place| self.contain(place)) => {
                Err(nothing(&format!("no whole name matches `{}`", pattern.text), places, None))
            }
            Self::AllLinear if !any(&|place| self.contain(place)) => {
                Err(nothing("the model has no linear map but its head", places, None))
            }
            Self::Pattern(_) | Self::AllLinear => Ok(()),
            Self::Except(targets, others) => {
                targets.check(places)?;
                others.check(places).map_err(|error| match error {
                    Error::Setting { problem, hint, .. } => Error::setting("exclude", problem, hint),
                    other => other,
                })?;
                let of_whole = |place: &&&Place| {
                    others.contain(place) && place.whole().is_some_and(|whole| targets.contain(&whole))
                };
                if let Some(slice) = places.iter().find(of_whole) {
                    let problem = format!("means `{}`, a slice of a map that is a target as a whole", slice.name);
                    let hint =
                        "name the slices to adapt by their roles as `targets`, such as attention.q and attention.v";
                    return Err(Error::setting("exclude", problem, hint));
                }
                if any(&|place| self.contain(place)) { Ok(()) } else { Err(none_left("exclude", "leaves no target")) }
            }
            Self::InLayers(targets, layers) => {
                targets.check(places)?;
                let known = || places.iter().filter_map(|place| layers.number(&place.name));
                match layers.numbers.iter().find(|number| !known().any(|known| known == **number)) {
                    Some(number) => {
                        let last = known().max().map_or_else(|| "no layer".to_owned(), |last| format!("0 to {last}"));
                        let problem = format!("there is no layer {number}");
                        Err(Error::setting("layers", problem, format!("the model has {last}")))
                    }
                    None if any(&|place| self.contain(place)) => Ok(()),
                    None => Err(none_left("layers", "hold no target")),
                }
            }
            Self::Slices(targets, slices) => {
                targets.check(places)?;
                match slices.iter().find(|slice| !any(&|place| place.slice.is_some() && place.name == **slice)) {
                    Some(slice) => {
                        let problem = format!("the model has no fused map with the slice `{slice}`");
                        Err(Error::setting("targets", problem, "check that the adapter belongs to this base model"))
                    }
                    None => Ok(()),
                }
            }
        }
    }
}

/// Whether `slice` is the name of a slice of the map `whole`.
fn is_part(slice: &str, whole: &str) -> bool {
    slice.rsplit_once('.').is_some_and(|(of, _)| of == whole)
}

fn none_left(setting: &str, problem: &str) -> Error {
    Error::setting(setting, problem, "nothing would train: compare it with `targets`")
}

fn ends_in(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix).is_some_and(|front| front.is_empty() || front.ends_with('.'))
}

impl Targets {
    /// Refuses slices for this `reason`: a method whose files have no place for them.
    pub fn whole_maps_alone(&self, places: &[&Place], reason: &str) -> Result<()> {
        match places.iter().find(|place| place.slice.is_some() && self.contain(place)) {
            None => Ok(()),
            Some(slice) => {
                let problem =
                    format!("mean `{}`, a slice of a fused map, which cannot be adapted: {reason}", slice.name);
                let whole = slice.whole().map(|whole| whole.name).unwrap_or_default();
                let suffix = whole.rsplit('.').next().unwrap_or_default();
                Err(Error::setting("targets", problem, format!("name the whole map: `{{suffix: [{suffix}]}}`")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Vec<Place> {
        let names = [
            ("model.layers.0.self_attn.q_proj", Role::AttentionQ),
            ("model.layers.0.self_attn.k_proj", Role::AttentionK),
            ("model.layers.1.self_attn.q_proj", Role::AttentionQ),
            ("model.layers.1.mlp.up_proj", Role::MlpUp),
            ("lm_head", Role::Head),
        ];
        names.map(|(name, role)| Place::new(name, role)).into()
    }

    fn chosen(targets: &Targets) -> Vec<usize> {
        places().iter().enumerate().filter(|(_, place)| targets.contain(place)).map(|(index, _)| index).collect()
    }

    fn problem(targets: &Targets) -> String {
        let all = places();
        let error = targets.check(&all.iter().collect::<Vec<_>>()).unwrap_err();
        format!("{error} / {}", error.hint().unwrap())
    }

    #[test]
    fn roles_suffixes_patterns_and_all_choose_what_peft_chooses() {
        assert_eq!(chosen(&Targets::Roles(vec![Role::AttentionQ, Role::MlpUp])), [0, 2, 3]);
        assert_eq!(chosen(&Targets::Suffixes(vec!["q_proj".into()])), [0, 2]);
        assert_eq!(chosen(&Targets::Suffixes(vec!["_proj".into()])), [0; 0], "a suffix begins after a dot");
        assert_eq!(chosen(&Targets::Suffixes(vec!["0.self_attn.q_proj".into(), "lm_head".into()])), [0, 4]);
        assert_eq!(chosen(&Targets::Pattern(Pattern::new(r"model\.layers\.1\..*").unwrap())), [2, 3]);
        assert_eq!(chosen(&Targets::Pattern(Pattern::new("q_proj").unwrap())), [0; 0], "a part is not the whole name");
        assert_eq!(chosen(&Targets::Pattern(Pattern::new("x|lm_head").unwrap())), [4]);
        assert_eq!(chosen(&Targets::AllLinear), [0, 1, 2, 3]);
    }

    #[test]
    fn targets_can_be_narrowed() {
        let q = || Box::new(Targets::Suffixes(vec!["q_proj".into()]));
        let but_first = Targets::Except(
            Box::new(Targets::AllLinear),
            Box::new(Targets::Suffixes(vec!["0.self_attn.q_proj".into()])),
        );
        assert_eq!(chosen(&but_first), [1, 2, 3]);
        let in_layer = |numbers: &[u64]| Targets::InLayers(Box::new(Targets::AllLinear), Layers::new(numbers.to_vec()));
        assert_eq!(chosen(&in_layer(&[1])), [2, 3]);
        assert_eq!(chosen(&in_layer(&[0, 1])), [0, 1, 2, 3]);
        assert_eq!(problem(&in_layer(&[1, 2])), "layers: there is no layer 2 / the model has 0 to 1");
        let nothing = Targets::Except(q(), q());
        assert!(problem(&nothing).starts_with("exclude: leaves no target"), "{}", problem(&nothing));
        let misspelt = Targets::Except(q(), Box::new(Targets::Suffixes(vec!["q_porj".into()])));
        assert!(problem(&misspelt).starts_with("exclude: no linear map is called `q_porj`"));
        let up = Targets::InLayers(Box::new(Targets::Roles(vec![Role::MlpUp])), Layers::new(vec![0]));
        assert!(problem(&up).starts_with("layers: hold no target"));
    }

    #[test]
    fn layers_are_counted_as_peft_counts_them() {
        let peft = |names: &[&str]| {
            Layers::of_peft(vec![1], &names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
        };
        assert_eq!(peft(&[]).number("model.layers.3.self_attn.q_proj"), Some(3));
        assert_eq!(peft(&[]).number("encoder.block.2.layer.0.SelfAttention.q"), Some(0), "the last number of all");
        assert_eq!(peft(&["block"]).number("encoder.block.2.layer.0.SelfAttention.q"), Some(2));
        assert_eq!(Layers::new(vec![1]).number("encoder.block.2.layer.0.SelfAttention.q"), Some(2));
        assert_eq!(peft(&["h", "layers"]).number("model.layers.3.q"), Some(3));
        assert_eq!(peft(&[]).number("lm_head"), None);
    }

    #[test]
    fn targets_that_mean_nothing_are_errors_that_say_what_there_is() {
        assert_eq!(
            problem(&Targets::Roles(vec![Role::AttentionQ, Role::MlpGate])),
            "targets: the model has no linear map of the role `mlp.gate` / it has: attention.q, attention.k, mlp.up, head"
        );
        assert_eq!(
            problem(&Targets::Suffixes(vec!["q_proj".into(), "q_porj".into()])),
            "targets: no linear map is called `q_porj` / did you mean `q_proj`? The model has: q_proj, k_proj, up_proj, \
             lm_head; a whole name is `model.layers.0.self_attn.q_proj`"
        );
        assert!(problem(&Targets::Pattern(Pattern::new("q_proj").unwrap())).contains("no whole name matches `q_proj`"));
        assert!(problem(&Targets::Suffixes(vec![])).contains("names no linear map"));
        assert_eq!(Pattern::new("(").unwrap_err().hint(), Some("give a regular expression over whole names"));
    }

    /// A model whose queries, keys and values are slices of one map.
    fn fused() -> Vec<Place> {
        let whole = |layer: usize| format!("model.layers.{layer}.self_attn.qkv_proj");
        let of = |layer: usize| {
            let rows = |first, count| Rows { first, count };
            [
                Place::new(whole(layer), Role::Fused),
                Place::slice(&whole(layer), "q", Role::AttentionQ, rows(0, 4)),
                Place::slice(&whole(layer), "k", Role::AttentionK, rows(4, 2)),
                Place::new(format!("model.layers.{layer}.self_attn.o_proj"), Role::AttentionO),
            ]
        };
        [of(0), of(1)].into_iter().flatten().collect()
    }

    #[test]
    fn slices_are_meant_by_roles_and_whole_maps_by_names() {
        let places = fused();
        let chosen = |targets: &Targets| -> Vec<usize> {
            (0..places.len()).filter(|&index| targets.contain(&places[index])).collect()
        };
        let q = || Box::new(Targets::Roles(vec![Role::AttentionQ]));
        let suffix = |name: &str| Box::new(Targets::Suffixes(vec![name.to_owned()]));
        assert_eq!(chosen(&q()), [1, 5]);
        assert_eq!(chosen(&suffix("qkv_proj")), [0, 4]);
        assert_eq!(chosen(&suffix("q")), [0; 0]);
        assert_eq!(chosen(&Targets::Pattern(Pattern::new(r".*qkv_proj.*").unwrap())), [0, 4]);
        assert_eq!(chosen(&Targets::AllLinear), [0, 3, 4, 7]);
        assert_eq!(chosen(&Targets::InLayers(q(), Layers::new(vec![1]))), [5]);
        let both = || Box::new(Targets::Roles(vec![Role::AttentionQ, Role::AttentionK]));
        assert_eq!(chosen(&Targets::Except(both(), q())), [2, 6]);
        assert_eq!(
            chosen(&Targets::Except(both(), suffix("0.self_attn.qkv_proj"))),
            [5, 6],
            "the whole has its slices"
        );
        let named = BTreeSet::from(["model.layers.0.self_attn.qkv_proj.k".to_owned()]);
        assert_eq!(chosen(&Targets::Slices(Box::new(Targets::AllLinear), named)), [2, 3, 4, 7]);
    }

    #[test]
    fn what_cannot_be_meant_of_slices_is_refused() {
        let places = fused();
        let places: Vec<&Place> = places.iter().collect();
        let problem = |targets: &Targets| {
            let error = targets.check(&places).unwrap_err();
            format!("{error} / {}", error.hint().unwrap())
        };
        let q = || Box::new(Targets::Roles(vec![Role::AttentionQ]));
        let but = problem(&Targets::Except(Box::new(Targets::AllLinear), q()));
        assert!(
            but.starts_with("exclude: means `model.layers.0.self_attn.qkv_proj.q`, a slice of a map that"),
            "{but}"
        );
        assert_eq!(
            problem(&Targets::Suffixes(vec!["q_proj".into()])),
            "targets: no linear map is called `q_proj` / name this slice of `qkv_proj` by its role, \
             `attention.q`; the model has: qkv_proj, o_proj (slices of these are meant by their roles: attention.q, \
             attention.k)"
        );
        let misspelt = problem(&Targets::Suffixes(vec!["qvk_proj".into()]));
        assert!(misspelt.contains("did you mean `qkv_proj`? The model has: qkv_proj, o_proj (slices"), "{misspelt}");
        let v = problem(&Targets::Roles(vec![Role::AttentionV]));
        assert!(v.ends_with("/ it has: attention.q, attention.k, attention.o"), "{v}");
        let named = BTreeSet::from(["model.layers.7.self_attn.qkv_proj.k".to_owned()]);
        let absent = problem(&Targets::Slices(Box::new(Targets::AllLinear), named));
        assert!(absent.contains("no fused map with the slice `model.layers.7.self_attn.qkv_proj.k`"), "{absent}");
        assert!(Targets::AllLinear.whole_maps_alone(&places, "so").is_ok());
        let refused = q().whole_maps_alone(&places, "for a reason").unwrap_err();
        assert!(refused.to_string().ends_with("which cannot be adapted: for a reason"), "{refused}");
        assert_eq!(refused.hint(), Some("name the whole map: `{suffix: [qkv_proj]}`"));
    }
}
