//! Layer norm: `(x − mean) / √(variance + ε) ⊙ weight + bias` over the last dimension. Ba et al. (arXiv 1607.06450).

use tch::Tensor;

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

    /// Normalises `[…, width]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let width = self.weight.size();
        Ok(x.f_layer_norm(&width, Some(&self.weight), Some(&self.bias), self.epsilon, false)?)
    }
}
