//! Some rows of a weight: what one map is of a weight that several share. Knows no names.

use serde::{Deserialize, Serialize};
use tch::Tensor;

use crate::error::Result;

/// Rows of a weight `[outputs, inputs]`, and of whatever else has a row for each output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rows {
    /// The number of the first one.
    pub first: i64,
    /// How many there are.
    pub count: i64,
}

impl Rows {
    /// These rows of `whole`, in its memory.
    pub fn of(self, whole: &Tensor) -> Result<Tensor> {
        Ok(whole.f_narrow(0, self.first, self.count)?)
    }

    /// Writes `part` over these rows of `whole`, which no gradient goes through.
    pub fn put(self, part: &Tensor, whole: &Tensor) -> Result<()> {
        self.of(whole)?.f_copy_(part)?;
        Ok(())
    }

    /// Whether a tensor with so many rows has these.
    pub fn within(self, rows: i64) -> bool {
        self.first >= 0 && self.count >= 1 && self.first.checked_add(self.count).is_some_and(|end| end <= rows)
    }
}
