//! The objective `language_model`: the next token's negative log-likelihood in a causal language model. Rows stand one behind
//! the other, without padding.

use tch::{Kind, Tensor};

use super::{Examples, Weighed};
use crate::batches::{LossRow, Row};
use crate::clock::{self, Part};
use crate::error::Result;
use crate::layers::Mode;
use crate::loss::{Head, Predictions};
use crate::models::Model;
use crate::prefix_tree::Forest;

/// Rows whose next tokens are learned.
#[derive(Debug)]
pub struct LanguageModel {
    rows: Vec<LossRow>,
}

impl LanguageModel {
    /// These rows.
    pub fn new(rows: Vec<LossRow>) -> Self {
        Self { rows }
    }

    fn placed(&self, rows: &[Weighed]) -> Forest {
        Forest::apart(&chosen(&self.rows, rows))
    }
}

impl Examples for LanguageModel {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn row(&self, index: usize) -> Option<&dyn Row> {
        self.rows.get(index).map(|row| row as &dyn Row)
    }

    fn backward(&self, model: &Model, rows: &[Weighed]) -> Result<Tensor> {
        backward(model, &self.placed(rows), &weights(&self.rows, rows))
    }

    fn loss(&self, model: &Model, rows: &[Weighed]) -> Result<Tensor> {
        loss(model, &self.placed(rows), &weights(&self.rows, rows))
    }
}

/// Those of `all` that are weighed.
pub(super) fn chosen<'a>(all: &'a [LossRow], rows: &[Weighed]) -> Vec<&'a LossRow> {
    rows.iter().filter_map(|weighed| all.get(weighed.row)).collect()
}

/// Adds the gradients of the weighed sum of the losses of all targets to the trainable tensors. Returns that sum.
pub(super) fn backward(model: &Model, texts: &Forest, weights: &[f64]) -> Result<Tensor> {
    predicted(model, texts, Mode::Train, |predictions| predictions.backward(weights))
}

/// The weighed sum of the losses of all targets in evaluation.
pub(super) fn loss(model: &Model, texts: &Forest, weights: &[f64]) -> Result<Tensor> {
    weighed_sum(&scored(model, texts)?.0, weights)
}

/// The loss of each target and whether the model held it the likeliest, each `[targets]`, in evaluation.
pub(crate) fn scored(model: &Model, texts: &Forest) -> Result<(Tensor, Tensor)> {
    let _guard = tch::no_grad_guard();
    predicted(model, texts, Mode::Eval, |predictions| predictions.scored())
}

/// What `then` makes of the predictions of all targets.
fn predicted<T>(
    model: &Model,
    texts: &Forest,
    mode: Mode,
    then: impl FnOnce(Predictions<'_>) -> Result<T>,
) -> Result<T> {
    let targets = Tensor::f_from_slice(&texts.targets)?.f_to_device(model.device)?;
    clock::enter(Part::Forward);
    let network = model.network.causal_lm()?;
    let hidden = network.hidden_at_targets(texts, mode)?;
    let scores = |hidden: &Tensor| network.logits(hidden, mode);
    let head = Head { scores: &scores, vocabulary: network.vocabulary() };
    then(Predictions::new(hidden, &targets, head))
}

/// The weight of each target of those of `all` that are weighed.
pub(super) fn weights(all: &[LossRow], rows: &[Weighed]) -> Vec<f64> {
    let of_row = |weighed: &Weighed| {
        let targets = all.get(weighed.row).map_or(0, LossRow::losses);
        std::iter::repeat_n(weighed.weight, targets)
    };
    rows.iter().flat_map(of_row).collect()
}

/// The sum of losses, each times its weight, in double precision; equal weights are multiplied in at the end.
pub(super) fn weighed_sum(losses: &Tensor, weights: &[f64]) -> Result<Tensor> {
    match weights.split_first() {
        Some((&first, rest)) if rest.iter().any(|&weight| weight != first) => {
            let weights = Tensor::f_from_slice(weights)?.f_to_device(losses.device())?;
            Ok(losses.f_to_kind(Kind::Double)?.f_mul(&weights)?.f_sum(Kind::Double)?)
        }
        Some((&1.0, _)) | None => Ok(losses.f_sum(Kind::Double)?),
        Some((&first, _)) => Ok(losses.f_sum(Kind::Double)?.f_mul_scalar(first)?),
    }
}
