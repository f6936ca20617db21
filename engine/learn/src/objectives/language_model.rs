//! The objective `language_model`: the next token's negative log-likelihood in a causal language model.

use tch::{Kind, Tensor};

use super::{Examples, Weighed};
use crate::batches::{LossRow, MicroBatch, Row};
use crate::clock::{self, Part};
use crate::error::Result;
use crate::loss::Placed;
use crate::models::Model;

/// Rows whose next tokens are learned.
#[derive(Debug)]
pub struct LanguageModel {
    rows: Vec<LossRow>,
    padding: i64,
}

impl LanguageModel {
    /// These rows; short ones are filled up with the id `padding`.
    pub fn new(rows: Vec<LossRow>, padding: i64) -> Self {
        Self { rows, padding }
    }

    fn placed(&self, model: &Model, rows: &[Weighed]) -> Result<Placed> {
        let chosen = rows.iter().filter_map(|weighed| self.rows.get(weighed.row));
        Placed::new(&MicroBatch::new(chosen, self.padding), model.device)
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
        let placed = self.placed(model, rows)?;
        clock::enter(Part::Forward);
        placed.backward(model.network.causal_lm()?, &weights(&self.rows, rows))
    }

    fn loss(&self, model: &Model, rows: &[Weighed]) -> Result<Tensor> {
        let losses = self.placed(model, rows)?.losses(model.network.causal_lm()?)?;
        weighed_sum(&losses, &weights(&self.rows, rows))
    }
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
