//! The loss on rows that are not learned from, other figures of the model then, and what these decide: which weights are
//! best, and when to stop. Knows no training and no metric.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::settings::Best;
use crate::error::Result;
use crate::models::Model;
use crate::objectives::{Examples, Normalize};
use crate::observer::Observer;

/// Figures by name; those that are no finite numbers are left out.
pub type Figures = BTreeMap<String, f64>;

/// What is asked of a model at a validation besides the loss.
pub trait Asks: Debug {
    /// The figures of the model as it is, in evaluation. Nothing of the model changes, and nothing is drawn from libtorch's
    /// generator that training could miss.
    fn figures(&self, model: &Model, observer: &mut dyn Observer) -> Result<Figures>;
}

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

/// What was found after a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// The step.
    pub step: u64,
    /// The validation loss.
    pub loss: f64,
    /// What was asked besides.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub figures: Figures,
}

impl Best {
    /// The figure that decides, where it is there.
    pub fn of(&self, scored: &Scored) -> Option<f64> {
        match self {
            Self::Loss => Some(scored.loss),
            Self::Figure { name, .. } => scored.figures.get(name).copied(),
        }
    }

    fn is_better(&self, new: f64, old: f64) -> bool {
        match self {
            Self::Figure { more_is_better: true, .. } => new > old,
            Self::Loss | Self::Figure { .. } => new < old,
        }
    }
}

/// All validations so far, as far as they decide something.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Validations {
    /// The best; of equal ones the first.
    pub best: Option<Scored>,
    /// The newest.
    pub last: Option<Scored>,
    /// How many there were after the best.
    pub since_best: u64,
}

impl Validations {
    /// Adds one; says whether it is the best so far. One without the figure that decides is not.
    pub fn add(&mut self, scored: Scored, by: &Best) -> bool {
        let better = match (by.of(&scored), self.best.as_ref().and_then(|best| by.of(best))) {
            (Some(new), Some(old)) => by.is_better(new, old),
            (new, _) => new.is_some(),
        };
        if better {
            self.best = Some(scored.clone());
            self.since_best = 0;
        } else {
            self.since_best += 1;
        }
        self.last = Some(scored);
        better
    }
}

/// Tells of a validation as a part of the training that it belongs to.
pub(super) struct During<'a> {
    /// Who follows the training.
    pub observer: &'a mut dyn Observer,
    /// Steps done.
    pub step: u64,
    /// Steps in all.
    pub total: u64,
}

impl Observer for During<'_> {
    fn progress(&mut self, done: u64, total: u64, unit: &str, note: &dyn Fn() -> String) {
        let text = || match note() {
            note if note.is_empty() => format!("validating: {done} of {total} {unit}"),
            note => format!("validating: {done} of {total} {unit} · {note}"),
        };
        self.observer.progress(self.step, self.total, "steps", &text);
    }

    fn due(&self) -> bool {
        self.observer.due()
    }

    fn warning(&mut self, message: String) {
        self.observer.warning(message);
    }

    fn interrupted(&self) -> bool {
        self.observer.interrupted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps what it is told.
    #[derive(Default)]
    struct Told(Vec<String>);

    impl Observer for Told {
        fn progress(&mut self, done: u64, total: u64, unit: &str, note: &dyn Fn() -> String) {
            self.0.push(format!("{done}/{total} {unit} {}", note()));
        }

        fn due(&self) -> bool {
            true
        }

        fn warning(&mut self, message: String) {
            self.0.push(message);
        }

        fn interrupted(&self) -> bool {
            false
        }
    }

    #[test]
    fn rows_that_are_asked_are_told_as_a_part_of_the_training() {
        let mut told = Told::default();
        let mut during = During { observer: &mut told, step: 40, total: 120 };
        during.progress(3, 16, "rows", &String::new);
        during.progress(4, 16, "rows", &|| "70 tokens".to_owned());
        assert_eq!(
            told.0,
            ["40/120 steps validating: 3 of 16 rows", "40/120 steps validating: 4 of 16 rows · 70 tokens"]
        );
    }

    fn scored(step: u64, loss: f64, f1: Option<f64>) -> Scored {
        Scored { step, loss, figures: f1.into_iter().map(|f1| ("squad_v2.f1".to_owned(), f1)).collect() }
    }

    #[test]
    fn the_first_of_equal_losses_stays_best() {
        let mut validations = Validations::default();
        let better: Vec<bool> = [3.0, 2.0, 2.0, 2.5, f64::NAN]
            .into_iter()
            .zip(1..)
            .map(|(loss, step)| validations.add(scored(step, loss, None), &Best::Loss))
            .collect();
        assert_eq!(better, [true, true, false, false, false]);
        assert_eq!(validations.best, Some(scored(2, 2.0, None)));
        assert_eq!(validations.since_best, 3);
    }

    #[test]
    fn a_figure_decides_in_its_own_direction_whatever_the_loss_does() {
        let run = |more_is_better: bool| {
            let by = Best::Figure { name: "squad_v2.f1".to_owned(), more_is_better };
            let mut validations = Validations::default();
            let figures = [None, Some(40.0), Some(50.0), Some(50.0), Some(30.0), None];
            let better: Vec<bool> = figures
                .into_iter()
                .zip(1..)
                .map(|(f1, step)| validations.add(scored(step, step as f64, f1), &by))
                .collect();
            (better, validations)
        };
        let (better, validations) = run(true);
        assert_eq!(better, [false, true, true, false, false, false]);
        assert_eq!((validations.best.map(|best| best.step), validations.since_best), (Some(3), 3));
        assert_eq!(validations.last, Some(scored(6, 6.0, None)));
        let (better, validations) = run(false);
        assert_eq!(better, [false, true, false, false, true, false]);
        assert_eq!((validations.best.map(|best| best.step), validations.since_best), (Some(5), 1));
    }
}
