//! LoRA-FA: LoRA whose A is frozen; B alone trains. Zhang et al., LoRA-FA: Memory-efficient Low-rank Adaptation for Large
//! Language Models Fine-tuning (arXiv 2308.03303). Computed, merged and saved as LoRA, with a word on A beside it.

use std::path::Path;
use std::rc::Rc;

use tch::{Kind, Tensor};

use super::low_rank::{FactorA, LowRank};
use super::{Beside, FactorSizes, Method, lora};
use crate::error::{Error, Result};
use crate::layers::{Linear, LinearMap, Lookup, Table};
use crate::optim::{Orthogonality, Side};
use crate::parameters::{Learning, Stores};
use crate::peft::learned::Learned;
use crate::peft::lora::LoraConfig;
use crate::peft::{AdapterConfig, Saved};
use crate::targets::{Place, Targets};

/// LoRA-FA.
#[derive(Debug)]
pub struct LoraFa {
    low_rank: LowRank,
    gradient: Gradient,
    penalty: Option<Orthogonality>,
}

/// What the optimiser gets as the gradient of B.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gradient {
    /// g, as in the paper.
    Plain,
    /// `s⁻² · g · pinv(AAᵀ + 1e-8 I)`, whose update of the weight is nearest to the whole weight's gradient; as PEFT's
    /// optimiser for LoRA-FA has it.
    Projected,
}

/// What is added to AAᵀ before it is inverted.
const DELTA: f64 = 1e-8;

impl Gradient {
    /// What the gradient of B is multiplied with from the right, for A `[rank, inputs]`; nothing where it stays.
    fn projection(self, a: &Tensor, scale: f64) -> Result<Option<Tensor>> {
        if self == Self::Plain {
            return Ok(None);
        }
        let identity = Tensor::f_eye(a.size2()?.0, (Kind::Float, a.device()))?.f_mul_scalar(DELTA)?;
        let square = a.f_matmul(&a.f_transpose(0, 1)?)?.f_add(&identity)?;
        // What PyTorch takes for a singular value of zero: its precision times the size.
        let zero = f64::from(f32::EPSILON) * a.size2()?.0 as f64;
        Ok(Some(square.f_linalg_pinv(zero, false)?.f_div_scalar(scale * scale)?))
    }
}

impl LoraFa {
    /// LoRA-FA of this `rank` on `targets`, scaled by `alpha / rank`; `dropout` acts on the adapter's input in training.
    pub fn new(rank: i64, alpha: f64, dropout: f64, targets: Targets) -> Result<Self> {
        Ok(Self::of(LowRank::new(rank, alpha, dropout, targets)?))
    }

    /// LoRA-FA of these factors.
    pub fn of(low_rank: LowRank) -> Self {
        Self { low_rank, gradient: Gradient::Plain, penalty: None }
    }

    /// The same with another gradient for the optimiser.
    pub fn with_gradient(self, gradient: Gradient) -> Self {
        Self { gradient, ..self }
    }

    /// The same with a penalty on the columns of B.
    pub fn with_penalty(self, penalty: Orthogonality) -> Result<Self> {
        match penalty.side {
            Side::Columns => Ok(Self { penalty: Some(penalty), ..self }),
            Side::Rows => Err(Error::setting(
                "penalty",
                "is one on A, which does not train: it is a constant",
                "hold B to it, or take `lora` to train A",
            )),
        }
    }
}

impl LoraFa {
    pub(super) fn from_peft(config: &AdapterConfig) -> Result<Option<Box<dyn Method>>> {
        let Some(read) = LoraConfig::read(config)?.filter(|read| !read.use_dora) else { return Ok(None) };
        let learned = Learned::read(config.folder())?;
        if !learned.a_frozen {
            return Ok(None);
        }
        let gradient = if learned.gradient_projected { Gradient::Projected } else { Gradient::Plain };
        let lora_fa = Self::of(LowRank::from_peft(config, &read, &learned)?).with_gradient(gradient);
        Ok(Some(match learned.penalty {
            Some(penalty) => Box::new(lora_fa.with_penalty(penalty.into())?),
            None => Box::new(lora_fa),
        }))
    }
}

impl Method for LoraFa {
    fn name(&self) -> &'static str {
        "lora_fa"
    }

    fn trains(&self, name: &str, of: Option<&Place>) -> bool {
        self.low_rank.trains(name, of)
    }

    fn changes(&self, place: &Place) -> bool {
        self.low_rank.targets.contain(place)
    }

    fn linear(&self, place: &Place, plain: Linear, stores: &mut Stores) -> Result<Rc<dyn LinearMap>> {
        let learning = |a: &Tensor, scale: f64| -> Result<Learning> {
            Ok(Learning { rate: 1.0, projection: self.gradient.projection(a, scale)?, penalty: self.penalty })
        };
        let (plain, factors) = self.low_rank.create_with(place, plain, FactorA::Frozen, learning, stores)?;
        Ok(lora::beside(plain, factors))
    }

    fn changes_lookup(&self, place: &Place) -> bool {
        self.low_rank.targets.contain(place)
    }

    fn lookup(&self, place: &Place, _plain: Table, _stores: &mut Stores) -> Result<Rc<dyn Lookup>> {
        let problem = format!(
            "mean the embedding `{}`, whose A begins as zero there: frozen, it would keep B from learning",
            place.name
        );
        Err(Error::setting("targets", problem, "leave it out, or take `lora`"))
    }

    fn beside(&self, place: &Place) -> Option<Beside> {
        let sizes = || FactorSizes { a_trains: false, ..self.low_rank.beside(place) };
        self.changes(place).then(|| Beside::Factors(sizes()))
    }

    fn check(&self, places: &[&Place]) -> Result<()> {
        self.low_rank.check(places)
    }

    fn parameter(&self, key: &str) -> Option<String> {
        LowRank::parameter(key)
    }

    /// A is read when the factors are made.
    fn knows(&self, key: &str) -> bool {
        LowRank::is_a(key)
    }

    fn save(&self, saved: &Saved, folder: &Path) -> Result<()> {
        let gradient_projected = self.gradient == Gradient::Projected;
        let penalty = self.penalty.map(Into::into);
        let learned = Learned { gradient_projected, penalty, ..Learned::default() };
        self.low_rank.save(saved, folder, false, learned)
    }
}
