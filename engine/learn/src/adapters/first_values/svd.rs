//! A of the largest singular values S of W = U S Vᵀ and their right vectors; how much of S it has is a setting, and so is
//! whether B has the rest and the base the residual, or B zero and the base all.

use tch::{Kind, Tensor};

use super::{Base, First, FirstValues, Map};
use crate::error::Result;

/// How much of the singular values A has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SingularValues {
    /// Nothing: A = Vᵀ.
    None,
    /// The root: A = √(S/s) Vᵀ.
    Sqrt,
    /// All: A = S/s Vᵀ.
    All,
}

impl SingularValues {
    /// What the rows of Vᵀ are multiplied with, for the singular values `s` `[rank]` and the scale.
    pub fn factors(self, s: &Tensor, scale: f64) -> Result<Tensor> {
        Ok(match self {
            Self::None => s.f_ones_like()?,
            Self::Sqrt => s.f_div_scalar(scale)?.f_sqrt()?,
            Self::All => s.f_div_scalar(scale)?,
        })
    }

    /// What the columns of U are multiplied with, so that s·BA is U S Vᵀ.
    fn rest(self, s: &Tensor, scale: f64) -> Result<Tensor> {
        match self {
            Self::None => Self::All.factors(s, scale),
            Self::Sqrt => Self::Sqrt.factors(s, scale),
            Self::All => Self::None.factors(s, scale),
        }
    }
}

/// The largest singular values.
#[derive(Debug, Clone, Copy)]
pub struct Svd {
    /// How much of them A has.
    pub singular_values: SingularValues,
    /// What becomes of the base.
    pub base: Base,
}

impl FirstValues for Svd {
    fn of(&self, map: &Map) -> Result<First> {
        let (u, s, vt) = map.singular()?;
        let a = vt.f_mul(&self.singular_values.factors(&s, map.scale)?.f_unsqueeze(1)?)?.f_to_kind(Kind::Float)?;
        let b = match self.base {
            Base::Untouched => map.no_b()?,
            Base::Residual => u.f_mul(&self.singular_values.rest(&s, map.scale)?)?,
        };
        Ok(First { a, b })
    }

    fn base(&self) -> Base {
        self.base
    }
}
