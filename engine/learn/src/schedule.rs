//! The learning rate over the steps, as transformers' `get_*_schedule_with_warmup`. Knows numbers alone.

use std::f64::consts::PI;

/// What the learning rate does after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Falls in a line to zero.
    Linear,
    /// Falls as half a cosine to zero.
    Cosine,
    /// Stays.
    Constant,
}

/// A schedule over all steps of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// What follows the warm-up.
    pub shape: Shape,
    /// Steps in which the rate rises in a line from zero.
    pub warmup: u64,
    /// All steps, warm-up included.
    pub total: u64,
}

impl Schedule {
    /// The factor on the highest learning rate for the step after `done` others: 0 at the first step of a warm-up.
    pub fn factor(&self, done: u64) -> f64 {
        if done < self.warmup {
            return done as f64 / self.warmup as f64;
        }
        let length = self.total.saturating_sub(self.warmup).max(1) as f64;
        let progress = (done - self.warmup) as f64 / length;
        match self.shape {
            Shape::Linear => self.total.saturating_sub(done) as f64 / length,
            Shape::Cosine => (0.5 * (1.0 + (PI * progress).cos())).max(0.0),
            Shape::Constant => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[scheduler.get_last_lr()[0] for each of 8 steps]` of transformers 5.23 with a learning rate of 1,
    /// `num_warmup_steps=3` and `num_training_steps=8`.
    #[test]
    fn factors_are_those_of_transformers() {
        let cases = [
            (Shape::Linear, [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0, 0.8, 0.6, 0.4, 0.2]),
            (
                Shape::Cosine,
                [
                    0.0,
                    1.0 / 3.0,
                    2.0 / 3.0,
                    1.0,
                    0.904_508_497_187_473_7,
                    0.654_508_497_187_473_7,
                    0.345_491_502_812_526_3,
                    0.095_491_502_812_526_33,
                ],
            ),
            (Shape::Constant, [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ];
        for (shape, wanted) in cases {
            let schedule = Schedule { shape, warmup: 3, total: 8 };
            for (done, wanted) in (0..).zip(wanted) {
                let found = schedule.factor(done);
                assert!((found - wanted).abs() < 1e-15, "{shape:?} after {done} steps: {found}, expected {wanted}");
            }
        }
    }

    #[test]
    fn no_factor_is_negative_after_the_end_or_with_a_warm_up_longer_than_the_training() {
        for shape in [Shape::Linear, Shape::Cosine, Shape::Constant] {
            let schedule = Schedule { shape, warmup: 5, total: 4 };
            for done in 0..12 {
                let factor = schedule.factor(done);
                assert!((0.0..=1.0).contains(&factor), "{shape:?} after {done}: {factor}");
            }
        }
    }
}
