//! Dropout that is kept as a seed: its mask is drawn again where it is needed.

use tch::{Device, Kind, Tensor};

use super::boundary;
use crate::error::Result;

/// Dropout of one input in one pass. It multiplies with a mask over `1 − probability`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    pub(super) probability: f64,
    pub(super) seed: i64,
}

impl Dropout {
    /// Lets everything pass.
    pub const NONE: Self = Self { probability: 0.0, seed: 0 };

    /// One whose seed is drawn from libtorch's global generator, which
    /// [`Activations`](crate::layers::Activations) has seeded: a segment that is computed again draws the same. Nothing is
    /// drawn where the probability is zero.
    pub fn draw(probability: f64) -> Result<Self> {
        if probability == 0.0 {
            return Ok(Self::NONE);
        }
        let seed = Tensor::f_randint(i64::MAX, [1], (Kind::Int64, Device::Cpu))?.f_int64_value(&[0])?;
        Ok(Self { probability, seed })
    }

    /// `x` with this dropout, without gradient: the same each time for one shape.
    pub fn of(self, x: &Tensor) -> Result<Tensor> {
        boundary::dropped(x, self)
    }
}
