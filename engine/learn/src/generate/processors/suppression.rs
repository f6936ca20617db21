//! Ids that may not be written.

use tch::Tensor;

use super::{Processor, Written, ruled_out};
use crate::error::Result;

/// These ids are ruled out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppressed(pub Vec<i64>);

/// These ids are ruled out as the first new token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuppressedAtFirst(pub Vec<i64>);

/// The last id of each of these runs is ruled out where the text ends in the ids before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadWords(pub Vec<Vec<i64>>);

impl Processor for Suppressed {
    fn process(&self, scores: &Tensor, rows: &[Written]) -> Result<Tensor> {
        ruled_out(scores, (0..rows.len()).flat_map(|row| self.0.iter().map(move |&id| (row, id))))
    }
}

impl Processor for SuppressedAtFirst {
    fn process(&self, scores: &Tensor, rows: &[Written]) -> Result<Tensor> {
        let first = rows.iter().enumerate().filter(|(_, text)| text.new_tokens().is_empty());
        ruled_out(scores, first.flat_map(|(row, _)| self.0.iter().map(move |&id| (row, id))))
    }
}

impl Processor for BadWords {
    fn process(&self, scores: &Tensor, rows: &[Written]) -> Result<Tensor> {
        let pairs = rows.iter().enumerate().flat_map(|(row, text)| {
            self.0.iter().filter_map(move |word| {
                let (last, first) = word.split_last()?;
                text.ids.ends_with(first).then_some((row, *last))
            })
        });
        ruled_out(scores, pairs)
    }
}
