//! How a change compares with the matrix that it changes. Hu et al., LoRA: Low-Rank Adaptation of Large Language Models
//! (arXiv 2106.09685), section 7.3, table 7: ‖UᵀWV‖ with the singular vectors U and V of ΔW, of W and of a random matrix, and
//! the amplification factor ‖ΔW‖ / ‖UᵀWV‖. Knows one matrix.

use tch::{Kind, Tensor};

use super::change::{Change, Rows, numbers};
use crate::error::Result;

/// How a change compares with its matrix; all norms are Frobenius norms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Amplification {
    /// How many singular vectors U and V have.
    pub directions: u64,
    /// ‖W‖.
    pub weight: f64,
    /// ‖ΔW‖.
    pub update: f64,
    /// ‖UᵀWV‖ with U and V of ΔW.
    pub in_update: f64,
    /// The same with U and V of W: the root of the sum of its largest squared singular values.
    pub in_weight: f64,
    /// The root of the expected square of ‖UᵀWV‖ where U and V span subspaces that are drawn: directions · ‖W‖ /
    /// √(outputs · inputs). For the paper's W (‖W‖ 61.95, 12288 × 12288) it gives the paper's 0.02 of 4 directions, and 0.32
    /// of 64, where the paper's draw gave 0.33.
    pub in_random: f64,
    /// ‖ΔW‖ / ‖UᵀWV‖ with U and V of ΔW; nothing where ΔW has no directions.
    pub factor: Option<f64>,
}

/// That of a change of `weight`, whose sums are `rows`, in `most` directions or fewer where ΔW has no more.
pub fn amplification(change: &Change, weight: &Tensor, rows: &Rows, most: u64) -> Result<Amplification> {
    let found = change.directions(weight, most)?;
    let directions = found.count();
    let (norm, update) = (rows.weight_square().sqrt(), rows.update_square().sqrt());
    let projected = found.left.f_transpose(0, 1)?.f_matmul(weight)?.f_matmul(&found.right)?;
    let in_update = projected.f_square()?.f_sum(Kind::Double)?.f_double_value(&[])?.sqrt();
    let elements = weight.numel() as f64;
    Ok(Amplification {
        directions,
        weight: norm,
        update,
        in_update,
        in_weight: largest_squares(weight, directions)?.sqrt(),
        in_random: directions as f64 * norm / elements.max(1.0).sqrt(),
        factor: (directions > 0 && in_update > 0.0).then(|| update / in_update),
    })
}

/// The sum of the `count` largest squared singular values: the largest eigenvalues of WWᵀ, or of WᵀW where that is smaller.
fn largest_squares(weight: &Tensor, count: u64) -> Result<f64> {
    let (outputs, inputs) = weight.size2()?;
    let transposed = weight.f_transpose(0, 1)?;
    let square = if outputs <= inputs { weight.f_matmul(&transposed)? } else { transposed.f_matmul(weight)? };
    let rising = numbers(&square.f_linalg_eigvalsh("L")?)?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    Ok(rising.iter().rev().take(count).map(|value| value.max(0.0)).sum())
}
