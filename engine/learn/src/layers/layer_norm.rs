//! Layer norm: `(x − mean) / √(variance + ε) ⊙ weight + bias` over the last dimension, computed in float32 whatever comes
//! in. Ba et al. (arXiv 1607.06450).

use tch::{Kind, Tensor};

use crate::error::Result;

/// Layer norm with a weight and a bias.
#[derive(Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl LayerNorm {
    /// A norm of `weight` and `bias`, each `[width]`.
    pub fn new(weight: Tensor, bias: Tensor, epsilon: f64) -> Self {
        Self { weight, bias, epsilon }
    }

    /// Normalises `[…, width]`; the result is of the kind that came in.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (self.weight.f_to_kind(Kind::Float)?, self.bias.f_to_kind(Kind::Float)?);
        let exact = x.f_to_kind(Kind::Float)?;
        let y = exact.f_layer_norm(weight.size(), Some(&weight), Some(&bias), self.epsilon, false)?;
        Ok(y.f_to_kind(x.f_kind()?)?)
    }
}
