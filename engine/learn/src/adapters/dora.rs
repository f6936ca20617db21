//! DoRA: `y = x (c ⊙ (W + s·BA))ᵀ + b` with s = alpha / rank and, for each output row, c = m / ‖W + s·BA‖; A, B and m
//! train, the norm gets no gradient. Liu et al., DoRA: Weight-Decomposed Low-Rank Adaptation (arXiv 2402.09353),
//! equations 5 and 11. With dropout the adapter's part alone sees dropped inputs, as in PEFT.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use tch::Tensor;

use super::first_values::Base;
use super::lora::Factors;
use super::low_rank::{FactorA, LowRank};
use super::{Beside, FactorSizes, Method};
use crate::error::{Error, Result};
use crate::fused::{self, DoraMap, Dropout, Ratio, RowNorms, Version};
use crate::layers::{Linear, LinearMap, Lookup, Mode, Table};
use crate::parameters::{Learning, Stores};
use crate::peft::learned::Learned;
use crate::peft::lora::LoraConfig;
use crate::peft::{AdapterConfig, Saved};
use crate::targets::{Place, Targets};

/// DoRA.
#[derive(Debug)]
pub struct Dora {
    low_rank: LowRank,
    a: fn() -> FactorA,
}

impl Dora {
    /// DoRA of this `rank` on `targets`, scaled by `alpha / rank`; `dropout` acts on the adapter's input in training.
    pub fn new(rank: i64, alpha: f64, dropout: f64, targets: Targets) -> Result<Self> {
        Self::of(LowRank::new(rank, alpha, dropout, targets)?)
    }

    /// DoRA of these factors. They leave the base as it is: its rows' norms are part of what is saved.
    pub fn of(low_rank: LowRank) -> Result<Self> {
        match low_rank.init.base() {
            Base::Untouched => Ok(Self { low_rank, a: || FactorA::Trains(Learning::default()) }),
            Base::Residual => Err(Error::setting(
                "init",
                "takes its first values out of the base, whose norms DoRA's magnitude is made of",
                "begin with `kaiming`, `gaussian` or `orthogonal`, or take `lora`",
            )),
        }
    }

    /// The same with an A that keeps its first values.
    pub fn with_frozen_a(self) -> Self {
        Self { a: || FactorA::Frozen, ..self }
    }

    pub(super) fn from_peft(config: &AdapterConfig) -> Result<Option<Box<dyn Method>>> {
        let Some(read) = LoraConfig::read(config)?.filter(|read| read.use_dora) else { return Ok(None) };
        let learned = Learned::read(config.folder())?;
        let dora = Self::of(LowRank::from_peft(config, &read, &learned)?)?;
        Ok(Some(Box::new(if learned.a_frozen { dora.with_frozen_a() } else { dora })))
    }
}

impl Method for Dora {
    fn name(&self) -> &'static str {
        "dora"
    }

    fn trains(&self, name: &str, of: Option<&Place>) -> bool {
        self.low_rank.trains(name, of)
    }

    fn changes(&self, place: &Place) -> bool {
        self.low_rank.targets.contain(place)
    }

    fn linear(&self, place: &Place, plain: Linear, stores: &mut Stores) -> Result<Rc<dyn LinearMap>> {
        let (plain, factors) = self.low_rank.create(place, plain, (self.a)(), Learning::default(), stores)?;
        let norms = RowNorms::new(&plain.weight)?;
        let magnitude = norms.of_sum(&plain.weight, &factors.a, &factors.b, factors.scale)?;
        let magnitude = stores.trainable.add(&format!("{}.lora_magnitude_vector", place.name), &magnitude)?;
        Ok(Rc::new(DoraLinear::new(plain, factors, magnitude, norms)))
    }

    fn changes_lookup(&self, place: &Place) -> bool {
        self.low_rank.targets.contain(place)
    }

    fn lookup(&self, place: &Place, _plain: Table, _stores: &mut Stores) -> Result<Rc<dyn Lookup>> {
        let problem = format!("mean the embedding `{}`, where DoRA is not defined by its paper", place.name);
        Err(Error::setting("targets", problem, "leave it out, or take `lora`"))
    }

    fn beside(&self, place: &Place) -> Option<Beside> {
        let a_trains = (self.a)().trains();
        let sizes = || FactorSizes { decomposed: true, a_trains, ..self.low_rank.beside(place) };
        self.changes(place).then(|| Beside::Factors(sizes()))
    }

    fn check(&self, places: &[&Place]) -> Result<()> {
        self.low_rank.check(places)
    }

    fn parameter(&self, key: &str) -> Option<String> {
        LowRank::parameter(key)
    }

    /// A frozen A is read when the factors are made.
    fn knows(&self, key: &str) -> bool {
        !(self.a)().trains() && LowRank::is_a(key)
    }

    fn save(&self, saved: &Saved, folder: &Path) -> Result<()> {
        self.low_rank.save(saved, folder, true, Learned::default())
    }
}

#[derive(Debug)]
struct DoraLinear {
    plain: Linear,
    factors: Factors,
    /// m, `[outputs]`
    magnitude: Tensor,
    norms: RowNorms,
    /// Of the factors and the magnitude as they were: computed once an optimiser step.
    ratio: RefCell<Option<([Version; 3], Rc<Ratio>)>>,
}

impl DoraLinear {
    fn new(plain: Linear, factors: Factors, magnitude: Tensor, norms: RowNorms) -> Self {
        Self { plain, factors, magnitude, norms, ratio: RefCell::default() }
    }

    /// c = m / ‖W + s·BA‖ of the present factors and magnitude.
    fn ratio(&self) -> Result<Rc<Ratio>> {
        let tensors = [&self.factors.a, &self.factors.b, &self.magnitude];
        let mut kept = self.ratio.borrow_mut();
        if let Some((versions, ratio)) = kept.as_ref() {
            let mut fresh = true;
            for (version, tensor) in versions.iter().zip(tensors) {
                fresh &= version.is_of(tensor)?;
            }
            if fresh {
                return Ok(Rc::clone(ratio));
            }
        }
        let Factors { a, b, scale, .. } = &self.factors;
        let norms = self.norms.of_sum(&self.plain.weight, a, b, *scale)?;
        let ratio = Rc::new(Ratio::new(&self.magnitude, &norms)?);
        let [a, b, magnitude] = tensors.map(Version::of);
        *kept = Some(([a?, b?, magnitude?], Rc::clone(&ratio)));
        Ok(ratio)
    }
}

impl LinearMap for DoraLinear {
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let map = DoraMap {
            weight: &self.plain.weight,
            bias: self.plain.bias.as_ref(),
            a: &self.factors.a,
            b: &self.factors.b,
            magnitude: &self.magnitude,
            scale: self.factors.scale,
        };
        fused::dora(x, &map, self.ratio()?.as_ref(), Dropout::draw(mode.dropout(self.factors.dropout))?)
    }

    fn merged(&self) -> Result<Tensor> {
        let ratio = self.ratio()?.ratio().f_unsqueeze(1)?;
        Ok(self.factors.sum(&self.plain.weight)?.f_mul(&ratio)?.f_to_kind(self.plain.weight.f_kind()?)?)
    }
}
