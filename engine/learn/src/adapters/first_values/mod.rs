//! What the two factors of an adapted map begin with: one file a way. Knows one map's weight; no model and no training.

mod gaussian;
mod kaiming;
mod olora;
mod orthogonal;
mod pissa;
mod scaled_random;
mod stored;
mod svd;

use std::fmt::Debug;

use serde_json::Value;
use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::weights::Fresh;

pub use gaussian::Gaussian;
pub use kaiming::Kaiming;
pub use olora::Olora;
pub use orthogonal::Orthogonal;
pub use pissa::Pissa;
pub use scaled_random::ScaledRandom;
pub use stored::Stored;
pub use svd::{SingularValues, Svd};

/// The linear map that gets factors.
#[derive(Debug)]
pub struct Map<'a> {
    /// W, `[outputs, inputs]`.
    pub weight: &'a Tensor,
    /// The name of A.
    pub a: &'a str,
    /// The name of B.
    pub b: &'a str,
    /// The rank.
    pub rank: i64,
    /// s.
    pub scale: f64,
    /// Where random values come from.
    pub fresh: &'a dyn Fresh,
}

/// What the factors begin with, float32: A `[rank, inputs]`, B `[outputs, rank]`.
#[derive(Debug)]
pub struct First {
    /// A.
    pub a: Tensor,
    /// B.
    pub b: Tensor,
}

/// What becomes of the weight of an adapted map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// It stays.
    Untouched,
    /// W − s·B₀A₀, so that the map is what it was.
    Residual,
}

/// A way to begin.
pub trait FirstValues: Debug {
    /// What the factors of `map` begin with.
    fn of(&self, map: &Map) -> Result<First>;

    /// What becomes of its weight.
    fn base(&self) -> Base {
        Base::Untouched
    }

    /// PEFT's word for it, `init_lora_weights`, of what is saved: an adapter of the untouched weight.
    fn peft(&self) -> Value {
        Value::Bool(true)
    }
}

impl Map<'_> {
    /// W in float32.
    fn exact(&self) -> Result<Tensor> {
        Ok(self.weight.f_detach()?.f_to_kind(Kind::Float)?)
    }

    /// Sizes of W: outputs, inputs.
    fn sizes(&self) -> Result<(i64, i64)> {
        Ok(self.weight.size2()?)
    }

    /// A B of zeros.
    fn no_b(&self) -> Result<Tensor> {
        self.fresh.draw(self.b, &[self.sizes()?.0, self.rank], crate::weights::Init::Constant(0.0))
    }

    /// Refuses a rank that is larger than the smaller side of W: there are no more vectors to begin with.
    fn check_rank(&self) -> Result<()> {
        let (outputs, inputs) = self.sizes()?;
        let most = outputs.min(inputs);
        if self.rank <= most {
            return Ok(());
        }
        let place = self.a.split(".lora_").next().unwrap_or(self.a);
        let problem = format!("{} is more than the {most} singular values that `{place}` has", self.rank);
        Err(Error::setting("rank", problem, format!("give at most {most}, or another `init`")))
    }

    /// The largest singular values S `[rank]` with their left vectors U `[outputs, rank]` and right ones Vᵀ
    /// `[rank, inputs]`.
    fn singular(&self) -> Result<(Tensor, Tensor, Tensor)> {
        self.check_rank()?;
        // `linalg_svd` of these bindings always names a driver, which the CPU refuses.
        let (u, s, v) = self.exact()?.f_svd(true, true)?;
        let first = |tensor: &Tensor, side| Ok::<_, Error>(tensor.f_narrow(side, 0, self.rank)?.f_contiguous()?);
        Ok((first(&u, 1)?, first(&s, 0)?, first(&v.f_transpose(0, 1)?, 0)?))
    }
}
