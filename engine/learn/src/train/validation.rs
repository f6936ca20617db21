//! The loss on rows that are not learned from, and what it decides: which weights are best, and when to stop. Knows no
//! training.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::batches::{LossRow, MicroBatch};
use crate::error::Result;
use crate::loss::Placed;
use crate::models::Model;

/// The mean loss of all targets of `rows`, `micro` rows at once. Without rows, NaN.
pub fn loss_of(model: &Model, rows: &[LossRow], micro: usize, padding: i64) -> Result<f64> {
    let mut order: Vec<&LossRow> = rows.iter().collect();
    order.sort_by_key(|row| row.inputs());
    let mut sums = Vec::new();
    for part in order.chunks(micro.max(1)) {
        let micro = MicroBatch::new(part.iter().copied(), padding);
        sums.push(Placed::new(&micro, model.device)?.losses(model.network.as_ref())?.f_sum(Kind::Double)?);
    }
    let sum: f64 = match sums.as_slice() {
        [] => f64::NAN,
        sums => Vec::<f64>::try_from(Tensor::f_stack(sums, 0)?)?.into_iter().sum(),
    };
    let targets: usize = rows.iter().map(LossRow::losses).sum();
    Ok(sum / targets as f64)
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
