//! How large a change is: norms and ranks of ΔW. Knows one matrix.

use tch::Tensor;

use super::change::{Change, Rows};
use crate::error::Result;

/// How large a change is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UpdateNorms {
    /// The Frobenius norm ‖ΔW‖.
    pub norm: f64,
    /// ‖ΔW‖ / ‖W‖; nothing where W is zero.
    pub relative: Option<f64>,
    /// The spectral norm σ₁, the largest singular value.
    pub spectral: f64,
    /// ‖ΔW‖² / σ₁². The numerical rank of Rudelson, Vershynin, Sampling from Large Matrices (arXiv
    /// math/0503442).
    pub stable_rank: Option<f64>,
    /// exp(−Σ pᵢ ln pᵢ) with pᵢ = σᵢ / Σσ. Roy, Vetterli, The Effective Rank (EUSIPCO 2007), definition 1.
    pub effective_rank: Option<f64>,
}

/// Those of a change of `weight`, whose sums are `rows`. A change that is zero has no rank; nor has one that is no larger than
/// what float32 rounds of W, unless it was learned as a sum.
pub fn update_norms(change: &Change, weight: &Tensor, rows: &Rows) -> Result<UpdateNorms> {
    let (norm, base) = (rows.update_square().sqrt(), rows.weight_square().sqrt());
    let values = change.singular_values(weight)?;
    let spectral = values.first().copied().unwrap_or_default();
    let rounding = match change {
        Change::Factors(_) => 0.0,
        Change::Decomposed(..) | Change::Whole(_) => f64::from(f32::EPSILON) * base,
    };
    let has_rank = norm > rounding && spectral > 0.0;
    let sum: f64 = values.iter().sum();
    let entropy = || {
        let parts = values.iter().map(|value| value / sum).filter(|part| *part > 0.0);
        -parts.map(|part| part * part.ln()).sum::<f64>()
    };
    Ok(UpdateNorms {
        norm,
        relative: (base > 0.0).then(|| norm / base),
        spectral,
        stable_rank: has_rank.then(|| (norm / spectral).powi(2)),
        effective_rank: has_rank.then(|| entropy().exp()),
    })
}
