//! DoRA: `y = x (c ⊙ (W + s·BA))ᵀ + b` with s = alpha / rank and, for each output row, c = m / ‖W + s·BA‖; A, B and m
//! train, the norm gets no gradient. Liu et al., DoRA: Weight-Decomposed Low-Rank Adaptation (arXiv 2402.09353),
//! equations 5 and 11. With dropout the adapter's part alone sees dropped inputs, as in PEFT.

use std::path::Path;
use std::rc::Rc;

use tch::{Kind, Tensor};

use super::first_values::Base;
use super::lora::Factors;
use super::low_rank::{FactorA, LowRank};
use super::{Beside, Method};
use crate::error::{Error, Result};
use crate::layers::{Linear, LinearMap, Mode};
use crate::parameters::{Learning, Stores};
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
        let Some(config) = LoraConfig::read(config)?.filter(|config| config.use_dora) else { return Ok(None) };
        Ok(Some(Box::new(Self::of(LowRank::from_peft(&config)?)?)))
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
        let magnitude = norms.of_sum(&plain.weight, &factors)?;
        let magnitude = stores.trainable.add(&format!("{}.lora_magnitude_vector", place.name), &magnitude)?;
        Ok(Rc::new(DoraLinear { plain, factors, magnitude, norms }))
    }

    fn beside(&self, place: &Place) -> Option<Beside> {
        let a_trains = (self.a)().trains();
        self.changes(place).then(|| Beside { decomposed: true, a_trains, ..self.low_rank.beside(place) })
    }

    fn check(&self, places: &[&Place]) -> Result<()> {
        self.low_rank.check(places)
    }

    fn parameter(&self, key: &str) -> Option<String> {
        LowRank::parameter(key)
    }

    fn save(&self, saved: &Saved, folder: &Path) -> Result<()> {
        self.low_rank.save(saved, folder, true)
    }
}

/// Row norms of `W + s·BA` without making that matrix.
#[derive(Debug)]
struct RowNorms {
    /// ‖W‖² of each row, `[outputs]`, float32.
    plain_squares: Tensor,
}

impl RowNorms {
    fn new(weight: &Tensor) -> Result<Self> {
        let weight = weight.f_detach()?.f_to_kind(Kind::Float)?;
        Ok(Self { plain_squares: row_sums(&weight.f_mul(&weight)?)? })
    }

    /// `‖W + s·BA‖² = ‖W‖² + 2s·Σ(W Aᵀ ⊙ B) + s²·Σ(B (A Aᵀ) ⊙ B)`, sums over each row; float32, without gradient.
    fn of_sum(&self, weight: &Tensor, factors: &Factors) -> Result<Tensor> {
        let weight = weight.f_detach()?.f_to_kind(Kind::Float)?;
        let a = factors.a.f_detach()?.f_to_kind(Kind::Float)?;
        let b = factors.b.f_detach()?.f_to_kind(Kind::Float)?;
        let mixed = weight.f_matmul(&a.f_transpose(0, 1)?)?.f_mul_scalar(2.0 * factors.scale)?;
        let low = b.f_matmul(&a.f_matmul(&a.f_transpose(0, 1)?)?)?.f_mul_scalar(factors.scale * factors.scale)?;
        let squares = self.plain_squares.f_add(&row_sums(&mixed.f_add(&low)?.f_mul(&b)?)?)?;
        Ok(squares.f_clamp_min(0.0)?.f_sqrt()?)
    }
}

fn row_sums(matrix: &Tensor) -> Result<Tensor> {
    Ok(matrix.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)?)
}

#[derive(Debug)]
struct DoraLinear {
    plain: Linear,
    factors: Factors,
    /// m, `[outputs]`
    magnitude: Tensor,
    norms: RowNorms,
}

impl DoraLinear {
    /// c = m / ‖W + s·BA‖; 1 for a row of zeros, whose output is zero with any c.
    fn ratio(&self) -> Result<Tensor> {
        let norm = self.norms.of_sum(&self.plain.weight, &self.factors)?;
        let zero = norm.f_eq(0.0)?;
        Ok(self.magnitude.f_div(&norm.f_masked_fill(&zero, 1.0)?)?.f_masked_fill(&zero, 1.0)?)
    }

    fn add_bias(&self, y: Tensor) -> Result<Tensor> {
        match &self.plain.bias {
            Some(bias) => Ok(y.f_add(&bias.f_to_kind(y.f_kind()?)?)?),
            None => Ok(y),
        }
    }
}

impl LinearMap for DoraLinear {
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        let (kind, exact) = (x.f_kind()?, self.ratio()?);
        let ratio = exact.f_to_kind(kind)?;
        let weight = self.plain.weight.f_to_kind(kind)?;
        let mapped = x.f_linear(&weight, None::<&Tensor>)?;
        let y = match mode.dropout(self.factors.dropout) {
            // c ⊙ (x Wᵀ + s · x Aᵀ Bᵀ) + b
            0.0 => self.factors.add_to(&mapped, x)?.f_mul(&ratio)?,
            // x Wᵀ + (c − 1) ⊙ x̃ Wᵀ + c ⊙ s · x̃ Aᵀ Bᵀ + b
            dropout => {
                let dropped = x.f_dropout(dropout, true)?;
                let dropped_mapped = dropped.f_linear(&weight, None::<&Tensor>)?;
                let low = self.factors.down(&dropped)?.f_linear(&self.factors.b_like(x)?, None::<&Tensor>)?;
                let less_one = exact.f_sub_scalar(1.0)?.f_to_kind(kind)?;
                mapped.f_addcmul(&dropped_mapped, &less_one)?.f_addcmul(&low, &ratio)?
            }
        };
        self.add_bias(y)
    }

    fn merged(&self) -> Result<Tensor> {
        let ratio = self.ratio()?.f_detach()?.f_unsqueeze(1)?;
        Ok(self.factors.sum(&self.plain.weight)?.f_mul(&ratio)?.f_to_kind(self.plain.weight.f_kind()?)?)
    }
}
