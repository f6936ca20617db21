//! The non-linearities that configurations name. Knows their names in transformers and their formulas in libtorch.

use serde::Deserialize;
use tch::Tensor;

use crate::error::Result;

/// A non-linearity, by its name in a `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Activation {
    /// `max(0, x)`.
    #[serde(rename = "relu")]
    Relu,
    /// `x Φ(x)` with the normal distribution's Φ. Hendrycks and Gimpel (arXiv 1606.08415).
    #[serde(rename = "gelu")]
    Gelu,
    /// The same with `tanh` in place of Φ, which three names stand for.
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh", alias = "gelu_fast")]
    GeluTanh,
    /// `x σ(x)`.
    #[serde(rename = "silu", alias = "swish")]
    Silu,
    /// `tanh(x)`.
    #[serde(rename = "tanh")]
    Tanh,
}

impl Activation {
    /// Its name in a `config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_new",
            Self::Silu => "silu",
            Self::Tanh => "tanh",
        }
    }

    /// Applies it to every number.
    pub fn apply(self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Relu => x.f_relu()?,
            Self::Gelu => x.f_gelu("none")?,
            Self::GeluTanh => x.f_gelu("tanh")?,
            Self::Silu => x.f_silu()?,
            Self::Tanh => x.f_tanh()?,
        })
    }
}
