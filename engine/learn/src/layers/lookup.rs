//! Tables of rows by token id: the plain one, and what a method that changes one has to offer.

use std::fmt::Debug;

use tch::Tensor;

use super::Mode;
use crate::error::Result;

/// A table of rows, with or without something that trains beside it.
pub trait Lookup: Debug {
    /// The rows `[…, width]` of `ids`, in the table's kind.
    fn forward(&self, ids: &Tensor, mode: Mode) -> Result<Tensor>;

    /// The table `[count, width]` which alone gives what [`forward`](Self::forward) gives in evaluation. Without gradient.
    fn merged(&self) -> Result<Tensor>;
}

/// The plain table.
#[derive(Debug)]
pub struct Table {
    /// `[count, width]`
    pub weight: Tensor,
    /// The id whose row gets no gradient here, as in transformers; −1 where there is none.
    pub padding: i64,
}

impl Lookup for Table {
    fn forward(&self, ids: &Tensor, _mode: Mode) -> Result<Tensor> {
        Ok(Tensor::f_embedding(&self.weight, ids, self.padding, false, false)?)
    }

    fn merged(&self) -> Result<Tensor> {
        Ok(self.weight.f_detach()?)
    }
}
