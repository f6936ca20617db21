//! A normal with the standard deviation 1/rank, B zero: PEFT's `gaussian`.

use serde_json::{Value, json};

use super::{First, FirstValues, Map};
use crate::error::Result;
use crate::weights::Init;

/// Normal values.
#[derive(Debug, Clone, Copy)]
pub struct Gaussian;

impl FirstValues for Gaussian {
    fn of(&self, map: &Map) -> Result<First> {
        let a = map.fresh.draw(map.a, &[map.rank, map.sizes()?.1], Init::Normal((map.rank as f64).recip()))?;
        Ok(First { a, b: map.no_b()? })
    }

    fn peft(&self) -> Value {
        json!("gaussian")
    }
}
