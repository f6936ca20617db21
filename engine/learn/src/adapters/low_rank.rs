//! What the low-rank methods have in common: how their factors are made, in which store they are, which biases train beside
//! them, and how all of it is saved. Knows no forward pass.

use std::path::Path;

use serde_json::{Map, Value, json};
use tch::{Kind, Tensor};

use super::FactorSizes;
use super::first_values::{self, Base, First, FirstValues, Kaiming, Stored};
use super::lora::Factors;
use super::lora_embedding::LoraLookup;
use crate::by_name::{ByName, Several};
use crate::error::{Error, Result};
use crate::layers::{Linear, Table};
use crate::parameters::{Learning, Stores};
use crate::peft::learned::Learned;
use crate::peft::lora::LoraConfig;
use crate::peft::slices::{Factors as OfSlice, Slices};
use crate::peft::{self, AdapterConfig, PREFIX, Saved};
use crate::targets::{Place, Targets};
use crate::weights::Init;

/// The settings of a product of two small matrices beside each of the targets.
#[derive(Debug)]
pub struct LowRank {
    /// Rows of A and columns of B.
    pub rank: i64,
    /// The numerator of the scale.
    pub alpha: f64,
    /// Dropout on the input of A in training.
    pub dropout: f64,
    /// The maps.
    pub targets: Targets,
    /// What alpha is divided by.
    pub scale: Scale,
    /// Ranks of single maps.
    pub ranks: ByName<i64>,
    /// Alphas of single maps.
    pub alphas: ByName<f64>,
    /// What the factors begin with.
    pub init: Box<dyn FirstValues>,
    /// Which biases of the model train.
    pub biases: Biases,
    /// Slices of fused maps whose ranks and alphas a file gives.
    pub slices: Slices,
}

/// What alpha is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// The rank.
    Standard,
    /// Its square root. Kalajdzievski, A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA (arXiv 2312.03732).
    RankStabilized,
}

impl Scale {
    /// s.
    pub fn of(self, alpha: f64, rank: i64) -> f64 {
        match self {
            Self::Standard => alpha / rank as f64,
            Self::RankStabilized => alpha / (rank as f64).sqrt(),
        }
    }

    /// The alpha that has the same scale at twice the rank.
    fn at_twice_the_rank(self, alpha: f64) -> f64 {
        match self {
            Self::Standard => alpha * 2.0,
            Self::RankStabilized => alpha * std::f64::consts::SQRT_2,
        }
    }
}

/// Which biases of the model train beside the factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Biases {
    /// None.
    None,
    /// Every tensor whose name says so: as in PEFT that is T5's tables of relative positions, too.
    All,
    /// Those of the maps that are adapted.
    Adapted,
}

impl Biases {
    fn peft(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::All => "all",
            Self::Adapted => "lora_only",
        }
    }

    fn from_peft(word: &str) -> Result<Self> {
        [Self::None, Self::All, Self::Adapted].into_iter().find(|biases| biases.peft() == word).ok_or_else(|| {
            let problem = format!("`bias` is \"{word}\", and its meaning is not known here");
            Error::setting("adapter_config.json", problem, peft::MERGE)
        })
    }
}

/// What becomes of A.
#[derive(Debug)]
pub enum FactorA {
    /// It trains.
    Trains(Learning),
    /// It keeps its first values.
    Frozen,
}

impl FactorA {
    /// Whether it trains.
    pub fn trains(&self) -> bool {
        matches!(self, Self::Trains(_))
    }

    fn keep(self, name: &str, a: Tensor, stores: &mut Stores) -> Result<Tensor> {
        match self {
            Self::Trains(learning) => stores.trainable.add_learning(name, &a, learning),
            Self::Frozen => stores.freeze(name, a),
        }
    }
}

/// The names of what stands beside a map.
struct Names {
    a: String,
    b: String,
    /// What A and B began with, where it was taken out of the base.
    first_a: String,
    first_b: String,
}

impl Names {
    fn of(place: &Place) -> Self {
        let of = |end: &str| format!("{}.{end}", place.name);
        Self {
            a: of("lora_A.weight"),
            b: of("lora_B.weight"),
            first_a: of("lora_A.first"),
            first_b: of("lora_B.first"),
        }
    }
}

/// What PEFT puts between the name of an adapted map and that of its own bias.
const BASE_BIAS: &str = ".base_layer.bias";

impl LowRank {
    /// Factors of this `rank` on `targets`, scaled by `alpha / rank`, that begin with Kaiming's values; `dropout` acts on
    /// the adapter's input in training.
    pub fn new(rank: i64, alpha: f64, dropout: f64, targets: Targets) -> Result<Self> {
        check_rank("rank", rank)?;
        check_alpha("alpha", alpha)?;
        if !(0.0..1.0).contains(&dropout) {
            return Err(Error::setting("dropout", format!("is {dropout}"), "it must be at least 0 and below 1"));
        }
        Ok(Self {
            rank,
            alpha,
            dropout,
            targets,
            scale: Scale::Standard,
            ranks: ByName::none("rank_pattern"),
            alphas: ByName::none("alpha_pattern"),
            init: Box::new(Kaiming),
            biases: Biases::None,
            slices: Slices::default(),
        })
    }

    /// The same with ranks and alphas of single maps.
    pub fn with_patterns(self, ranks: ByName<i64>, alphas: ByName<f64>) -> Result<Self> {
        ranks.iter().try_for_each(|(_, rank)| check_rank("rank_pattern", rank))?;
        alphas.iter().try_for_each(|(_, alpha)| check_alpha("alpha_pattern", alpha))?;
        Ok(Self { ranks, alphas, ..self })
    }

    /// The factors that an adapter of PEFT has; those with a frozen A begin with the A of its file.
    pub fn from_peft(file: &AdapterConfig, config: &LoraConfig, learned: &Learned) -> Result<Self> {
        let read = Self::from_config(config)?;
        let slices = Slices::read(file.folder())?;
        let read = Self { targets: slices.targets(read.targets), slices, ..read };
        Ok(match learned.a_frozen {
            true => Self { init: Box::new(Stored::open(file.folder(), read.init)?), ..read },
            false => read,
        })
    }

    /// The same without what they begin with: enough to read values, not to train.
    pub(crate) fn from_config(config: &LoraConfig) -> Result<Self> {
        let ranks = ByName::new("rank_pattern", config.ranks()?, Several::FirstHolds)?;
        let alphas = ByName::new("alpha_pattern", config.alphas()?, Several::FirstHolds)?;
        let plain = Self::new(config.r, config.lora_alpha, config.lora_dropout, config.targets()?)?;
        Ok(Self {
            scale: if config.use_rslora { Scale::RankStabilized } else { Scale::Standard },
            init: config.first_values(),
            biases: config.bias.as_deref().map_or(Ok(Biases::None), Biases::from_peft)?,
            ..plain.with_patterns(ranks, alphas)?
        })
    }

    /// Whether a tensor of the base model trains: one of the biases.
    pub fn trains(&self, name: &str, of: Option<&Place>) -> bool {
        match self.biases {
            Biases::None => false,
            Biases::All => name.contains("bias"),
            Biases::Adapted => name.ends_with(".bias") && of.is_some_and(|place| self.targets.contain(place)),
        }
    }

    /// Checks the settings against all linear maps of a model.
    pub fn check(&self, places: &[&Place]) -> Result<()> {
        self.targets.check(places)?;
        let adapted = || places.iter().copied().filter(|place| self.targets.contain(place));
        self.ranks.check(adapted())?;
        self.alphas.check(adapted())
    }

    /// The rank at `place`.
    pub fn rank_at(&self, place: &Place) -> i64 {
        let of_slice = self.slices.factors(&place.name).map(|factors| factors.rank);
        of_slice.or_else(|| self.ranks.get(&place.name)).unwrap_or(self.rank)
    }

    fn alpha_at(&self, place: &Place) -> f64 {
        let of_slice = self.slices.factors(&place.name).map(|factors| factors.alpha);
        of_slice.or_else(|| self.alphas.get(&place.name)).unwrap_or(self.alpha)
    }

    /// The scale s at `place`.
    pub fn scale_at(&self, place: &Place) -> f64 {
        self.scale.of(self.alpha_at(place), self.rank_at(place))
    }

    /// What it puts beside the map at `place`, with an A that trains.
    pub fn beside(&self, place: &Place) -> FactorSizes {
        FactorSizes {
            rank: self.rank_at(place),
            dropout: self.dropout > 0.0,
            decomposed: false,
            a_trains: true,
            first_kept: self.init.base() == Base::Residual,
        }
    }

    /// New factors for the map at `place`, and the map that they stand beside: the same, or what is left of it.
    pub(super) fn create(
        &self,
        place: &Place,
        plain: Linear,
        a: FactorA,
        b: Learning,
        stores: &mut Stores,
    ) -> Result<(Linear, Factors)> {
        self.create_with(place, plain, a, |_, _| Ok(b), stores)
    }

    /// The same with a B that learns as `b` says for A and the scale.
    pub(super) fn create_with(
        &self,
        place: &Place,
        mut plain: Linear,
        a: FactorA,
        b: impl FnOnce(&Tensor, f64) -> Result<Learning>,
        stores: &mut Stores,
    ) -> Result<(Linear, Factors)> {
        let (names, scale) = (Names::of(place), self.scale_at(place));
        let map = first_values::Map {
            weight: &plain.weight,
            a: &names.a,
            b: &names.b,
            rank: self.rank_at(place),
            scale,
            fresh: stores.fresh,
        };
        let first = self.init.of(&map)?;
        if self.init.base() == Base::Residual {
            let weight = residual(&plain.weight, &first, scale)?;
            stores.frozen.replace(&format!("{}.weight", place.name), weight.shallow_clone());
            plain.weight = weight;
            for (name, tensor) in [(names.first_a, &first.a), (names.first_b, &first.b)] {
                let _ = stores.freeze(&name, tensor.f_detach_copy()?)?;
            }
        }
        let learning = b(&first.a, scale)?;
        let a = a.keep(&names.a, first.a, stores)?;
        let b = stores.trainable.add_learning(&names.b, &first.b, learning)?;
        Ok((plain, Factors { a, b, scale, dropout: self.dropout }))
    }

    /// New factors for the embedding at `place`; they begin alike whatever those of maps begin with, as in PEFT.
    pub(super) fn create_lookup(&self, place: &Place, plain: Table, stores: &mut Stores) -> Result<LoraLookup> {
        let ((count, width), rank) = (plain.weight.size2()?, self.rank_at(place));
        let [a_name, b_name] = ["A", "B"].map(|factor| format!("{}.lora_embedding_{factor}", place.name));
        let a = stores.fresh.draw(&a_name, &[rank, count], Init::Constant(0.0))?;
        let b = stores.fresh.draw(&b_name, &[width, rank], Init::Normal(1.0))?;
        let (a, b) = (stores.trainable.add(&a_name, &a)?, stores.trainable.add(&b_name, &b)?);
        Ok(LoraLookup { plain, a, b, scale: self.scale_at(place) })
    }

    /// Whether the key is that of an A.
    pub fn is_a(key: &str) -> bool {
        key.ends_with(".lora_A.weight")
    }

    /// The parameter that has this key in PEFT's files.
    pub fn parameter(key: &str) -> Option<String> {
        let name = peft::name_of(key)?;
        Some(match name.strip_suffix(BASE_BIAS) {
            Some(map) => format!("{map}.bias"),
            None => name.to_owned(),
        })
    }

    /// Saves the adapter as PEFT does, as DoRA or as LoRA, and beside it what PEFT has no word for: how it `learned`.
    ///
    /// An adapter of what is left of the base is saved for the whole base, `s·(BA − B₀A₀)`: with a frozen A as
    /// `s·(B − B₀)A`, else with twice the rank as `s·[B − B₀ | B₀][A; A − A₀]`. No large numbers cancel each other there, as
    /// they would in `s·[B | −B₀][A; A₀]`. Adapted slices of a fused map become one adapter of the whole.
    pub fn save(&self, saved: &Saved, folder: &Path, use_dora: bool, learned: Learned) -> Result<()> {
        let model = saved.model;
        let base = self.init.base();
        let a_is_frozen = |place: &Place| model.frozen.get(&Names::of(place).a).is_some();
        let adapted = || model.places().chain(model.slices()).filter(|place| self.targets.contain(place));
        let a_frozen = adapted().any(a_is_frozen);
        let mut tensors = Vec::new();
        for (name, tensor) in saved.parameters() {
            let map = name.strip_suffix(".bias").and_then(|map| model.places().find(|place| place.name == map));
            let name = match map.filter(|place| self.targets.contain(place)) {
                Some(place) => format!("{}{BASE_BIAS}", place.name),
                None => name.to_owned(),
            };
            tensors.push((format!("{PREFIX}{name}"), tensor.shallow_clone()));
        }
        for place in adapted() {
            let names = Names::of(place);
            let a_key = format!("{PREFIX}{}", names.a);
            if let Some(a) = model.frozen.get(&names.a) {
                tensors.push((a_key.clone(), a.shallow_clone()));
            }
            let (Some(first_a), Some(first_b)) = (model.frozen.get(&names.first_a), model.frozen.get(&names.first_b))
            else {
                continue;
            };
            let b_key = format!("{PREFIX}{}", names.b);
            for (key, tensor) in &mut tensors {
                let now = tensor.f_detach()?;
                if *key == a_key && !a_frozen {
                    *tensor = Tensor::f_cat(&[&now, &now.f_sub(first_a)?], 0)?;
                } else if *key == b_key {
                    let moved = now.f_sub(first_b)?;
                    *tensor = if a_frozen { moved } else { Tensor::f_cat(&[&moved, first_b], 1)? };
                }
            }
        }
        let twice_the_rank = base == Base::Residual && !a_frozen;
        let (twice, alpha): (i64, &dyn Fn(f64) -> f64) = match twice_the_rank {
            false => (1, &|alpha| alpha),
            true => (2, &|alpha| self.scale.at_twice_the_rank(alpha)),
        };
        let of_slice =
            |place: &Place| Some(OfSlice { rank: twice * self.rank_at(place), alpha: alpha(self.alpha_at(place)) });
        let slices = Slices::of(adapted(), of_slice);
        let tensors = slices.write(tensors, self.scale, model, folder)?;
        let whole = slices.patterns(self.scale);
        let ranks = whole.iter().map(|(pattern, factors)| (pattern.clone(), json!(factors.rank)));
        let alphas = whole.iter().map(|(pattern, factors)| (pattern.clone(), peft::lora::number(factors.alpha)));
        let config = LoraConfig {
            r: twice * self.rank,
            lora_alpha: alpha(self.alpha),
            lora_dropout: self.dropout,
            use_dora,
            use_rslora: self.scale == Scale::RankStabilized,
            target_modules: peft::targets::write(&self.targets, model),
            bias: Some(self.biases.peft().to_owned()),
            rank_pattern: with_rest(
                ranks,
                self.ranks.iter().map(|(name, rank)| (name.to_owned(), json!(twice * rank))),
            ),
            alpha_pattern: with_rest(
                alphas,
                self.alphas.iter().map(|(name, value)| (name.to_owned(), peft::lora::number(alpha(value)))),
            ),
            init_lora_weights: self.init.peft(),
            ..LoraConfig::default()
        };
        peft::write(folder, &config.to_json(saved), &tensors)?;
        // A penalty on other factors would be another one.
        let penalty = learned.penalty.filter(|_| !twice_the_rank);
        Learned { a_frozen, penalty, ..learned }.write(folder)
    }
}

/// The first entries and, of the rest, those under other keys: of two patterns that mean a map the first holds.
fn with_rest(
    first: impl Iterator<Item = (String, Value)>,
    rest: impl Iterator<Item = (String, Value)>,
) -> Map<String, Value> {
    let mut all: Map<String, Value> = first.collect();
    for (key, value) in rest {
        let _ = all.entry(key).or_insert(value);
    }
    all
}

/// W − s·BA in the kind of W, computed in float64 and rounded once.
fn residual(weight: &Tensor, first: &First, scale: f64) -> Result<Tensor> {
    let exact = |tensor: &Tensor| Ok::<_, Error>(tensor.f_detach()?.f_to_kind(Kind::Double)?);
    let product = exact(&first.b)?.f_matmul(&exact(&first.a)?)?.f_mul_scalar(scale)?;
    Ok(exact(weight)?.f_sub(&product)?.f_to_kind(weight.f_kind()?)?)
}

fn check_rank(setting: &str, rank: i64) -> Result<()> {
    if rank >= 1 { Ok(()) } else { Err(Error::setting(setting, format!("is {rank}"), "it must be at least 1")) }
}

fn check_alpha(setting: &str, alpha: f64) -> Result<()> {
    match alpha.is_finite() && alpha > 0.0 {
        true => Ok(()),
        false => Err(Error::setting(setting, format!("is {alpha}"), "it must be above zero; twice the rank is usual")),
    }
}
