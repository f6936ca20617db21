//! DoRA's map. Liu et al., DoRA (arXiv 2402.09353), equations 5 and 11; the gradients are those with the norm held
//! constant: with `h = x Wᵀ + s · x Aᵀ Bᵀ`, `y = c ⊙ h + b` and g the gradient of y,
//! `∂m = Σ g ⊙ h / ‖W + s·BA‖`, `∂B = s (c ⊙ g)ᵀ x Aᵀ`, `∂A = s ((c ⊙ g) B)ᵀ x`, `∂x = (c ⊙ g)(W + s·BA)`.

use std::cell::RefCell;

use tch::{Kind, Tensor};

use super::{Dropout, Version, boundary};
use crate::error::Result;

/// Below this ratio the outputs do not tell what they were before it, so that it is kept for the gradient of the magnitude.
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
        let (both, is_thin) = boundary::ratio(magnitude, norms, THIN)?;
        let (c, inverse) = (both.f_select(0, 0)?, both.f_select(0, 1)?);
        let thin = if is_thin { Some(c.f_abs()?.f_lt(THIN)?.f_nonzero()?.f_view([-1])?) } else { None };
        Ok(Self { c, inverse, thin })
    }

    /// c, `[outputs]`.
    pub fn ratio(&self) -> &Tensor {
        &self.c
    }
}

/// Row norms of `W + s·BA` without making that matrix.
#[derive(Debug)]
pub struct RowNorms {
    /// ‖W‖² of each row, `[outputs]`, float32.
    squares: Tensor,
    /// W Aᵀ, `[outputs, rank]`, float32, where A does not train.
    mixed: RefCell<Option<(Version, Tensor)>>,
}

impl RowNorms {
    /// Those of a `weight` that stays as it is.
    pub fn new(weight: &Tensor) -> Result<Self> {
        let weight = weight.f_detach()?.f_to_kind(Kind::Float)?;
        let squares = weight.f_mul(&weight)?.f_sum_dim_intlist([1i64].as_slice(), false, Kind::Float)?;
        Ok(Self { squares, mixed: RefCell::default() })
    }

    /// ‖W‖ of each row, `[outputs]`.
    pub fn of_rows(&self) -> Result<Tensor> {
        Ok(self.squares.f_sqrt()?)
    }

    /// `‖W + s·BA‖² = ‖W‖² + 2s·Σ(W Aᵀ ⊙ B) + s²·Σ(B (A Aᵀ) ⊙ B)`, sums over each row; float32, without gradient.
    pub fn of_sum(&self, weight: &Tensor, a: &Tensor, b: &Tensor, scale: f64) -> Result<Tensor> {
        boundary::norms([&self.squares, &self.mixed(weight, a)?, a, b], scale)
    }

    /// W Aᵀ; computed once where A does not train.
    fn mixed(&self, weight: &Tensor, a: &Tensor) -> Result<Tensor> {
        let mut kept = self.mixed.borrow_mut();
        if let Some((version, mixed)) = kept.as_ref()
            && version.is_of(a)?
        {
            return Ok(mixed.shallow_clone());
        }
        let mixed = boundary::mixed(weight, a)?;
        *kept = match a.requires_grad() {
            true => None,
            false => Some((Version::of(a)?, mixed.shallow_clone())),
        };
        Ok(mixed)
    }
}

/// `y = c ⊙ (x Wᵀ + s · x Aᵀ Bᵀ) + b`; with dropout `y = x Wᵀ + (c − 1) ⊙ x̃ Wᵀ + c ⊙ s · x̃ Aᵀ Bᵀ + b`. For x
/// `[…, inputs]`, in the kind of `x`; `ratio` must be that of the map's tensors.
///
/// For its backward pass it keeps `s · x Aᵀ` and `y`; with dropout, instead of the latter, `x̃ Wᵀ + s · x̃ Aᵀ Bᵀ`. It keeps
/// `x` where A trains. Nothing of the size of W is made.
pub fn dora(x: &Tensor, map: &DoraMap<'_>, ratio: &Ratio, dropout: Dropout) -> Result<Tensor> {
    if dropout == Dropout::NONE {
        boundary::dora(x, map, ratio)
    } else {
        boundary::dropped_dora(x, map, ratio, dropout)
    }
}
