//! The protocol `perplexity`: the negative log-likelihood of each row's own tokens, and how often the right one was the
//! likeliest. Knows no metric.

use data::metrics::TokenScore;
use tch::Kind;

use crate::batches::{LossRow, MicroBatch, Row};
use crate::error::Result;
use crate::loss::Placed;
use crate::models::Model;
use crate::observer::Observer;

/// The scores of `rows`, in their order; a row that is not there has no tokens. `batch` rows are computed at once.
pub fn scores(
    model: &Model,
    rows: &[Option<LossRow>],
    batch: usize,
    padding: i64,
    observer: &mut dyn Observer,
) -> Result<Vec<TokenScore>> {
    let mut order: Vec<(usize, &LossRow)> =
        rows.iter().enumerate().filter_map(|(index, row)| Some((index, row.as_ref()?))).collect();
    order.sort_by_key(|(_, row)| std::cmp::Reverse(row.inputs()));
    let mut results = vec![TokenScore::default(); rows.len()];
    let (mut done, total) = (0, order.len() as u64);
    for part in order.chunks(batch.max(1)) {
        let micro = MicroBatch::new(part.iter().map(|(_, row)| *row), padding);
        let (losses, right) = Placed::new(&micro, model.device)?.scored(model.network.causal_lm()?)?;
        let losses = Vec::<f64>::try_from(losses.f_to_kind(Kind::Double)?)?;
        let right = Vec::<i64>::try_from(right.f_to_kind(Kind::Int64)?)?;
        let mut targets = losses.into_iter().zip(right);
        for ((index, _), &count) in part.iter().zip(&micro.losses) {
            if let Some(result) = results.get_mut(*index) {
                for (loss, right) in targets.by_ref().take(count) {
                    result.nll += loss;
                    result.tokens += 1;
                    result.correct += u64::from(right == 1);
                }
            }
        }
        done += part.len() as u64;
        observer.progress(done, total, "rows", &String::new);
    }
    Ok(results)
}
