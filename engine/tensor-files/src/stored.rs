//! Where a tensor's numbers lie in a file: kind, shape, strides, and the place of the first one. Made only when every
//! number lies within the bytes it may lie in. Knows no format.

use std::ops::Range;

use crate::error::Damage;

/// libtorch itself has a limit of 64; no weight has more than five.
const MOST_DIMENSIONS: usize = 16;

/// A kind of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE 754, 32 bits.
    F32,
    /// IEEE 754, 16 bits.
    F16,
    /// The upper half of a float32.
    BF16,
    /// Numbers that no weight is made of, by their name; their values cannot be read.
    Other(&'static str),
}

impl Dtype {
    /// Bytes of a number; nothing for kinds that cannot be read.
    pub fn size(self) -> Option<usize> {
        match self {
            Self::F32 => Some(4),
            Self::F16 | Self::BF16 => Some(2),
            Self::Other(_) => None,
        }
    }

    /// As safetensors calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Other(name) => name,
        }
    }
}

/// A tensor in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The kind of its numbers.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
    /// How many numbers lie between neighbours along each dimension.
    pub(crate) strides: Vec<usize>,
    /// The first byte of the first number.
    pub(crate) start: usize,
}

impl Stored {
    /// A tensor whose numbers follow each other, the last dimension first. That shape and bytes agree has been checked.
    pub(crate) fn contiguous(dtype: Dtype, shape: Vec<usize>, start: usize) -> Self {
        let strides = row_major(&shape);
        Self { dtype, shape, strides, start }
    }

    /// A view of a storage, from its number `offset` on.
    pub(crate) fn view(
        dtype: Dtype,
        shape: Vec<usize>,
        strides: Vec<usize>,
        storage: &Range<usize>,
        offset: usize,
    ) -> Result<Self, Damage> {
        let hint = "take the checkpoint from a source you trust";
        if shape.len() > MOST_DIMENSIONS {
            return Err(Damage::new(format!("has {} dimensions, {MOST_DIMENSIONS} are read", shape.len()), hint));
        }
        if shape.len() != strides.len() {
            let problem = format!("has {} dimensions and {} strides", shape.len(), strides.len());
            return Err(Damage::new(problem, hint));
        }
        let Some(size) = dtype.size() else {
            // Named, never read.
            return Ok(Self { dtype, shape, strides, start: storage.start });
        };
        let outside = || {
            let problem = format!(
                "of shape {shape:?}, strides {strides:?} and offset {offset} does not lie in its storage of {} bytes",
                storage.len()
            );
            Damage::new(problem, hint)
        };
        // The number after the last one that the view reaches.
        let empty = shape.contains(&0);
        let steps = shape.iter().zip(&strides).try_fold(offset, |last, (&length, &stride)| {
            last.checked_add(length.saturating_sub(1).checked_mul(stride)?)
        });
        let end = if empty { Some(offset) } else { steps.and_then(|last| last.checked_add(1)) };
        let bytes = end.and_then(|end| end.checked_mul(size)).ok_or_else(outside)?;
        if bytes > storage.len() {
            return Err(outside());
        }
        let start = offset.checked_mul(size).and_then(|bytes| storage.start.checked_add(bytes)).ok_or_else(outside)?;
        Ok(Self { dtype, shape, strides, start })
    }

    /// How many numbers it has; nothing where they are more than can be counted.
    pub fn elements(&self) -> Option<usize> {
        if self.shape.contains(&0) {
            return Some(0);
        }
        self.shape.iter().try_fold(1usize, |all, &length| all.checked_mul(length))
    }

    /// How many numbers lie from its first to its last in the file, both counted.
    pub(crate) fn span(&self) -> Option<usize> {
        let steps = self.shape.iter().zip(&self.strides);
        steps.into_iter().try_fold(1usize, |span, (&length, &stride)| {
            span.checked_add(length.saturating_sub(1).checked_mul(stride)?)
        })
    }

    /// Whether the numbers follow each other in the file in the order of the shape.
    pub fn is_contiguous(&self) -> bool {
        let expected = row_major(&self.shape);
        self.shape.contains(&0)
            || self.shape.iter().zip(&self.strides).zip(&expected).all(|((&length, a), b)| length == 1 || a == b)
    }
}

/// The strides of numbers that follow each other; of a shape that is too large any, since nothing has it.
fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for at in (1..shape.len()).rev() {
        strides[at - 1] = strides[at].saturating_mul(shape[at]);
    }
    strides
}
