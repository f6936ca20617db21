//! Texts that are read whole, scored in batches: of each text the scores of a head, in the order of the rows. Knows no
//! metric and no class.

use tch::{Kind, Tensor};

use super::no_numbers;
use crate::error::Result;
use crate::layers::Mode;
use crate::models::{Model, Texts};
use crate::objectives::{TextRow, span_scores, together};
use crate::observer::Observer;

/// The scores of each text by a classifier, one number for each class; none for a row that is not there.
pub fn class_scores(
    model: &Model,
    rows: &[Option<&TextRow>],
    batch: usize,
    padding: i64,
    observer: &mut dyn Observer,
) -> Result<Vec<Option<Vec<f64>>>> {
    let network = model.network.sequence_classifier()?;
    in_batches(model, rows, batch, padding, observer, |texts| network.scores(texts, Mode::Eval))
}

/// The scores of each token of each text, start and end in turn.
pub fn token_scores(
    model: &Model,
    rows: &[Option<&TextRow>],
    batch: usize,
    padding: i64,
    observer: &mut dyn Observer,
) -> Result<Vec<Option<Vec<f64>>>> {
    in_batches(model, rows, batch, padding, observer, |texts| span_scores(model, texts, Mode::Eval))
}

/// What `of` gives for each text, `[rows, …]`, as plain numbers.
fn in_batches(
    model: &Model,
    rows: &[Option<&TextRow>],
    batch: usize,
    padding: i64,
    observer: &mut dyn Observer,
    of: impl Fn(&Texts) -> Result<Tensor>,
) -> Result<Vec<Option<Vec<f64>>>> {
    let _guard = tch::no_grad_guard();
    let mut order: Vec<(usize, &TextRow)> =
        rows.iter().enumerate().filter_map(|(index, row)| Some((index, (*row)?))).collect();
    order.sort_by_key(|(_, row)| std::cmp::Reverse(row.ids.len()));
    let mut results = vec![None; rows.len()];
    let (mut done, total) = (0, order.len() as u64);
    for part in order.chunks(batch.max(1)) {
        let texts = together(part.iter().map(|(_, row)| *row), padding, model)?;
        let scores = of(&texts)?.f_to_kind(Kind::Double)?;
        for (place, (index, row)) in (0..).zip(part) {
            let scores = Vec::<f64>::try_from(scores.f_get(place)?.f_reshape([-1])?)?;
            if scores.iter().any(|score| score.is_nan()) {
                return Err(no_numbers(&row.id));
            }
            if let Some(result) = results.get_mut(*index) {
                *result = Some(scores);
            }
        }
        done += part.len() as u64;
        observer.progress(done, total, "rows", &String::new);
    }
    Ok(results)
}
