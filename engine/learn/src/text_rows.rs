//! Reads the Parquet files that tokenizing leaves of texts that are read whole, and of texts with answers. Knows columns;
//! no tokenizer and no tensor.

use std::path::Path;

use arrow::array::{Array, AsArray, Int32Array, ListArray, StringArray};
use arrow::datatypes::Int32Type;

use crate::error::Result;
use crate::objectives::{AnsweredRow, TextRow};
use crate::rows::{damaged, open, other_form, typed, wrong};

/// A text, and what its row says of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TextRecord {
    /// The text as token ids.
    pub text: TextRow,
    /// The prompt.
    pub prompt: String,
    /// The text beside it.
    pub pair: Option<String>,
    /// The label, where the row has one.
    pub label: Option<String>,
    /// The answers that count as right.
    pub references: Vec<String>,
    /// The first and last token of the answer; nothing where the row says nothing of answers.
    pub answer: Option<(i64, i64)>,
    /// Its number among the windows of its row.
    pub window: i32,
    /// Where each token stands in the pair, in bytes; none for a token outside it.
    pub places: Vec<Option<(usize, usize)>>,
    /// Why the row cannot be used: it did not fit.
    pub failed: Option<String>,
}

/// Reads the texts of a split.
pub fn read_text_rows(path: &Path) -> Result<Vec<TextRecord>> {
    let columns = [
        "id",
        "input_ids",
        "token_type_ids",
        "failed",
        "prompt",
        "pair",
        "label",
        "references",
        "window",
        "places",
        "answer_start",
        "answer_end",
    ];
    let mut rows = Vec::new();
    for batch in open(path, &columns)? {
        let batch = batch.map_err(|error| damaged(path, &error))?;
        let names: &StringArray = typed(path, &batch, "id", "a text")?;
        let ids: &ListArray = typed(path, &batch, "input_ids", "a list of 32-bit numbers")?;
        let types: &ListArray = match typed(path, &batch, "token_type_ids", "a list of 32-bit numbers") {
            Ok(types) => types,
            Err(_) => return Err(other_form(path, "text")),
        };
        let text = |name: &str, row: usize| {
            let column = batch.column_by_name(name)?.as_string_opt::<i32>()?;
            column.is_valid(row).then(|| column.value(row).to_owned())
        };
        let number = |name: &str, row: usize| {
            let column = batch.column_by_name(name)?.as_primitive_opt::<Int32Type>()?;
            column.is_valid(row).then(|| column.value(row))
        };
        let places = batch.column_by_name("places").and_then(|column| column.as_list_opt::<i32>());
        let references = batch.column_by_name("references").and_then(|column| column.as_list_opt::<i32>());
        for row in 0..batch.num_rows() {
            let (ids, types) = (numbers(path, ids, row)?, numbers(path, types, row)?);
            let places = match places {
                Some(places) => numbers(path, places, row)?.chunks(2).map(place).collect(),
                None => Vec::new(),
            };
            let references = references.map(|lists| lists.value(row));
            let answer = number("answer_start", row).zip(number("answer_end", row));
            rows.push(TextRecord {
                text: TextRow { id: names.value(row).to_owned(), ids, types },
                prompt: text("prompt", row).unwrap_or_default(),
                pair: text("pair", row),
                label: text("label", row).filter(|label| !label.is_empty()),
                references: references
                    .as_ref()
                    .and_then(|list| list.as_string_opt::<i32>())
                    .map(|texts| texts.iter().flatten().map(str::to_owned).collect())
                    .unwrap_or_default(),
                answer: answer.map(|(start, end)| (i64::from(start), i64::from(end))),
                window: number("window", row).unwrap_or_default(),
                places,
                failed: text("failed", row),
            });
        }
    }
    Ok(rows)
}

/// Reads the texts and answers of a split; beside each, why its row cannot be used.
pub fn read_answered(path: &Path) -> Result<Vec<(AnsweredRow, Option<String>)>> {
    let mut rows = Vec::new();
    for batch in open(path, &["id", "input_ids", "target_ids", "failed"])? {
        let batch = batch.map_err(|error| damaged(path, &error))?;
        let names: &StringArray = typed(path, &batch, "id", "a text")?;
        let ids: &ListArray = typed(path, &batch, "input_ids", "a list of 32-bit numbers")?;
        let answers: &ListArray = match typed(path, &batch, "target_ids", "a list of 32-bit numbers") {
            Ok(answers) => answers,
            Err(_) => return Err(other_form(path, "seq2seq")),
        };
        let failures = batch.column_by_name("failed").and_then(|column| column.as_string_opt::<i32>());
        for row in 0..batch.num_rows() {
            let text = TextRow { id: names.value(row).to_owned(), ids: numbers(path, ids, row)?, types: Vec::new() };
            let failed = failures.filter(|column| column.is_valid(row)).map(|column| column.value(row).to_owned());
            rows.push((AnsweredRow { text, answer: numbers(path, answers, row)? }, failed));
        }
    }
    Ok(rows)
}

fn numbers(path: &Path, lists: &ListArray, row: usize) -> Result<Vec<i32>> {
    let list = lists.value(row);
    let values: Option<&Int32Array> = list.as_primitive_opt::<Int32Type>();
    values.map(|values| values.values().to_vec()).ok_or_else(|| wrong(path, "input_ids", "a list of 32-bit numbers"))
}

fn place(pair: &[i32]) -> Option<(usize, usize)> {
    match pair {
        [start, end] => Some((usize::try_from(*start).ok()?, usize::try_from(*end).ok()?)),
        _ => None,
    }
}
