//! What is done to the scores of the next token before one is chosen: one file an idea, one after another in transformers'
//! order. Knows scores and the ids that were written so far; no model and no way to choose.

mod filters;
mod lengths;
mod ngrams;
mod repetition;
mod suppression;
mod temperature;

use std::fmt::Debug;

use tch::{Kind, Tensor};

pub use filters::{EpsilonCutoff, EtaCutoff, MinP, TopK, TopP, TypicalP};
pub use lengths::{ExponentialDecay, ForcedBos, ForcedEos, MinLength, MinNewTokens};
pub use ngrams::NoRepeatNgram;
pub use repetition::RepetitionPenalty;
pub use suppression::{BadWords, Suppressed, SuppressedAtFirst};
pub use temperature::{Renormalize, Temperature};

use crate::error::Result;

/// The ids of one row so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The prompt, or what the decoder of an encoder–decoder begins with, and the new tokens.
    pub ids: Vec<i64>,
    /// How many of them are not new.
    pub before: usize,
}

impl Written {
    /// Before the first new token.
    pub fn start(ids: Vec<i64>) -> Self {
        Self { before: ids.len(), ids }
    }

    /// The new tokens.
    pub fn new_tokens(&self) -> &[i64] {
        self.ids.get(self.before..).unwrap_or_default()
    }
}

/// One step of what is done to scores.
pub trait Processor: Debug {
    /// The scores `[rows, vocabulary]`, float32, of the next token of each of the texts `rows`, changed.
    fn process(&self, scores: &Tensor, rows: &[Written]) -> Result<Tensor>;
}

/// What all of them make of scores of any kind, as float32.
pub fn process(processors: &[Box<dyn Processor>], scores: &Tensor, rows: &[Written]) -> Result<Tensor> {
    processors.iter().try_fold(scores.f_to_kind(Kind::Float)?, |scores, processor| processor.process(&scores, rows))
}

/// The scores with `-∞` at these pairs of a row and an id; ids that the vocabulary lacks are passed over.
fn ruled_out(scores: &Tensor, pairs: impl IntoIterator<Item = (usize, i64)>) -> Result<Tensor> {
    let places = places(scores, pairs)?;
    if places.is_empty() {
        return Ok(scores.shallow_clone());
    }
    let index = Tensor::f_from_slice(&places)?.f_to_device(scores.device())?;
    let filled = scores.f_reshape([-1])?.f_index_fill(0, &index, f64::NEG_INFINITY)?;
    Ok(filled.f_view_as(scores)?)
}

/// Where these pairs stand in the flat scores.
fn places(scores: &Tensor, pairs: impl IntoIterator<Item = (usize, i64)>) -> Result<Vec<i64>> {
    let vocabulary = scores.size2()?.1;
    let known = pairs.into_iter().filter(|(_, id)| (0..vocabulary).contains(id));
    Ok(known.map(|(row, id)| row as i64 * vocabulary + id).collect())
}

/// The scores with `-∞` where `out` is true.
fn masked(scores: &Tensor, out: &Tensor) -> Result<Tensor> {
    Ok(scores.f_masked_fill(out, f64::NEG_INFINITY)?)
}
