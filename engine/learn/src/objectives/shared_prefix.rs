//! The objective `language_model` over rows that begin alike: what rows of a micro-batch have in common at their front is
//! computed once, and each goes on from it. Losses and gradients are those of [`LanguageModel`](super::LanguageModel).

use tch::{Kind, Tensor};

use super::language_model::{weighed_sum, weights};
use super::{Examples, Weighed};
use crate::batches::{LossRow, Row};
use crate::clock::{self, Part};
use crate::error::Result;
use crate::layers::{Mode, Packed};
use crate::loss::{Head, Predictions};
use crate::models::Model;
use crate::prefix_tree::{self, Forest};

/// Rows whose next tokens are learned.
#[derive(Debug)]
pub struct SharedPrefix {
    rows: Vec<LossRow>,
}

impl SharedPrefix {
    /// These rows.
    pub fn new(rows: Vec<LossRow>) -> Self {
        Self { rows }
    }

    /// What `then` makes of the predictions of all targets of `rows`, and their weights.
    fn predicted<T>(
        &self,
        model: &Model,
        rows: &[Weighed],
        mode: Mode,
        then: impl FnOnce(Predictions<'_>, &[f64]) -> Result<T>,
    ) -> Result<T> {
        let chosen: Vec<&LossRow> = rows.iter().filter_map(|weighed| self.rows.get(weighed.row)).collect();
        let forest = Forest::new(&chosen);
        let texts = Packed::new(&forest, model.device)?;
        let numbers =
            |values: &[i64]| -> Result<Tensor> { Ok(Tensor::f_from_slice(values)?.f_to_device(model.device)?) };
        let (positions, targets) = (numbers(&forest.positions)?, numbers(&forest.targets)?);
        clock::enter(Part::Forward);
        let network = model.network.causal_lm()?;
        let hidden = network.hidden_packed(&texts, mode)?.f_squeeze_dim(0)?.f_index_select(0, &positions)?;
        let scores = |hidden: &Tensor| network.logits(hidden, mode);
        let head = Head { scores: &scores, vocabulary: network.vocabulary() };
        then(Predictions::new(hidden, &targets, head), &weights(&self.rows, rows))
    }
}

impl Examples for SharedPrefix {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn row(&self, index: usize) -> Option<&dyn Row> {
        self.rows.get(index).map(|row| row as &dyn Row)
    }

    /// Rows that begin alike stand together.
    fn epoch(&self, seed: u64, epoch: u64, size: usize) -> Vec<Vec<usize>> {
        prefix_tree::epoch(&self.rows, seed, epoch, size)
    }

    fn backward(&self, model: &Model, rows: &[Weighed]) -> Result<Tensor> {
        self.predicted(model, rows, Mode::Train, |predictions, weights| predictions.backward(weights))
    }

    fn loss(&self, model: &Model, rows: &[Weighed]) -> Result<Tensor> {
        let _guard = tch::no_grad_guard();
        self.predicted(model, rows, Mode::Eval, |predictions, weights| {
            Ok(weighed_sum(&predictions.scored()?.0, weights)?.f_to_kind(Kind::Double)?)
        })
    }
}
