//! How long a text becomes: ids that end it are ruled out, forced, or become likelier with time.

use tch::Tensor;

use super::{Processor, Written, ruled_out};
use crate::error::Result;

/// No end id before the text, prompt and new tokens together, has so many ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinLength {
    /// Ids in all.
    pub length: usize,
    /// Ids that end a text.
    pub end_ids: Vec<i64>,
}

/// No end id before there are so many new tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinNewTokens {
    /// New tokens.
    pub count: usize,
    /// Ids that end a text.
    pub end_ids: Vec<i64>,
}

/// The first id of a text that begins with nothing but its decoder's start is this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForcedBos(pub i64);

/// The last token there is room for is this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForcedEos {
    /// The id.
    pub id: i64,
    /// The most new tokens of a text.
    pub max_new_tokens: usize,
}

/// From the new token after the first `start` on, the scores of end ids are raised by `|score| · (factor^n - 1)`, `n` being
/// the new tokens beyond those.
#[derive(Debug, Clone, PartialEq)]
pub struct ExponentialDecay {
    /// New tokens without a change.
    pub start: usize,
    /// What is raised to a power.
    pub factor: f64,
    /// Ids that end a text.
    pub end_ids: Vec<i64>,
}

/// The scores without the ends of those rows that are too short to end.
fn without_ends(
    scores: &Tensor,
    rows: &[Written],
    end_ids: &[i64],
    short: impl Fn(&Written) -> bool,
) -> Result<Tensor> {
    let short = rows.iter().enumerate().filter(|(_, text)| short(text));
    ruled_out(scores, short.flat_map(|(row, _)| end_ids.iter().map(move |&id| (row, id))))
}

impl Processor for MinLength {
    fn process(&self, scores: &Tensor, rows: &[Written]) -> Result<Tensor> {
        without_ends(scores, rows, &self.end_ids, |text| text.ids.len() < self.length)
    }
}

impl Processor for MinNewTokens {
    fn process(&self, scores: &Tensor, rows: &[Written]) -> Result<Tensor> {
        without_ends(scores, rows, &self.end_ids, |text| text.new_tokens().len() < self.count)
    }
}

/// The scores with one id alone, of score 0, in the rows where it is `forced`.
fn forced(scores: &Tensor, rows: &[Written], id: i64, forced: impl Fn(&Written) -> bool) -> Result<Tensor> {
    let forced: Vec<bool> = rows.iter().map(forced).collect();
    if !forced.contains(&true) {
        return Ok(scores.shallow_clone());
    }
    let alone = scores.f_full_like(f64::NEG_INFINITY)?;
    let _ = alone.f_narrow(1, id, 1)?.f_fill_(0.0)?;
    let forced = Tensor::f_from_slice(&forced)?.f_to_device(scores.device())?.f_unsqueeze(1)?;
    Ok(alone.f_where_self(&forced, scores)?)
}

impl Processor for ForcedBos {
    fn process(&self, scores: &Tensor, rows: &[Written]) -> Result<Tensor> {
        forced(scores, rows, self.0, |text| text.ids.len() == 1)
    }
}

impl Processor for ForcedEos {
    fn process(&self, scores: &Tensor, rows: &[Written]) -> Result<Tensor> {
        forced(scores, rows, self.id, |text| text.new_tokens().len() + 1 == self.max_new_tokens)
    }
}

impl Processor for ExponentialDecay {
    fn process(&self, scores: &Tensor, rows: &[Written]) -> Result<Tensor> {
        let raised: Vec<f32> = rows
            .iter()
            .map(|text| match text.new_tokens().len().checked_sub(self.start) {
                Some(beyond) => (self.factor.powi(beyond as i32) - 1.0) as f32,
                None => 0.0,
            })
            .collect();
        let raised = Tensor::f_from_slice(&raised)?.f_to_device(scores.device())?.f_unsqueeze(1)?;
        let ends = Tensor::f_from_slice(&self.end_ids)?.f_to_device(scores.device())?;
        let held = scores.f_index_select(1, &ends)?;
        // An end that is ruled out stays so.
        let added = held.f_abs()?.f_mul(&raised)?.f_masked_fill(&held.f_isfinite()?.f_logical_not()?, 0.0)?;
        Ok(scores.f_index_add(1, &ends, &added)?)
    }
}
