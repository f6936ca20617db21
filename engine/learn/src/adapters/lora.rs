//! LoRA: `y = x Wᵀ + b + s · dropout(x) Aᵀ Bᵀ` with s = alpha / rank; A and B train. Hu et al., LoRA: Low-Rank
//! Adaptation of Large Language Models (arXiv 2106.09685), equation 3; initial values as PEFT's.

use std::path::Path;
use std::rc::Rc;

use tch::{Kind, Tensor};

use super::{Beside, Method};
use crate::error::{Error, Result};
use crate::layers::{Linear, LinearMap, Mode};
use crate::models::Model;
use crate::parameters::Stores;
use crate::peft::lora::LoraConfig;
use crate::peft::{self, AdapterConfig, Saved};
use crate::targets::{Place, Targets};
use crate::weights::Init;

/// LoRA.
#[derive(Debug)]
pub struct Lora {
    low_rank: LowRank,
    targets: Targets,
}

impl Lora {
    /// LoRA of this `rank` on `targets`, scaled by `alpha / rank`; `dropout` acts on the adapter's input in training.
    pub fn new(rank: i64, alpha: f64, dropout: f64, targets: Targets) -> Result<Self> {
        Ok(Self { low_rank: LowRank::new(rank, alpha, dropout)?, targets })
    }

    pub(super) fn from_peft(config: &AdapterConfig) -> Result<Option<Box<dyn Method>>> {
        let Some(config) = LoraConfig::read(config)?.filter(|config| !config.use_dora) else { return Ok(None) };
        let method = Self::new(config.r, config.effective_alpha(), config.lora_dropout, config.targets()?)?;
        Ok(Some(Box::new(method)))
    }
}

impl Method for Lora {
    fn name(&self) -> &'static str {
        "lora"
    }

    fn changes(&self, place: &Place) -> bool {
        self.targets.contain(place)
    }

    fn linear(&self, place: &Place, plain: Linear, stores: &mut Stores) -> Result<Rc<dyn LinearMap>> {
        let factors = self.low_rank.create(place, &plain, stores)?;
        Ok(Rc::new(LoraLinear { plain, factors }))
    }

    fn beside(&self, place: &Place) -> Option<Beside> {
        self.changes(place).then(|| self.low_rank.beside(false))
    }

    fn check(&self, places: &[&Place]) -> Result<()> {
        self.targets.check(places)
    }

    fn save(&self, saved: &Saved, folder: &Path) -> Result<()> {
        saved.write(folder, &self.low_rank.to_peft(&self.targets, saved.model).to_json(saved))
    }
}

/// What LoRA and DoRA share: the settings of a product of two small matrices.
#[derive(Debug, Clone, Copy)]
pub(super) struct LowRank {
    pub rank: i64,
    pub alpha: f64,
    pub dropout: f64,
}

impl LowRank {
    pub fn new(rank: i64, alpha: f64, dropout: f64) -> Result<Self> {
        if rank < 1 {
            return Err(Error::setting("rank", format!("is {rank}"), "it must be at least 1"));
        }
        if !(alpha.is_finite() && alpha > 0.0) {
            return Err(Error::setting(
                "alpha",
                format!("is {alpha}"),
                "it must be above zero; twice the rank is usual",
            ));
        }
        if !(0.0..1.0).contains(&dropout) {
            return Err(Error::setting("dropout", format!("is {dropout}"), "it must be at least 0 and below 1"));
        }
        Ok(Self { rank, alpha, dropout })
    }

    /// As PEFT writes it.
    pub fn to_peft(self, targets: &Targets, model: &Model) -> LoraConfig {
        let Self { rank, alpha, dropout } = self;
        LoraConfig {
            r: rank,
            lora_alpha: alpha,
            lora_dropout: dropout,
            use_dora: false,
            use_rslora: false,
            target_modules: peft::targets::write(targets, model),
        }
    }

    /// What it puts beside a map.
    pub fn beside(&self, decomposed: bool) -> Beside {
        Beside::Factors { rank: self.rank, dropout: self.dropout > 0.0, decomposed }
    }

    /// New factors for the map at `place`: A uniform between ±1/√inputs (Kaiming's with a = √5), B zero.
    pub fn create(&self, place: &Place, plain: &Linear, stores: &mut Stores) -> Result<Factors> {
        let (outputs, inputs) = plain.weight.size2()?;
        let (a_name, b_name) = (format!("{}.lora_A.weight", place.name), format!("{}.lora_B.weight", place.name));
        let a = stores.fresh.draw(&a_name, &[self.rank, inputs], Init::Uniform((inputs as f64).sqrt().recip()))?;
        let b = stores.fresh.draw(&b_name, &[outputs, self.rank], Init::Constant(0.0))?;
        Ok(Factors {
            a: stores.trainable.add(&a_name, &a)?,
            b: stores.trainable.add(&b_name, &b)?,
            scale: self.alpha / self.rank as f64,
            dropout: self.dropout,
        })
    }
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
    /// `s · x Aᵀ`, `[…, rank]`: scaled where it is smallest. A is cast to the kind of `x`, not `x` to that of A.
    pub fn down(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_linear(&self.a.f_to_kind(x.f_kind()?)?, None::<&Tensor>)?.f_mul_scalar(self.scale)?)
    }

    /// B in the kind of `x`.
    pub fn b_like(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.b.f_to_kind(x.f_kind()?)?)
    }

    /// `y + s · x Aᵀ Bᵀ`, for y `[…, outputs]`.
    pub fn add_to(&self, y: &Tensor, x: &Tensor) -> Result<Tensor> {
        let (rank, outputs) = (self.a.size2()?.0, self.b.size2()?.0);
        let low = self.down(x)?.f_reshape([-1, rank])?;
        Ok(y.f_reshape([-1, outputs])?
            .f_addmm(&low, &self.b_like(x)?.f_transpose(0, 1)?)?
            .f_view(y.size().as_slice())?)
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
        let y = self.plain.forward(x, mode)?;
        match mode.dropout(self.factors.dropout) {
            0.0 => self.factors.add_to(&y, x),
            dropout => self.factors.add_to(&y, &x.f_dropout(dropout, true)?),
        }
    }

    fn merged(&self) -> Result<Tensor> {
        Ok(self.factors.sum(&self.plain.weight)?.f_to_kind(self.plain.weight.f_kind()?)?)
    }
}
