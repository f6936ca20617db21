//! DoRA: `y = x (c ⊙ (W + s·BA))ᵀ + b` with s = alpha / rank and, for each output row, c = m / ‖W + s·BA‖; A, B and m
//! train, the norm gets no gradient. Liu et al., DoRA: Weight-Decomposed Low-Rank Adaptation (arXiv 2402.09353),
//! equations 5 and 11. With dropout the adapter's part alone sees dropped inputs, as in PEFT.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use tch::{Kind, Tensor};

use super::lora::{Factors, LowRank};
use super::{Beside, Method};
use crate::error::Result;
use crate::fused::{self, DoraMap, Dropout, Ratio, Version};
use crate::layers::{Linear, LinearMap, Mode};
use crate::models::Model;
use crate::parameters::Stores;
use crate::peft::{self, AdapterConfig};
use crate::targets::{Place, Targets};

/// DoRA.
#[derive(Debug)]
pub struct Dora {
    low_rank: LowRank,
    targets: Targets,
}

impl Dora {
    /// DoRA of this `rank` on `targets`, scaled by `alpha / rank`; `dropout` acts on the adapter's input in training.
    pub fn new(rank: i64, alpha: f64, dropout: f64, targets: Targets) -> Result<Self> {
        Ok(Self { low_rank: LowRank::new(rank, alpha, dropout)?, targets })
    }

    pub(super) fn from_peft(config: &AdapterConfig) -> Result<Option<Box<dyn Method>>> {
        if config.peft_type != "LORA" || !config.use_dora {
            return Ok(None);
        }
        let method = Self::new(config.r, config.effective_alpha(), config.lora_dropout, config.targets()?)?;
        Ok(Some(Box::new(method)))
    }
}

impl Method for Dora {
    fn name(&self) -> &'static str {
        "dora"
    }

    fn linear(&self, place: &Place, plain: Linear, stores: &mut Stores) -> Result<Rc<dyn LinearMap>> {
        if !self.targets.contain(place) {
            return Ok(Rc::new(plain));
        }
        let factors = self.low_rank.create(place, &plain, stores)?;
        let norms = RowNorms::new(&plain.weight)?;
        let magnitude = norms.of_sum(&plain.weight, &factors)?;
        let magnitude = stores.trainable.add(&format!("{}.lora_magnitude_vector", place.name), &magnitude)?;
        Ok(Rc::new(DoraLinear::new(plain, factors, magnitude, norms)))
    }

    fn beside(&self, place: &Place) -> Option<Beside> {
        self.targets.contain(place).then(|| self.low_rank.beside(true))
    }

    fn check(&self, places: &[&Place]) -> Result<()> {
        self.targets.check(places)
    }

    fn save(&self, model: &Model, base: Option<&str>, folder: &Path) -> Result<()> {
        let LowRank { rank, alpha, dropout } = self.low_rank;
        let config = AdapterConfig::new(rank, alpha, dropout, &self.targets, model).with_base(base);
        peft::save(folder, &config.with_dora(), &model.trainable)
    }
}

/// Row norms of `W + s·BA` without making that matrix.
#[derive(Debug)]
struct RowNorms {
    /// ‖W‖² of each row, `[outputs]`, float32.
    plain_squares: Tensor,
    /// W Aᵀ, `[outputs, rank]`, float32, where A does not train.
    mixed: RefCell<Option<(Version, Tensor)>>,
}

impl RowNorms {
    fn new(weight: &Tensor) -> Result<Self> {
        let weight = weight.f_detach()?.f_to_kind(Kind::Float)?;
        Ok(Self { plain_squares: row_sums(&weight.f_mul(&weight)?)?, mixed: RefCell::default() })
    }

    /// `‖W + s·BA‖² = ‖W‖² + 2s·Σ(W Aᵀ ⊙ B) + s²·Σ(B (A Aᵀ) ⊙ B)`, sums over each row; float32, without gradient.
    fn of_sum(&self, weight: &Tensor, factors: &Factors) -> Result<Tensor> {
        let a = factors.a.f_detach()?.f_to_kind(Kind::Float)?;
        let b = factors.b.f_detach()?.f_to_kind(Kind::Float)?;
        let mixed = self.mixed(weight, factors)?.f_mul_scalar(2.0 * factors.scale)?;
        let low = b.f_matmul(&a.f_matmul(&a.f_transpose(0, 1)?)?)?.f_mul_scalar(factors.scale * factors.scale)?;
        let squares = self.plain_squares.f_add(&row_sums(&mixed.f_add(&low)?.f_mul(&b)?)?)?;
        Ok(squares.f_clamp_min(0.0)?.f_sqrt()?)
    }

    /// W Aᵀ; computed once where A does not train.
    fn mixed(&self, weight: &Tensor, factors: &Factors) -> Result<Tensor> {
        let mut kept = self.mixed.borrow_mut();
        if let Some((version, mixed)) = kept.as_ref()
            && version.is_of(&factors.a)?
        {
            return Ok(mixed.shallow_clone());
        }
        let a = factors.a.f_detach()?.f_to_kind(Kind::Float)?;
        let mixed = weight.f_detach()?.f_to_kind(Kind::Float)?.f_matmul(&a.f_transpose(0, 1)?)?;
        *kept = match factors.a.requires_grad() {
            true => None,
            false => Some((Version::of(&factors.a)?, mixed.shallow_clone())),
        };
        Ok(mixed)
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
        let ratio = Rc::new(Ratio::new(&self.magnitude, &self.norms.of_sum(&self.plain.weight, &self.factors)?)?);
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
