//! LoRA: `y = x Wᵀ + b + s · dropout(x) Aᵀ Bᵀ` with s = alpha / rank; A and B train. Hu et al., LoRA: Low-Rank
//! Adaptation of Large Language Models (arXiv 2106.09685), equation 3; initial values as PEFT's.

use std::path::Path;
use std::rc::Rc;

use tch::{Kind, Tensor};

use super::low_rank::{FactorA, LowRank};
use super::{Beside, Method};
use crate::error::{Error, Result};
use crate::fused::{self, Dropout};
use crate::layers::{Linear, LinearMap, Lookup, Mode, Table};
use crate::optim::{Orthogonality, Side};
use crate::parameters::{Learning, Stores};
use crate::peft::learned::Learned;
use crate::peft::lora::LoraConfig;
use crate::peft::{AdapterConfig, Saved};
use crate::targets::{Place, Targets};

/// LoRA.
#[derive(Debug)]
pub struct Lora {
    low_rank: LowRank,
    /// The learning rate of B as a multiple of that of A.
    ratio: f64,
    penalty: Option<Orthogonality>,
}

impl Lora {
    /// LoRA of this `rank` on `targets`, scaled by `alpha / rank`; `dropout` acts on the adapter's input in training.
    pub fn new(rank: i64, alpha: f64, dropout: f64, targets: Targets) -> Result<Self> {
        Ok(Self::of(LowRank::new(rank, alpha, dropout, targets)?))
    }

    /// LoRA of these factors.
    pub fn of(low_rank: LowRank) -> Self {
        Self { low_rank, ratio: 1.0, penalty: None }
    }

    /// The same with another learning rate for B: `ratio` times that of A. Hayou et al., LoRA+ (arXiv 2402.12354).
    pub fn with_learning_rate_ratio(self, ratio: f64) -> Result<Self> {
        match ratio > 0.0 && ratio.is_finite() {
            true => Ok(Self { ratio, ..self }),
            false => {
                let problem = format!("is {ratio}");
                Err(Error::setting("learning_rate_ratio", problem, "it must be above zero; 16 is usual"))
            }
        }
    }

    /// The same with a penalty on A (its rows) or B (its columns).
    pub fn with_penalty(self, penalty: Orthogonality) -> Self {
        Self { penalty: Some(penalty), ..self }
    }

    pub(super) fn from_peft(config: &AdapterConfig) -> Result<Option<Box<dyn Method>>> {
        let Some(read) = LoraConfig::read(config)?.filter(|read| !read.use_dora) else { return Ok(None) };
        let learned = Learned::read(config.folder())?;
        if learned.a_frozen {
            return Ok(None);
        }
        let lora = Self::of(LowRank::from_peft(config, &read, &learned)?);
        let lora = lora.with_learning_rate_ratio(learned.learning_rate_ratio.unwrap_or(1.0))?;
        Ok(Some(Box::new(Self { penalty: learned.penalty.map(Into::into), ..lora })))
    }

    fn learning(&self, side: Side, rate: f64) -> Learning {
        Learning { rate, projection: None, penalty: self.penalty.filter(|penalty| penalty.side == side) }
    }
}

impl Method for Lora {
    fn name(&self) -> &'static str {
        "lora"
    }

    fn trains(&self, name: &str, of: Option<&Place>) -> bool {
        self.low_rank.trains(name, of)
    }

    fn changes(&self, place: &Place) -> bool {
        self.low_rank.targets.contain(place)
    }

    fn linear(&self, place: &Place, plain: Linear, stores: &mut Stores) -> Result<Rc<dyn LinearMap>> {
        let a = FactorA::Trains(self.learning(Side::Rows, 1.0));
        let b = self.learning(Side::Columns, self.ratio);
        let (plain, factors) = self.low_rank.create(place, plain, a, b, stores)?;
        Ok(beside(plain, factors))
    }

    fn changes_lookup(&self, place: &Place) -> bool {
        self.low_rank.targets.contain(place)
    }

    fn lookup(&self, place: &Place, plain: Table, stores: &mut Stores) -> Result<Rc<dyn Lookup>> {
        Ok(Rc::new(self.low_rank.create_lookup(place, plain, stores)?))
    }

    fn beside_lookup(&self, place: &Place) -> Option<i64> {
        self.changes_lookup(place).then(|| self.low_rank.rank_at(place))
    }

    fn beside(&self, place: &Place) -> Option<Beside> {
        self.changes(place).then(|| Beside::Factors(self.low_rank.beside(place)))
    }

    fn check(&self, places: &[&Place]) -> Result<()> {
        self.low_rank.check(places)
    }

    fn parameter(&self, key: &str) -> Option<String> {
        LowRank::parameter(key)
    }

    fn save(&self, saved: &Saved, folder: &Path) -> Result<()> {
        let ratio = Some(self.ratio).filter(|ratio| *ratio != 1.0);
        let penalty = self.penalty.map(Into::into);
        let learned = Learned { learning_rate_ratio: ratio, penalty, ..Learned::default() };
        self.low_rank.save(saved, folder, false, learned)
    }
}

/// The same map with factors beside it.
pub(super) fn beside(plain: Linear, factors: Factors) -> Rc<dyn LinearMap> {
    Rc::new(LoraLinear { plain, factors })
}

/// The two factors of one linear map, and how they act.
#[derive(Debug)]
pub(super) struct Factors {
    /// `[rank, inputs]`
    pub a: Tensor,
    /// `[outputs, rank]`
    pub b: Tensor,
    /// alpha / rank
    pub scale: f64,
    pub dropout: f64,
}

impl Factors {
    /// `y + s · dropout(x) Aᵀ Bᵀ`, for y `[…, outputs]`.
    pub fn add_to(&self, y: &Tensor, x: &Tensor, mode: Mode) -> Result<Tensor> {
        fused::low_rank(y, x, &self.a, &self.b, self.scale, Dropout::draw(mode.dropout(self.dropout))?)
    }

    /// `W + s · B A` in float32, without gradient.
    pub fn sum(&self, weight: &Tensor) -> Result<Tensor> {
        let product = self.b.f_detach()?.f_matmul(&self.a.f_detach()?)?;
        Ok(weight.f_detach()?.f_to_kind(Kind::Float)?.f_add(&product.f_mul_scalar(self.scale)?)?)
    }
}

#[derive(Debug)]
struct LoraLinear {
    plain: Linear,
    factors: Factors,
}

impl LinearMap for LoraLinear {
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        self.factors.add_to(&self.plain.forward(x, mode)?, x, mode)
    }

    fn merged(&self) -> Result<Tensor> {
        Ok(self.factors.sum(&self.plain.weight)?.f_to_kind(self.plain.weight.f_kind()?)?)
    }
}
