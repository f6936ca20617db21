//! What a `tokenize` stage counts of each split. Knows rows as they were written; does not encode.

use std::collections::BTreeMap;

use serde::Serialize;
use spec::stage::MaxLength;

use super::fit::{self, Lengths};
use crate::Error;

/// The counts of all splits, as `summary.json` keeps them.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    /// The figures that stand for the stage: none.
    pub headline: BTreeMap<String, f64>,
    /// One more than the greatest id.
    pub vocabulary: usize,
    /// The counts, by split.
    pub splits: BTreeMap<String, Counts>,
}

/// The counts of a split.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Counts {
    /// Rows that were written, failed ones included.
    pub rows: usize,
    /// Their tokens.
    pub tokens: usize,
    /// Tokens that carry loss.
    pub loss_tokens: usize,
    /// Rows that were left out because they are too long.
    pub dropped: usize,
    /// Rows whose prompt was cut in a field.
    pub truncated: usize,
    /// Rows whose completion was cut, and so ends without EOS.
    pub completions_cut: usize,
    /// Rows that cannot be used, and count as wrong where they are scored.
    pub failed: usize,
    /// Rows whose ids would differ had prompt and completion been encoded the other way, apart or as one.
    pub boundary_disagreements: usize,
    /// Rows whose text gave the id of a special token.
    pub special_in_text: usize,
    /// The most tokens of a row that was written.
    pub longest: usize,
    /// Rows by length: under each power of two, the rows that have at most so many tokens and more than half of it.
    pub lengths: BTreeMap<usize, usize>,
    /// The shortest row that was dropped or failed.
    #[serde(skip)]
    shortest_lost: Option<Lengths>,
}

impl Counts {
    /// Counts a row that was written with these tokens.
    pub fn add_row(&mut self, tokens: usize, loss_tokens: usize) {
        self.rows += 1;
        self.tokens += tokens;
        self.loss_tokens += loss_tokens;
        self.longest = self.longest.max(tokens);
        *self.lengths.entry(tokens.next_power_of_two()).or_default() += 1;
    }

    /// Remembers a row that was dropped or failed.
    pub fn lose(&mut self, lengths: Lengths) {
        if self.shortest_lost.is_none_or(|shortest| lengths.whole() < shortest.whole()) {
            self.shortest_lost = Some(lengths);
        }
    }

    /// Refuses a split of which nothing can be learned though it has completions, or of which no row is left.
    ///
    /// # Errors
    /// When no token carries loss, or all rows were dropped.
    pub fn check(&self, split: &str, teaches: bool, limit: MaxLength) -> Result<(), Error> {
        if self.rows > 0 && (self.loss_tokens > 0 || !teaches) {
            return Ok(());
        }
        let lost = match self.shortest_lost {
            Some(shortest) => format!(
                "{} rows were dropped and {} failed because they are too long; the shortest of them has {}",
                self.dropped,
                self.failed,
                fit::compared(shortest, limit)
            ),
            None => format!("the completions of all {} rows are empty and `eos` is `none`", self.rows),
        };
        let what = if teaches { "no token carries loss" } else { "no row is left" };
        let hint = match self.shortest_lost {
            Some(_) => "raise `max_length`, or truncate a field of the prompt",
            None => "let the template's `completion` have text, or use an `eos`",
        };
        Err(Error::new(format!("{what}: {lost}")).at(format!("split `{split}`")).hint(hint))
    }
}
