//! The protocol `choices`: the likelihoods of each row's choices, and metrics. Knows the words of pipeline files; not how a
//! likelihood is computed or figures counted.

use data::metrics::{ChoiceRow, ChoiceScore, ClassRow, Counter, first_best};
use serde_json::{Value, json};

use super::{Answered, Asked, Scored};
use crate::choice_rows::{Choice, Question, read_questions};
use crate::error::{Error, Result};
use crate::evaluate::likelihoods;
use crate::models::Task;
use crate::observer::Observer;
use crate::worker::special_ids::SpecialIds;

/// The likeliest choice of each row.
pub(super) fn choices(asked: &Asked<'_>, ids: &SpecialIds, observer: &mut dyn Observer) -> Result<Answered> {
    let counters = asked.counters(|counter| match counter {
        counter @ (Counter::Classes(_) | Counter::Choices(_)) => Some(counter),
        _ => None,
    })?;
    let questions = asked.some(read_questions(asked.path)?)?;
    let right = |question: &Question| {
        question.right.ok_or_else(|| {
            let hint = "add a block `label` to the template, or score a split whose rows have labels";
            Error::file(asked.path, format!("row `{}` does not say which choice is right", question.id), hint)
        })
    };
    let right = questions.iter().map(right).collect::<Result<Vec<usize>>>()?;
    // Classes have names where every row has the same choices.
    let texts = |question: &Question| question.choices.iter().map(|choice| choice.text.clone()).collect::<Vec<_>>();
    let labels = questions.first().map(texts).unwrap_or_default();
    let alike = questions.iter().all(|question| texts(question) == labels);
    for (name, counter) in &counters {
        let Counter::Classes(metric) = counter else { continue };
        let fault = match alike {
            true => metric.fault(&labels),
            false => metric.fault(&[]).map(|_| "the rows have different choices, which are no classes".to_owned()),
        };
        if let Some(fault) = fault {
            return Err(Error::setting(format!("metrics: {name}"), fault, "use `accuracy`, or `normalized_accuracy`"));
        }
    }
    let model = asked.model(Task::LanguageModel, ids)?;
    let scores = likelihoods(&model, &questions, asked.batch(), observer)?;
    let rows: Vec<ChoiceRow> = questions
        .iter()
        .zip(&scores)
        .zip(&right)
        .map(|((question, scores), &right)| {
            let choices = question.choices.iter().zip(scores).map(|(choice, score)| ChoiceScore {
                log_likelihood: -score.nll,
                tokens: choice.ids.len() - choice.prompt_length,
                characters: choice.text.chars().count(),
                bytes: choice.text.len(),
            });
            ChoiceRow { choices: choices.collect(), right }
        })
        .collect();
    let chosen: Vec<ClassRow> = rows
        .iter()
        .map(|row| ClassRow {
            predicted: first_best(row.choices.iter().map(|choice| choice.log_likelihood)),
            right: row.right,
        })
        .collect();
    let mut scored = Scored::default();
    for (name, counter) in counters {
        match counter {
            Counter::Classes(metric) => scored.add(name, metric.count(&chosen, &labels)),
            Counter::Choices(metric) => scored.add(name, metric.count(&rows)),
            _ => {}
        }
    }
    let lines = questions.iter().zip(&scores).zip(&chosen).enumerate();
    asked.predictions(lines.map(|(index, ((question, scores), chosen))| {
        let text = |number: usize| question.choices.get(number).map(|choice| &choice.text);
        let each = question.choices.iter().zip(scores);
        let tokens = |choice: &Choice| choice.ids.len() - choice.prompt_length;
        let each = each.map(
            |(choice, score)| json!({ "text": choice.text, "log_likelihood": -score.nll, "tokens": tokens(choice) }),
        );
        Ok(json!({
            "id": question.id,
            "prompt": question.prompt,
            "output": chosen.predicted.and_then(text),
            "references": [text(chosen.right)],
            "choices": each.collect::<Vec<Value>>(),
            "failed": question.failed,
            "scores": scored.of_row(index),
        }))
    }))?;
    let read = questions.iter().flat_map(|question| &question.choices).map(|choice| choice.ids.len()).sum();
    Ok(Answered::new(scored, read, questions.iter().map(|question| &question.failed)))
}
