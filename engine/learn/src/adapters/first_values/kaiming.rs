//! A uniform between ±1/√inputs (Kaiming's with a = √5, He et al., arXiv 1502.01852), B zero: LoRA's and PEFT's default.

use super::{First, FirstValues, Map};
use crate::error::Result;
use crate::weights::Init;

/// Kaiming's uniform values.
#[derive(Debug, Clone, Copy)]
pub struct Kaiming;

impl FirstValues for Kaiming {
    fn of(&self, map: &Map) -> Result<First> {
        let inputs = map.sizes()?.1;
        let a = map.fresh.draw(map.a, &[map.rank, inputs], Init::Uniform((inputs as f64).sqrt().recip()))?;
        Ok(First { a, b: map.no_b()? })
    }
}
