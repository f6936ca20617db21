//! The objective `language_model` over rows that begin alike: what rows of a micro-batch have in common at their front is
//! computed once, and each goes on from it. Losses and gradients are those of [`LanguageModel`](super::LanguageModel).

use tch::Tensor;

use super::language_model::{backward, chosen, loss, weights};
use super::{Examples, Weighed};
use crate::batches::{LossRow, Row};
use crate::error::Result;
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

    fn placed(&self, rows: &[Weighed]) -> Forest {
        Forest::shared(&chosen(&self.rows, rows))
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
        backward(model, &self.placed(rows), &weights(&self.rows, rows))
    }

    fn loss(&self, model: &Model, rows: &[Weighed]) -> Result<Tensor> {
        loss(model, &self.placed(rows), &weights(&self.rows, rows))
    }
}
