//! The control of an A by singular values: Kaiming's random A, scaled to the length ‖A‖ that the other would have, B zero.

use super::{First, FirstValues, Kaiming, Map, SingularValues};
use crate::error::Result;

/// A random A as long as one by singular values.
#[derive(Debug, Clone, Copy)]
pub struct ScaledRandom {
    /// How much of the singular values that one has.
    pub singular_values: SingularValues,
}

impl FirstValues for ScaledRandom {
    fn of(&self, map: &Map) -> Result<First> {
        map.check_rank()?;
        let s = map.exact()?.f_svd(true, false)?.1.f_narrow(0, 0, map.rank)?;
        let length = self.singular_values.factors(&s, map.scale)?.f_norm()?;
        let First { a, b } = Kaiming.of(map)?;
        let ratio = length.f_div(&a.f_norm()?)?;
        Ok(First { a: a.f_mul(&ratio)?, b })
    }
}
