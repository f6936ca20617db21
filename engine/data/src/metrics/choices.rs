//! What metrics of choices have in common: each row's choices with their likelihoods. Knows no model, no tokenizer and no
//! particular metric.

use super::Counted;
use super::uncertainty::Drawn;

/// What a model makes of a choice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChoiceScore {
    /// The sum of the log-likelihoods of its tokens, in nats.
    pub log_likelihood: f64,
    /// Its tokens, with those of what stands between it and the prompt.
    pub tokens: usize,
    /// Its characters.
    pub characters: usize,
    /// Its bytes in UTF-8.
    pub bytes: usize,
}

/// A row's choices and the right one.
#[derive(Debug, Clone, PartialEq)]
pub struct ChoiceRow {
    /// The choices; none where the row failed.
    pub choices: Vec<ChoiceScore>,
    /// The number of the right one.
    pub right: usize,
}

/// A metric that compares the likelihoods of choices.
pub trait ChoiceMetric: Send + Sync {
    /// Counts rows.
    fn count(&self, rows: &[ChoiceRow]) -> Counted;

    /// The shown figures of rows that are drawn from these.
    fn drawn(&self, rows: &[ChoiceRow]) -> Drawn<'static>;

    /// The summary's figures that tables, locks and progress show, the first of them first.
    fn headline(&self) -> &'static [&'static str];
}

/// The number of the greatest, of equals the first, as NumPy's `argmax`, which takes what is no number for the greatest;
/// none where there is none.
pub fn first_best(scores: impl Iterator<Item = f64>) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (number, score) in scores.enumerate() {
        if score.is_nan() {
            return Some(number);
        }
        if best.is_none_or(|(_, highest)| score > highest) {
            best = Some((number, score));
        }
    }
    best.map(|(number, _)| number)
}
