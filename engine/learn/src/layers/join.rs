//! How what a sublayer gives joins the stream of hidden states: the plain way, and what every method that puts something
//! behind or beside a sublayer has to offer.

use std::fmt::Debug;

use tch::Tensor;

use super::{LayerNorm, Mode};
use crate::error::Result;

/// The end of a sublayer.
pub trait Join: Debug {
    /// The hidden states `[…, width]` behind a sublayer that gave `made`, after its own dropout and its own last norm where
    /// it has one, for `x`, the hidden states before it.
    fn forward(&self, made: &Tensor, x: &Tensor, mode: Mode) -> Result<Tensor>;
}

/// The sum, and the norm of it where a family has one: `x + made`, or `norm(x + made)`.
#[derive(Debug)]
pub struct Sum {
    /// The norm of the sum.
    pub norm: Option<LayerNorm>,
}

impl Sum {
    /// The sum alone, as in families whose norms stand before sublayers.
    pub fn plain() -> Self {
        Self { norm: None }
    }

    /// With a norm behind it.
    pub fn normed(norm: LayerNorm) -> Self {
        Self { norm: Some(norm) }
    }
}

impl Join for Sum {
    fn forward(&self, made: &Tensor, x: &Tensor, _mode: Mode) -> Result<Tensor> {
        let sum = x.f_add(made)?;
        match &self.norm {
            Some(norm) => norm.forward(&sum),
            None => Ok(sum),
        }
    }
}
