//! Root-mean-square norm, `x / √(mean(x²) + ε) ⊙ w` over the last dimension.
//! Zhang and Sennrich, Root Mean Square Layer Normalization (arXiv 1910.07467), equation 4.

use tch::Tensor;

use crate::error::Result;

/// A root-mean-square norm with a learned scale.
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

    /// Normalises the last dimension.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_rms_norm(self.weight.size(), Some(&self.weight), self.epsilon)?)
    }
}
