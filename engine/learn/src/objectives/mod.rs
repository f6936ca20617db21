//! What is learned: one file an objective. An objective knows what it reads of a row and what its loss is in a network;
//! no optimiser, no order of rows and no file.

mod language_model;
mod normalize;

use std::fmt::Debug;

use tch::Tensor;

use crate::batches::Row;
use crate::error::Result;
use crate::models::Model;

pub use language_model::LanguageModel;
pub use normalize::{Normalize, Weighed};

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

    /// Adds the gradients of the weighed sum of the rows' losses to the trainable tensors. Returns that sum, one number
    /// on the device.
    fn backward(&self, model: &Model, rows: &[Weighed]) -> Result<Tensor>;

    /// The weighed sum of the rows' losses in evaluation, one number in double precision.
    fn loss(&self, model: &Model, rows: &[Weighed]) -> Result<Tensor>;
}
