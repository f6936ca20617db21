//! Scaled dot-product attention over grouped heads. Vaswani et al. (arXiv 1706.03762), equation 1; grouped queries by
//! Ainslie et al. (arXiv 2305.13245).

use tch::Tensor;

use crate::error::Result;

/// How many heads there are and how wide each is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Heads of the queries.
    pub queries: i64,
    /// Heads of the keys and values; each serves `queries / keys` query heads.
    pub keys: i64,
    /// Width of one head.
    pub width: i64,
}

impl Heads {
    /// `[rows, length, heads · width]` to `[rows, heads, length, width]`.
    pub fn split(&self, states: &Tensor) -> Result<Tensor> {
        let (rows, length, _) = states.size3()?;
        Ok(states.f_view([rows, length, -1, self.width])?.f_transpose(1, 2)?)
    }

    /// `[rows, heads, length, width]` to `[rows, length, heads · width]`.
    pub fn join(&self, states: &Tensor) -> Result<Tensor> {
        let (rows, heads, length, width) = states.size4()?;
        Ok(states.f_transpose(1, 2)?.f_reshape([rows, length, heads * width])?)
    }
}

/// Attention `softmax(q kᵀ / √width) v`, each tensor `[rows, heads, length, width]`. Without a mask it is causal, and
/// queries and keys are equally long; with a mask (true where a key may be seen, broadcast over heads and queries) it is
/// not. `dropout` acts on the attention weights.
pub fn attend(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>, dropout: f64) -> Result<Tensor> {
    let causal = mask.is_none() && q.size4()?.2 > 1;
    let grouped = q.size4()?.1 != k.size4()?.1;
    Ok(Tensor::f_scaled_dot_product_attention(q, k, v, mask, dropout, causal, None, grouped)?)
}
