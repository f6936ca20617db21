//! Linear maps: the plain one, and what every method that changes one has to offer.

use std::fmt::Debug;

use tch::Tensor;

use super::Mode;
use crate::error::Result;

/// A map of the last dimension, `y = x Wᵀ + b`, with or without something that trains beside W.
pub trait LinearMap: Debug {
    /// Maps `[…, inputs]` to `[…, outputs]`. It computes in the kind of `x`, whatever the kind of its tensors.
    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor>;

    /// The weight `[outputs, inputs]` which alone, with the bias, gives what [`forward`](Self::forward) gives in
    /// evaluation. Without gradient.
    fn merged(&self) -> Result<Tensor>;

    /// The bias that belongs to [`merged`](Self::merged), where it is another than the map's own.
    fn merged_bias(&self) -> Result<Option<Tensor>> {
        Ok(None)
    }
}

/// The plain linear map.
#[derive(Debug)]
pub struct Linear {
    /// `[outputs, inputs]`
    pub weight: Tensor,
    /// `[outputs]`
    pub bias: Option<Tensor>,
}

impl LinearMap for Linear {
    fn forward(&self, x: &Tensor, _mode: Mode) -> Result<Tensor> {
        let kind = x.f_kind()?;
        let bias = self.bias.as_ref().map(|bias| bias.f_to_kind(kind)).transpose()?;
        Ok(x.f_linear(&self.weight.f_to_kind(kind)?, bias.as_ref())?)
    }

    fn merged(&self) -> Result<Tensor> {
        Ok(self.weight.f_detach()?)
    }
}
