//! Root-mean-square norms over the last dimension, computed in float32 whatever comes in. Zhang and Sennrich, Root Mean
//! Square Layer Normalization (arXiv 1910.07467), equation 4.

use std::fmt::Debug;

use tch::{Kind, Tensor};

use crate::error::Result;

/// A norm of the last dimension.
pub trait Norm: Debug {
    /// Normalises the last dimension; the result is of the kind that came in.
    fn forward(&self, x: &Tensor) -> Result<Tensor>;
}

/// The norm `x / √(mean(x²) + ε) ⊙ w`.
#[derive(Debug)]
pub struct RmsNorm {
    weight: Tensor,
    epsilon: f64,
}

impl RmsNorm {
    /// A norm over vectors as long as `weight`; `epsilon` is added to the mean square.
    pub fn new(weight: Tensor, epsilon: f64) -> Self {
        Self { weight, epsilon }
    }
}

impl Norm for RmsNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        rms_norm(x, &self.weight.f_to_kind(Kind::Float)?, self.epsilon)
    }
}

/// The norm `x / √(mean(x²) + ε) ⊙ (1 + w)`, as Gemma has it.
#[derive(Debug)]
pub struct OffsetRmsNorm {
    weight: Tensor,
    epsilon: f64,
}

impl OffsetRmsNorm {
    /// A norm over vectors as long as `weight`; `epsilon` is added to the mean square.
    pub fn new(weight: Tensor, epsilon: f64) -> Self {
        Self { weight, epsilon }
    }
}

impl Norm for OffsetRmsNorm {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        rms_norm(x, &self.weight.f_to_kind(Kind::Float)?.f_add_scalar(1.0)?, self.epsilon)
    }
}

fn rms_norm(x: &Tensor, scale: &Tensor, epsilon: f64) -> Result<Tensor> {
    Ok(x.f_to_kind(Kind::Float)?.f_rms_norm(scale.size(), Some(scale), epsilon)?.f_to_kind(x.f_kind()?)?)
}
