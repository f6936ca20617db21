//! PEFT's `target_modules`: a list of suffixes, a pattern over whole names, or `all-linear`. Knows no method.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::models::Model;
use crate::targets::{Pattern, Place, Targets};

/// What `target_modules` means.
pub fn read(target_modules: &Value) -> Result<Targets> {
    match target_modules {
        Value::String(text) if text == "all-linear" => Ok(Targets::AllLinear),
        Value::String(pattern) => Ok(Targets::Pattern(Pattern::new(pattern)?)),
        Value::Array(list) => {
            let names = list.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
            names.map(Targets::Suffixes).ok_or_else(|| not_targets("holds something that is no name"))
        }
        _ => Err(not_targets("names no module")),
    }
}

/// The `target_modules` that mean the same maps of `model` to PEFT as `targets`: a list of suffixes.
pub fn write(targets: &Targets, model: &Model) -> Value {
    let places: Vec<_> = model.places().chain(model.slices()).chain(model.lookups()).collect();
    json!(suffixes(targets, &places, &model.heads().collect::<Vec<_>>()))
}

fn not_targets(problem: &str) -> Error {
    Error::setting("adapter_config.json: target_modules", problem, "give a list of names, a pattern, or `all-linear`")
}

/// The sorted suffixes that mean exactly the chosen maps and nothing of the head: of each name the fewest last parts that
/// mean no other map. A slice is written as the map that it is of.
fn suffixes(targets: &Targets, places: &[&Place], heads: &[&Place]) -> Vec<String> {
    if let Targets::Suffixes(suffixes) = targets {
        return suffixes.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
    }
    let taken_apart: BTreeSet<String> = places
        .iter()
        .filter(|place| targets.contain(place))
        .filter_map(|place| place.whole().map(|whole| whole.name))
        .collect();
    let modules = places.iter().filter(|place| place.slice.is_none());
    let (chosen, others): (Vec<&Place>, Vec<&Place>) =
        modules.partition(|place| targets.contain(place) || taken_apart.contains(&place.name));
    let shortest = |place: &&Place| {
        let ends = place.name.rmatch_indices('.').map(|(dot, _)| place.name.split_at(dot + 1).1);
        let unmistakable = |end: &&str| {
            let meant = Targets::Suffixes(vec![(*end).to_owned()]);
            !others.iter().chain(heads).any(|other| meant.contain(other))
        };
        ends.into_iter().find(unmistakable).unwrap_or(place.name.as_str()).to_owned()
    };
    chosen.iter().map(shortest).collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::Role;

    #[test]
    fn targets_are_written_as_the_suffixes_that_mean_the_same() {
        let places: Vec<Place> =
            [("m.0.q_proj", Role::AttentionQ), ("m.1.q_proj", Role::AttentionQ), ("m.0.up", Role::MlpUp)]
                .map(|(name, role)| Place::new(name, role))
                .into();
        let places: Vec<&Place> = places.iter().collect();
        assert_eq!(suffixes(&Targets::Roles(vec![Role::AttentionQ]), &places, &[]), ["q_proj"]);
        assert_eq!(suffixes(&Targets::AllLinear, &places, &[]), ["q_proj", "up"]);
        let first = Targets::Pattern(Pattern::new(r"m\.0\..*").unwrap());
        assert_eq!(suffixes(&first, &places, &[]), ["0.q_proj", "up"], "q_proj alone would mean layer 1 too");
        let head = Place::new("classifier.up", Role::Head);
        let up = Targets::Roles(vec![Role::MlpUp]);
        assert_eq!(suffixes(&up, &places, &[&head]), ["0.up"], "up alone would mean a part of the head");
    }
}
