//! The protocol `choices`: the log-likelihood of each choice behind its prompt. Knows no metric.

use data::metrics::TokenScore;

use super::scores;
use crate::batches::LossRow;
use crate::choice_rows::Question;
use crate::error::{Error, Result};
use crate::models::Model;
use crate::observer::Observer;

/// The scores of the choices of each question, in their order, by a causal language model; none of a question that failed.
/// `batch` choices are computed at once.
pub fn likelihoods(
    model: &Model,
    questions: &[Question],
    batch: usize,
    padding: i64,
    observer: &mut dyn Observer,
) -> Result<Vec<Vec<TokenScore>>> {
    let rows: Vec<Option<LossRow>> = questions
        .iter()
        .filter(|question| question.failed.is_none())
        .flat_map(|question| &question.choices)
        .map(|choice| LossRow::new("", &choice.ids, (0..choice.ids.len()).map(|at| at >= choice.prompt_length)))
        .collect();
    let mut scored = scores(model, &rows, batch, padding, observer)?.into_iter();
    let of = |question: &Question| match question.failed {
        None => scored.by_ref().take(question.choices.len()).collect(),
        Some(_) => Vec::new(),
    };
    let likelihoods: Vec<Vec<TokenScore>> = questions.iter().map(of).collect();
    let faulty = questions.iter().zip(&likelihoods).find(|(_, scores)| scores.iter().any(|score| score.nll.is_nan()));
    if let Some((question, _)) = faulty {
        let problem = format!("the likelihoods of the choices of row `{}` are no numbers", question.id);
        let hint = "the model's scores are not finite: check its weights, or compute in `precision: float32`";
        return Err(Error::stopped(problem, None, hint));
    }
    Ok(likelihoods)
}
