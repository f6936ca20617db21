//! The loss on rows that are not learned from, and what it decides: which weights are best, and when to stop. Knows no
//! training.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::error::Result;
use crate::models::Model;
use crate::objectives::{Examples, Normalize};

/// The loss of all examples in evaluation, normalised as in training, `micro` rows at once. Without rows, NaN.
pub fn loss_of(model: &Model, examples: &dyn Examples, normalize: Normalize, micro: usize) -> Result<f64> {
    let mut order: Vec<usize> = (0..examples.len()).collect();
    order.sort_by_key(|&row| examples.row(row).map_or(0, |row| row.inputs()));
    let (weights, divisor) = normalize.over_all(examples, &order);
    let mut sums = Vec::new();
    for part in weights.chunks(micro.max(1)) {
        sums.push(examples.loss(model, part)?);
    }
    let sum: f64 = match sums.as_slice() {
        [] => f64::NAN,
        sums => Vec::<f64>::try_from(Tensor::f_stack(sums, 0)?)?.into_iter().sum(),
    };
    Ok(sum / divisor)
}

/// The loss after a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// The step.
    pub step: u64,
    /// The validation loss.
    pub loss: f64,
}

/// All validations so far, as far as they decide something.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Validations {
    /// The lowest; of equal ones the first.
    pub best: Option<Scored>,
    /// The newest.
    pub last: Option<Scored>,
    /// How many there were after the lowest.
    pub since_best: u64,
}

impl Validations {
    /// Adds one; says whether it is the best so far.
    pub fn add(&mut self, scored: Scored) -> bool {
        self.last = Some(scored);
        let better = self.best.is_none_or(|best| scored.loss < best.loss);
        if better {
            self.best = Some(scored);
            self.since_best = 0;
        } else {
            self.since_best += 1;
        }
        better
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_equal_losses_stays_best() {
        let mut validations = Validations::default();
        let better: Vec<bool> = [3.0, 2.0, 2.0, 2.5, f64::NAN]
            .into_iter()
            .zip(1..)
            .map(|(loss, step)| validations.add(Scored { step, loss }))
            .collect();
        assert_eq!(better, [true, true, false, false, false]);
        assert_eq!(validations.best, Some(Scored { step: 2, loss: 2.0 }));
        assert_eq!(validations.since_best, 3);
    }
}
