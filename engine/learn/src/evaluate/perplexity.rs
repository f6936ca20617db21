//! The protocol `perplexity`: the negative log-likelihood of each row's own tokens, and how often the right one was the
//! likeliest. Knows no metric.

use data::metrics::TokenScore;
use tch::{Kind, Tensor};

use super::no_numbers;
use super::windows::Windows;
use crate::batches::{LossRow, Row};
use crate::error::Result;
use crate::models::Model;
use crate::objectives::{AnsweredRow, scored_answers, scored_rows};
use crate::observer::Observer;
use crate::prefix_tree::Forest;

/// The scores of rows by a causal language model, in their order; a row that is not there has no tokens. `batch` rows are
/// computed at once.
pub fn scores(
    model: &Model,
    rows: &[Option<LossRow>],
    batch: usize,
    observer: &mut dyn Observer,
) -> Result<Vec<TokenScore>> {
    in_batches(rows, batch, observer, |part| scored_rows(model, &Forest::apart(part)))
}

/// The same of rows that are read in windows, each row the sum of its own; `batch` windows are computed at once.
pub fn windowed_scores(
    model: &Model,
    rows: &[Option<LossRow>],
    windows: Windows,
    batch: usize,
    observer: &mut dyn Observer,
) -> Result<Vec<TokenScore>> {
    let parts: Vec<Vec<LossRow>> =
        rows.iter().map(|row| row.as_ref().map(|row| windows.cut(row)).unwrap_or_default()).collect();
    let counts: Vec<usize> = parts.iter().map(Vec::len).collect();
    let flat: Vec<Option<LossRow>> = parts.into_iter().flatten().map(Some).collect();
    let mut scored = scores(model, &flat, batch, observer)?.into_iter();
    Ok(counts.into_iter().map(|count| scored.by_ref().take(count).sum()).collect())
}

/// The scores of rows' answers by an encoder–decoder; as [`scores`].
pub fn answer_scores(
    model: &Model,
    rows: &[Option<AnsweredRow>],
    batch: usize,
    padding: i64,
    observer: &mut dyn Observer,
) -> Result<Vec<TokenScore>> {
    in_batches(rows, batch, observer, |part| scored_answers(model, part, padding))
}

/// `score` gives the loss of each target of some rows and whether it was held the likeliest, row after row.
fn in_batches<R: Row>(
    rows: &[Option<R>],
    batch: usize,
    observer: &mut dyn Observer,
    score: impl Fn(&[&R]) -> Result<(Tensor, Tensor)>,
) -> Result<Vec<TokenScore>> {
    let mut order: Vec<(usize, &R)> =
        rows.iter().enumerate().filter_map(|(index, row)| Some((index, row.as_ref()?))).collect();
    order.sort_by_key(|(_, row)| std::cmp::Reverse(row.inputs()));
    let mut results = vec![TokenScore::default(); rows.len()];
    let (mut done, total) = (0, order.len() as u64);
    for part in order.chunks(batch.max(1)) {
        let together: Vec<&R> = part.iter().map(|(_, row)| *row).collect();
        let (losses, right) = score(&together)?;
        let losses = Vec::<f64>::try_from(losses.f_to_kind(Kind::Double)?)?;
        let right = Vec::<i64>::try_from(right.f_to_kind(Kind::Int64)?)?;
        let mut targets = losses.into_iter().zip(right);
        for (index, row) in part {
            if let Some(result) = results.get_mut(*index) {
                for (loss, right) in targets.by_ref().take(row.losses()) {
                    result.nll += loss;
                    result.tokens += 1;
                    result.correct += u64::from(right == 1);
                }
                if result.nll.is_nan() {
                    return Err(no_numbers(row.id()));
                }
            }
        }
        done += part.len() as u64;
        observer.progress(done, total, "rows", &String::new);
    }
    Ok(results)
}
