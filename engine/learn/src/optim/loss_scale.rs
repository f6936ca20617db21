//! Dynamic loss scaling for gradients in fp16, whose small numbers would be lost: Micikevicius et al., Mixed Precision
//! Training (arXiv 1710.03740), section 3.2, with the constants of `torch.amp.GradScaler`. Knows no model.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::error::{Error, Result};

const START: f64 = 65_536.0;
const GROWTH: f64 = 2.0;
const BACKOFF: f64 = 0.5;
/// Good steps in a row after which the factor grows.
const INTERVAL: u64 = 2000;
/// Below this, it is not the factor that makes gradients overflow.
const LEAST: f64 = 1.0 / 65_536.0;

/// What the loss is multiplied with before its backward pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LossScale {
    factor: f64,
    good: u64,
    /// Steps whose gradients had overflowed.
    pub skipped: u64,
}

impl Default for LossScale {
    fn default() -> Self {
        Self { factor: START, good: 0, skipped: 0 }
    }
}

impl LossScale {
    /// The factor for the next step.
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// Takes the factor out of `gradients`, in place, and chooses the next one. Says whether they are finite: otherwise
    /// the step has to be skipped. Waits for the device.
    pub fn unscale(&mut self, gradients: &Tensor) -> Result<bool> {
        let _guard = tch::no_grad_guard();
        let _ = gradients.shallow_clone().f_mul_scalar_(self.factor.recip())?;
        let finite = gradients.f_isfinite()?.f_all()?.f_int64_value(&[])? == 1;
        if finite {
            self.good += 1;
            if self.good == INTERVAL {
                (self.factor, self.good) = (self.factor * GROWTH, 0);
            }
            return Ok(true);
        }
        (self.factor, self.good, self.skipped) = (self.factor * BACKOFF, 0, self.skipped + 1);
        if self.factor < LEAST {
            let problem = "the gradients overflow fp16 however small the loss is scaled";
            return Err(Error::stopped(problem, None, "use `precision: bf16` or `float32`, or lower `learning_rate`"));
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_falls_with_an_overflow_and_grows_after_good_steps() {
        let mut scale = LossScale::default();
        let gradients = || Tensor::from_slice(&[65_536f32, -131_072.0]);
        let good = gradients();
        assert!(scale.unscale(&good).unwrap());
        assert_eq!(Vec::<f32>::try_from(good).unwrap(), [1.0, -2.0]);
        for bad in [f32::INFINITY, f32::NAN] {
            assert!(!scale.unscale(&Tensor::from_slice(&[1.0, bad])).unwrap());
        }
        assert_eq!((scale.factor(), scale.skipped), (16_384.0, 2));
        for _ in 0..1999 {
            assert!(scale.unscale(&gradients()).unwrap());
        }
        assert_eq!(scale.factor(), 16_384.0);
        assert!(scale.unscale(&gradients()).unwrap());
        assert_eq!((scale.factor(), scale.skipped), (32_768.0, 2));
    }

    #[test]
    fn gradients_that_overflow_without_end_stop_the_training() {
        let mut scale = LossScale::default();
        let error = loop {
            match scale.unscale(&Tensor::from_slice(&[f32::INFINITY])) {
                Ok(finite) => assert!(!finite),
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("overflow fp16"), "{error}");
        assert_eq!(scale.skipped, 33);
    }
}
