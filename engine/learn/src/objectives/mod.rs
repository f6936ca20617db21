//! What is learned: one file an objective. An objective knows what it reads of a row and what its loss is in a network;
//! no optimiser, no order of rows and no file.

mod classify;
mod language_model;
mod normalize;
mod regress;
mod seq2seq;
mod shared_prefix;
mod span;
mod texts;

use std::fmt::Debug;

use tch::Tensor;

use crate::batches::{self, Row};
use crate::error::Result;
use crate::models::Model;

pub use classify::Classify;
pub use language_model::LanguageModel;
pub(crate) use language_model::scored as scored_rows;
pub use normalize::{Normalize, Weighed};
pub use regress::Regress;
pub(crate) use seq2seq::scored as scored_answers;
pub use seq2seq::{AnsweredRow, Seq2Seq};
pub use shared_prefix::SharedPrefix;
pub use span::{Span, span_scores};
pub use texts::{Labelled, TextExamples, TextObjective, TextRow, together};

/// Rows, and the loss that each of them has in a network.
pub trait Examples: Debug {
    /// How many rows there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A row, as far as batches depend on it.
    fn row(&self, index: usize) -> Option<&dyn Row>;

    /// The batches of an epoch, as indices of rows.
    fn epoch(&self, seed: u64, epoch: u64, size: usize) -> Vec<Vec<usize>> {
        let rows: Vec<_> = (0..self.len()).filter_map(|row| self.row(row)).collect();
        batches::epoch(&rows, seed, epoch, size)
    }

    /// Adds the gradients of the weighed sum of the rows' losses to the trainable tensors. Returns that sum, one number
    /// on the device.
    fn backward(&self, model: &Model, rows: &[Weighed]) -> Result<Tensor>;

    /// The weighed sum of the rows' losses in evaluation, one number in double precision.
    fn loss(&self, model: &Model, rows: &[Weighed]) -> Result<Tensor>;
}
