//! Attention in which order plays no part but by what the caller adds: of encoders, and from a decoder to an encoder.

use tch::{Kind, Tensor};

use crate::error::Result;

/// Attention `softmax(scale · q kᵀ + bias) v`, each tensor `[rows, heads, length, width]`. `bias` is added to the scores
/// where it holds numbers, and says which keys may be seen where it holds true and false; it is broadcast over rows, heads
/// and queries. Without a scale it is 1 / √width. `dropout` acts on the attention weights.
pub fn attend_unordered(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    bias: Option<&Tensor>,
    scale: Option<f64>,
    dropout: f64,
) -> Result<Tensor> {
    let bias = match bias {
        Some(bias) if bias.f_kind()? != Kind::Bool => Some(bias.f_to_kind(q.f_kind()?)?),
        other => other.map(Tensor::shallow_clone),
    };
    Ok(Tensor::f_scaled_dot_product_attention(q, k, v, bias.as_ref(), dropout, false, scale, false)?)
}

/// `x` with dropout of this probability; as it is where that is zero.
pub fn dropped(x: Tensor, dropout: f64) -> Result<Tensor> {
    if dropout == 0.0 { Ok(x) } else { Ok(x.f_dropout(dropout, true)?) }
}
