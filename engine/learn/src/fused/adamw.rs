//! A step of AdamW in one pass over the numbers, by libtorch's own kernel: no buffer is made beside those that stay.
//! Knows no groups and no schedule.

use tch::Tensor;

use super::boundary;
use crate::error::Result;

/// The numbers of one step, beside the learning rate.
#[derive(Debug, Clone, Copy)]
pub struct AdamWStep {
    /// Which step it is, from 1.
    pub steps: u64,
    /// η.
    pub learning_rate: f64,
    /// β₁ and β₂.
    pub betas: [f64; 2],
    /// λ, times η what a weight loses.
    pub weight_decay: f64,
    /// ε.
    pub epsilon: f64,
}

/// Changes `values`, `mean` and `square` in place by `gradients`, all of one shape and float32.
pub fn adamw(values: &Tensor, gradients: &Tensor, [mean, square]: [&Tensor; 2], step: &AdamWStep) -> Result<()> {
    boundary::adamw([values, gradients, mean, square], step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fused::Version;
    use tch::{Device, Kind};

    #[test]
    fn a_step_is_counted_as_a_change() {
        let ones = || Tensor::ones([32], (Kind::Float, Device::Cpu));
        let (values, gradients, mean, square) = (ones(), ones(), ones().zero_(), ones().zero_());
        let before = Version::of(&values).unwrap();
        let step = AdamWStep { steps: 1, learning_rate: 0.5, betas: [0.9, 0.99], weight_decay: 0.1, epsilon: 0.0 };
        adamw(&values, &gradients, [&mean, &square], &step).unwrap();
        assert!(!before.is_of(&values).unwrap());
        let first = |tensor: &Tensor| tensor.double_value(&[0]);
        for (tensor, wanted) in [(&values, 1.0 - 0.05 - 0.5), (&mean, 0.1), (&square, 0.01)] {
            assert!((first(tensor) - wanted).abs() < 1e-7, "{} is not {wanted}", first(tensor));
        }
        let steps = AdamWStep { steps: 2, ..step };
        adamw(&values, &gradients, [&mean, &square], &steps).unwrap();
        assert!((first(&values) - (0.45 * 0.95 - 0.5)).abs() < 1e-6, "constant gradients step by the learning rate");
    }
}
