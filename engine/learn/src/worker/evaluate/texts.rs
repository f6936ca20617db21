//! The protocols `classify`, `regress` and `span`: texts that are read whole, what a head says of them, and metrics. Knows
//! the words of pipeline files; not how texts are scored or figures counted.

use data::answers::{Found, Rule, Window, best};
use data::metrics::{self, ClassRow, Counter, NumberRow};
use serde_json::{Map, Value, json};
use spec::protocol::Span;

use super::{Answered, Asked, Scored};
use crate::error::{Error, Result};
use crate::evaluate::{class_scores, token_scores};
use crate::models::Task;
use crate::objectives::TextRow;
use crate::observer::Observer;
use crate::text_rows::{TextRecord, read_text_rows};
use crate::worker::special_ids::SpecialIds;
use crate::worker::{examples, labels};

/// The likeliest class of each row.
pub(super) fn classify(asked: &Asked<'_>, ids: &SpecialIds, observer: &mut dyn Observer) -> Result<Answered> {
    let counters = asked.counters(|counter| match counter {
        Counter::Classes(metric) => Some(metric),
        _ => None,
    })?;
    let labels = labels::of_data(asked.data)?;
    asked.check_labels(&labels)?;
    for (name, metric) in &counters {
        if let Some(fault) = metric.fault(&labels) {
            return Err(Error::setting(format!("metrics: {name}"), fault, "choose a class of the data"));
        }
    }
    let rows = asked.some(read_text_rows(asked.path)?)?;
    let right: Vec<usize> = rows
        .iter()
        .map(|row| {
            let label = label_of(asked, row)?;
            labels.iter().position(|name| *name == label).ok_or_else(|| {
                let problem = format!("row `{}`: no class is named `{label}`", row.text.id);
                Error::file(asked.path, problem, "tokenize the rows again")
            })
        })
        .collect::<Result<_>>()?;
    let model = asked.model(Task::SequenceClassification { labels: labels.len() as i64 }, ids)?;
    let scores = class_scores(&model, &texts(&rows), asked.batch(), ids.pad, observer)?;
    let probabilities: Vec<Option<Vec<f64>>> = scores.iter().map(|scores| scores.as_deref().map(softmax)).collect();
    let predicted = |row: &Option<Vec<f64>>| {
        let likeliest = |best: (usize, f64), (class, &p): (usize, &f64)| if p > best.1 { (class, p) } else { best };
        row.as_ref().map(|row| row.iter().enumerate().fold((0, f64::NEG_INFINITY), likeliest).0)
    };
    let compared: Vec<ClassRow> = probabilities
        .iter()
        .zip(&right)
        .map(|(row, right)| ClassRow { predicted: predicted(row), right: *right })
        .collect();
    let mut scored = Scored::default();
    for (name, metric) in counters {
        scored.add(name, metric.count(&compared, &labels));
    }
    let lines = rows.iter().zip(&probabilities).zip(&compared).enumerate();
    asked.predictions(lines.map(|(index, ((row, probabilities), compared))| {
        let named = |row: &Vec<f64>| -> Map<String, Value> {
            labels.iter().zip(row).map(|(name, probability)| (name.clone(), json!(probability))).collect()
        };
        Ok(json!({
            "id": row.text.id,
            "prompt": row.prompt,
            "pair": row.pair,
            "output": compared.predicted.and_then(|class| labels.get(class)),
            "references": [row.label],
            "probabilities": probabilities.as_ref().map(named),
            "failed": row.failed,
            "scores": scored.of_row(index),
        }))
    }))?;
    Ok(Answered::new(scored, tokens(&rows), rows.iter().map(|row| &row.failed)))
}

/// The number of each row.
pub(super) fn regress(asked: &Asked<'_>, ids: &SpecialIds, observer: &mut dyn Observer) -> Result<Answered> {
    let counters = asked.counters(|counter| match counter {
        Counter::Numbers(metric) => Some(metric),
        _ => None,
    })?;
    let rows = asked.some(read_text_rows(asked.path)?)?;
    let number = |row: &TextRecord| examples::number(&label_of(asked, row)?, &row.text.id, asked.path);
    let right = rows.iter().map(number).collect::<Result<Vec<f64>>>()?;
    let model = asked.model(Task::SequenceClassification { labels: 1 }, ids)?;
    let scores = class_scores(&model, &texts(&rows), asked.batch(), ids.pad, observer)?;
    let compared: Vec<NumberRow> = scores
        .iter()
        .zip(&right)
        .map(|(scores, right)| NumberRow { predicted: scores.as_ref().and_then(|s| s.first().copied()), right: *right })
        .collect();
    let mut scored = Scored::default();
    for (name, metric) in counters {
        scored.add(name, metric.count(&compared));
    }
    let lines = rows.iter().zip(&compared).enumerate();
    asked.predictions(lines.map(|(index, (row, compared))| {
        Ok(json!({
            "id": row.text.id,
            "prompt": row.prompt,
            "pair": row.pair,
            "output": compared.predicted,
            "references": [compared.right],
            "failed": row.failed,
            "scores": scored.of_row(index),
        }))
    }))?;
    Ok(Answered::new(scored, tokens(&rows), rows.iter().map(|row| &row.failed)))
}

/// The best answer of each row, over all its windows.
pub(super) fn span(
    asked: &Asked<'_>,
    protocol: &Span,
    ids: &SpecialIds,
    observer: &mut dyn Observer,
) -> Result<Answered> {
    let windows = asked.some_from(read_text_rows(asked.path)?, |row| row.window == 0)?;
    for column in ["references", "places"] {
        if !crate::rows::has_column(asked.path, column)? {
            let problem = format!("has no column `{column}`, so there is nothing to look for");
            let hint = "add the blocks `pair` and `references` to the template";
            return Err(Error::file(asked.path, problem, hint));
        }
    }
    let firsts = windows.iter().filter(|row| row.window == 0);
    let counters = asked.text_counters(firsts.map(|row| row.references.as_slice()))?;
    let model = asked.model(Task::QuestionAnswering, ids)?;
    let scores = token_scores(&model, &texts(&windows), asked.batch(), ids.pad, observer)?;
    let rule = Rule::from(protocol);
    // The windows of a row follow one another, the first of them numbered zero.
    let scored_windows: Vec<(&TextRecord, Option<Window>)> =
        windows.iter().zip(&scores).map(|(row, scores)| (row, scores.as_deref().map(|s| window(row, s)))).collect();
    let rows: Vec<&[(&TextRecord, Option<Window>)]> = scored_windows.chunk_by(|_, (next, _)| next.window > 0).collect();
    let mut answers = Vec::new();
    for row in &rows {
        let Some((record, _)) = row.first() else { continue };
        let found: Option<Vec<Window>> = row.iter().map(|(_, window)| window.clone()).collect();
        answers.push((*record, found.map(|windows| best(windows, rule))));
    }
    let text = |record: &TextRecord, found: &Option<Found>| {
        let place = found.as_ref().map(|found| found.place.clone());
        place.and_then(|place| record.pair.as_deref()?.get(place)).unwrap_or_default().to_owned()
    };
    let compared: Vec<metrics::TextRow> = answers
        .iter()
        .map(|(record, found)| metrics::TextRow {
            prediction: found.as_ref().map(|found| text(record, found)),
            references: record.references.clone(),
            no_answer: found.as_ref().and_then(|found| found.as_ref()?.none_is_better_by),
        })
        .collect();
    let mut scored = Scored::default();
    for (name, metric) in counters {
        scored.add(name, metric.count(&compared));
    }
    let lines = answers.iter().zip(&compared).enumerate();
    asked.predictions(lines.map(|(index, ((record, _), row))| {
        Ok(json!({
            "id": record.text.id,
            "prompt": record.prompt,
            "output": row.prediction,
            "references": row.references,
            "none_is_better_by": row.no_answer,
            "failed": record.failed,
            "scores": scored.of_row(index),
        }))
    }))?;
    Ok(Answered::new(scored, tokens(&windows), answers.iter().map(|(record, _)| &record.failed)))
}

/// The scores of a window's own tokens: a batch's go on behind them.
pub(in crate::worker) fn window(row: &TextRecord, scores: &[f64]) -> Window {
    let own = || scores.chunks(2).take(row.text.ids.len());
    let side = |which: usize| own().map(|pair| pair.get(which).copied().unwrap_or(f64::NEG_INFINITY)).collect();
    Window { starts: side(0), ends: side(1), places: row.places.clone(), left_to_others: Vec::new() }
}

fn texts(rows: &[TextRecord]) -> Vec<Option<&TextRow>> {
    rows.iter().map(|row| row.failed.is_none().then_some(&row.text)).collect()
}

fn tokens(rows: &[TextRecord]) -> usize {
    rows.iter().map(|row| row.text.ids.len()).sum()
}

fn label_of(asked: &Asked<'_>, row: &TextRecord) -> Result<String> {
    row.label.clone().ok_or_else(|| {
        let hint = "add a block `label` to the template, or score a split whose rows have labels";
        Error::file(asked.path, format!("row `{}` has no label to compare with", row.text.id), hint)
    })
}

/// Probabilities of a row's classes.
pub(in crate::worker) fn softmax(scores: &[f64]) -> Vec<f64> {
    let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = scores.iter().map(|score| (score - highest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}
