//! PiSSA: A = √(S/s) Vᵀ and B = U √(S/s) of the largest singular values S, which are taken out of the base. Meng et al.,
//! PiSSA: Principal Singular Values and Singular Vectors Adaptation (arXiv 2404.02948), equations 2 to 4; divided by the
//! scale s as in PEFT.

use super::{Base, First, FirstValues, Map, SingularValues, Svd};
use crate::error::Result;

/// The largest singular values, shared alike.
#[derive(Debug, Clone, Copy)]
pub struct Pissa;

impl FirstValues for Pissa {
    fn of(&self, map: &Map) -> Result<First> {
        Svd { singular_values: SingularValues::Sqrt, base: Base::Residual }.of(map)
    }

    fn base(&self) -> Base {
        Base::Residual
    }
}
