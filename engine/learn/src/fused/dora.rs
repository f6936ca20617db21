//! DoRA's map. Liu et al., DoRA (arXiv 2402.09353), equations 5 and 11; the gradients are those with the norm held
//! constant: with `h = x Wᵀ + s · x Aᵀ Bᵀ`, `y = c ⊙ h + b` and g the gradient of y,
//! `∂m = Σ g ⊙ h / ‖W + s·BA‖`, `∂B = s (c ⊙ g)ᵀ x Aᵀ`, `∂A = s ((c ⊙ g) B)ᵀ x`, `∂x = (c ⊙ g)(W + s·BA)`.

use tch::Tensor;

use super::{Dropout, boundary};
use crate::error::Result;

/// Below this ratio the outputs do not tell what they were before it, so that the gradient of the magnitude computes it
/// again.
const THIN: f64 = 0.01;

/// The tensors of a map.
#[derive(Debug, Clone, Copy)]
pub struct DoraMap<'a> {
    /// W, `[outputs, inputs]`, without gradient.
    pub weight: &'a Tensor,
    /// `[outputs]`
    pub bias: Option<&'a Tensor>,
    /// `[rank, inputs]`
    pub a: &'a Tensor,
    /// `[outputs, rank]`
    pub b: &'a Tensor,
    /// m, `[outputs]`
    pub magnitude: &'a Tensor,
    /// alpha / rank
    pub scale: f64,
}

/// What the outputs are multiplied with. It holds as long as A, B and m stay as they are.
#[derive(Debug)]
pub struct Ratio {
    /// c = m / ‖W + s·BA‖, `[outputs]`; 1 for a row of zeros, whose output is zero with any c.
    pub(super) c: Tensor,
    /// 1 / ‖W + s·BA‖, `[outputs]`; 0 for a row of zeros.
    pub(super) inverse: Tensor,
    /// The outputs whose ratio is next to nothing, where there are some.
    pub(super) thin: Option<Tensor>,
}

impl Ratio {
    /// That of a magnitude and the norms ‖W + s·BA‖, both `[outputs]`; without gradient.
    pub fn new(magnitude: &Tensor, norms: &Tensor) -> Result<Self> {
        let (magnitude, norms) = (magnitude.f_detach()?, norms.f_detach()?);
        let zero = norms.f_eq(0.0)?;
        let filled = norms.f_masked_fill(&zero, 1.0)?;
        let c = magnitude.f_div(&filled)?.f_masked_fill(&zero, 1.0)?;
        let thin = c.f_abs()?.f_lt(THIN)?.f_nonzero()?.f_view([-1])?;
        let thin = (thin.size1()? > 0).then_some(thin);
        Ok(Self { c, inverse: filled.f_reciprocal()?.f_masked_fill(&zero, 0.0)?, thin })
    }

    /// c, `[outputs]`.
    pub fn ratio(&self) -> &Tensor {
        &self.c
    }
}

/// `y = c ⊙ (x Wᵀ + s · x Aᵀ Bᵀ) + b`; with dropout `y = x Wᵀ + (c − 1) ⊙ x̃ Wᵀ + c ⊙ s · x̃ Aᵀ Bᵀ + b`. For x
/// `[…, inputs]`, in the kind of `x`; `ratio` must be that of the map's tensors.
///
/// For its backward pass it keeps `x`, `s · x Aᵀ` and `y`; with dropout, instead of the last, `x̃ Wᵀ + s · x̃ Aᵀ Bᵀ`.
/// Nothing of the size of W is made.
pub fn dora(x: &Tensor, map: &DoraMap<'_>, ratio: &Ratio, dropout: Dropout) -> Result<Tensor> {
    if dropout == Dropout::NONE {
        boundary::dora(x, map, ratio)
    } else {
        boundary::dropped_dora(x, map, ratio, dropout)
    }
}
