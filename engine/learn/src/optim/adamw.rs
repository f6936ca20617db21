//! AdamW: Adam with decoupled weight decay. Loshchilov and Hutter (arXiv 1711.05101), algorithm 2, in the form of
//! `torch.optim.AdamW(fused=True)`. Knows one buffer of values and one of gradients.

use tch::Tensor;

use super::Group;
use crate::error::Result;
use crate::fused::{AdamWStep, adamw};

/// The optimiser's settings.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// The part of a weight that each step takes away, times the learning rate.
    pub weight_decay: f64,
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Added to the root in the denominator.
    pub epsilon: f64,
}

/// What the optimiser remembers of the gradients: float32 buffers in the layout of the values.
#[derive(Debug)]
pub struct Moments {
    /// The decaying mean of the gradients.
    pub mean: Tensor,
    /// The decaying mean of their squares.
    pub square: Tensor,
    /// Steps done.
    pub steps: u64,
}

impl Moments {
    /// Those of an optimiser that has seen nothing.
    pub fn zero(values: &Tensor) -> Result<Self> {
        Ok(Self { mean: values.f_zeros_like()?, square: values.f_zeros_like()?, steps: 0 })
    }
}

impl AdamW {
    /// One step, in place, each group of numbers at its own multiple η of `learning_rate`: `m ← β₁m + (1−β₁)g`,
    /// `v ← β₂v + (1−β₂)g²`, `w ← w(1 − ηλ) − η/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε)`.
    pub fn step(
        &self,
        values: &Tensor,
        gradients: &Tensor,
        moments: &mut Moments,
        groups: &[Group],
        learning_rate: f64,
    ) -> Result<()> {
        moments.steps += 1;
        for group in groups {
            let of = |buffer: &Tensor| buffer.f_narrow(0, group.offset, group.length);
            let step = AdamWStep {
                steps: moments.steps,
                learning_rate: learning_rate * group.rate,
                betas: [self.beta1, self.beta2],
                weight_decay: self.weight_decay,
                epsilon: self.epsilon,
            };
            adamw(&of(values)?, &of(gradients)?, [&of(&moments.mean)?, &of(&moments.square)?], &step)?;
        }
        Ok(())
    }
}
