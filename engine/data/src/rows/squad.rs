//! SQuAD's nested JSON, versions 1.1 and 2.0: articles hold paragraphs, paragraphs hold questions. Knows its keys.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use spec::stage::SquadRows;

use super::{Row, json_error};
use crate::Error;

#[derive(Deserialize)]
struct Document {
    data: Vec<Article>,
}

#[derive(Deserialize)]
struct Article {
    #[serde(default)]
    title: String,
    paragraphs: Vec<Paragraph>,
}

#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<Question>,
}

#[derive(Deserialize)]
struct Question {
    id: String,
    question: String,
    #[serde(default)]
    answers: Vec<Answer>,
    #[serde(default)]
    is_impossible: bool,
}

#[derive(Deserialize)]
struct Answer {
    text: String,
    answer_start: i64,
}

/// Reads SQuAD's nested JSON: a row a question, or a row a paragraph.
pub(super) fn read(path: &Path, bytes: &[u8], row: SquadRows) -> Result<Vec<Row>, Error> {
    let document: Document = serde_json::from_slice(bytes).map_err(|error| json_error(path, bytes, 1, &error))?;
    let mut rows = Vec::new();
    for Article { title, paragraphs } in document.data {
        for Paragraph { context, qas } in paragraphs {
            match row {
                SquadRows::Question => rows.extend(qas.into_iter().map(|question| {
                    let mut row = Row::new();
                    row.insert("id".into(), question.id.clone().into());
                    row.insert("title".into(), title.clone().into());
                    row.insert("context".into(), context.clone().into());
                    question.write(&mut row);
                    row
                })),
                SquadRows::Paragraph => {
                    let questions = qas.into_iter().map(|question| {
                        let mut row = Row::new();
                        row.insert("id".into(), question.id.clone().into());
                        question.write(&mut row);
                        Value::Object(row)
                    });
                    let mut row = Row::new();
                    row.insert("title".into(), title.clone().into());
                    row.insert("context".into(), context.into());
                    row.insert("qas".into(), questions.collect());
                    rows.push(row);
                }
            }
        }
    }
    Ok(rows)
}

impl Question {
    /// Answers of an unanswerable question are only plausible ones: they are no answers.
    fn write(self, row: &mut Row) {
        let answers = if self.is_impossible { Vec::new() } else { self.answers };
        let starts: Vec<i64> = answers.iter().map(|answer| answer.answer_start).collect();
        row.insert("question".into(), self.question.into());
        row.insert("answers".into(), answers.into_iter().map(|answer| answer.text).collect());
        row.insert("answer_starts".into(), json!(starts));
        row.insert("is_impossible".into(), self.is_impossible.into());
    }
}
