//! How fast this machine is at a model's own work, by short measurements. Knows sizes; no model.

use std::time::Instant;

use tch::{Device, Kind, Tensor};

use super::tape::Work;
use crate::error::Result;

/// The most seconds that one measurement goes on.
const PATIENCE: f64 = 0.15;

/// Work in a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// Multiplications and additions of matrix products.
    pub products: f64,
    /// Bytes written by simple operations.
    pub written: f64,
}

impl Speed {
    /// Measures products of `[rows, inputs]` and `[inputs, outputs]` in a kind of numbers, and simple operations on
    /// `[rows, outputs]`.
    pub fn measure(rows: i64, [outputs, inputs]: [i64; 2], kind: Kind, device: Device) -> Result<Self> {
        let _guard = tch::no_grad_guard();
        // Larger ones are no faster, and would take long.
        let (rows, outputs, inputs) = (rows.clamp(1, 2048), outputs.clamp(1, 4096), inputs.clamp(1, 4096));
        let of = |shape: [i64; 2]| -> Result<Tensor> { Ok(Tensor::f_ones(shape, (kind, device))?) };
        let (x, weight) = (of([rows, inputs])?, of([outputs, inputs])?);
        let work = 2.0 * rows as f64 * outputs as f64 * inputs as f64;
        let products = work / seconds(device, || Ok(x.f_linear(&weight, None::<&Tensor>)?))?;
        let (a, b) = (
            Tensor::f_ones([rows, outputs], (Kind::Float, device))?,
            Tensor::f_ones([rows, outputs], (Kind::Float, device))?,
        );
        let written = 4.0 * rows as f64 * outputs as f64 / seconds(device, || Ok(a.f_mul(&b)?))?;
        Ok(Self { products, written })
    }

    /// Of a device that does so many multiplications and additions a second, and simple operations in no time.
    pub fn told(products: f64) -> Self {
        Self { products, written: f64::INFINITY }
    }

    /// The seconds that work takes.
    pub fn seconds(&self, work: Work) -> f64 {
        work.products / self.products + work.written / self.written
    }
}

/// The seconds of one call, after a first that is not counted.
fn seconds(device: Device, compute: impl Fn() -> Result<Tensor>) -> Result<f64> {
    let wait = |made: &Tensor| -> Result<()> {
        if device != Device::Cpu {
            made.f_get(0)?.f_get(0)?.f_double_value(&[])?;
        }
        Ok(())
    };
    wait(&compute()?)?;
    let begun = Instant::now();
    let mut times = 0;
    loop {
        wait(&compute()?)?;
        times += 1;
        let passed = begun.elapsed().as_secs_f64();
        if passed > PATIENCE || times == 50 {
            return Ok((passed / f64::from(times)).max(1e-9));
        }
    }
}
