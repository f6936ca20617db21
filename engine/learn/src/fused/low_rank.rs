//! The part that LoRA adds to a map. Hu et al., LoRA (arXiv 2106.09685), equation 3; Zhang et al., LoRA-FA (arXiv
//! 2308.03303), section 3, on what need not be kept where A is frozen.

use tch::Tensor;

use super::{Dropout, boundary};
use crate::error::Result;

/// `y + s · x̃ Aᵀ Bᵀ` where x̃ is `x` with dropout, for x `[…, inputs]`, y `[…, outputs]`, A `[rank, inputs]` and
/// B `[outputs, rank]`. It computes in the kind of `x`.
///
/// For its backward pass it keeps `s · x̃ Aᵀ` where B trains and `x` itself where A does; never a dropped copy or a mask.
/// So with a frozen A (LoRA-FA) it keeps `[…, rank]` numbers of its inputs alone.
pub fn low_rank(y: &Tensor, x: &Tensor, a: &Tensor, b: &Tensor, scale: f64, dropout: Dropout) -> Result<Tensor> {
    boundary::low_rank([y, x, a, b], scale, dropout)
}
