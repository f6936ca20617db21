//! The first rows of what a stage left, as a model sees them. Gives data; how it is shown is decided elsewhere.

use std::path::Path;

use arrow::array::{Array, BooleanArray, Int32Array, ListArray, RecordBatch, StringArray};
use serde::Serialize;
use spec::files;

use crate::{
    Error,
    rows::row_name,
    table,
    tokens::{self, Vocabulary, source},
};

/// A row of a `preprocess` stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RenderedRow {
    /// Which row of the source it is, counted from one, with its id: `row 17 (id row-16)`.
    pub name: String,
    /// Prompts and completions in turn.
    pub turns: Vec<(String, Option<String>)>,
    /// The other blocks of the template, by name: the pair, the label, choices.
    pub beside: Vec<(&'static str, String)>,
    /// The answers that count as right.
    pub references: Option<Vec<String>>,
}

/// A row of a `tokenize` stage, one of its windows, or one of its choices.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TokenizedRow {
    /// The row's name.
    pub id: String,
    /// Which of its windows or choices this is, counted from one: `choice 2`.
    pub part: Option<String>,
    /// The tokens that a model reads, in order.
    pub tokens: Vec<Token>,
    /// The tokens that an encoder–decoder answers with.
    pub answer: Vec<Token>,
    /// What is to be found out of the row as a whole: `label: positive`.
    pub wanted: Option<String>,
    /// Why it cannot be used.
    pub failed: Option<String>,
}

/// A token as a model sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// Its text as the vocabulary writes it.
    pub text: String,
    /// Whether it is what is learned or scored: it carries loss, belongs to a choice, or to the answer in a text.
    pub loss: bool,
}

/// The first rows of a split of a `preprocess` stage.
///
/// # Errors
/// When the split is absent or damaged.
pub fn rendered(result: &Path, split: &str, rows: usize) -> Result<Vec<RenderedRow>, Error> {
    let path = result.join(files::split(split));
    let mut reader = table::open(&path, None)?;
    let mut shown = Vec::new();
    while let Some(batch) = table::next(&path, &mut reader)? {
        for row in source::rows(&path, &batch)? {
            if shown.len() == rows {
                return Ok(shown);
            }
            let choices = row.choices.iter().map(|choice| ("choice", choice.clone()));
            let beside = [("pair", row.pair), ("label", row.label)];
            let beside = beside.into_iter().filter_map(|(name, text)| Some((name, text?)));
            shown.push(RenderedRow {
                name: row.number.map_or_else(|| format!("id {}", row.id), |number| row_name(number, &row.id)),
                beside: beside.chain(choices).collect(),
                turns: row.turns.into_iter().map(|turn| (turn.prompt, turn.completion)).collect(),
                references: row.references,
            });
        }
    }
    Ok(shown)
}

/// The first rows of a split of a `tokenize` stage, of whichever form.
///
/// # Errors
/// When the split or the tokenizer is absent or damaged.
pub fn tokenized(result: &Path, split: &str, rows: usize) -> Result<Vec<TokenizedRow>, Error> {
    let vocabulary = tokens::tokenizer(result)?;
    let path = result.join(files::split(split));
    let mut reader = table::open(&path, None)?;
    let mut shown = Vec::new();
    while shown.len() < rows
        && let Some(batch) = table::next(&path, &mut reader)?
    {
        let left = batch.num_rows().min(rows - shown.len());
        let batch = Batch { path: &path, batch: &batch.slice(0, left), vocabulary: &vocabulary };
        for row in 0..left {
            shown.push(batch.row(row)?);
        }
    }
    Ok(shown)
}

/// Rows of a tokenized split, as the file has them.
struct Batch<'a> {
    path: &'a Path,
    batch: &'a RecordBatch,
    vocabulary: &'a Vocabulary,
}

impl Batch<'_> {
    fn row(&self, row: usize) -> Result<TokenizedRow, Error> {
        let ids = self.numbers("input_ids", row)?.ok_or_else(|| {
            let hint = "name a split of a `tokenize` stage";
            Error::new("the file holds no token ids").in_file(self.path).hint(hint)
        })?;
        let learned = self.learned(row, ids.len());
        let window = self.number("window", row).map(|window| format!("window {}", window + 1));
        let choice = self.number("choice", row).map(|choice| format!("choice {}", choice + 1));
        Ok(TokenizedRow {
            id: self.text("id", row).unwrap_or_default(),
            part: choice.or(window),
            tokens: ids.iter().zip(learned).map(|(id, loss)| self.token(*id, loss)).collect(),
            answer: self
                .numbers("target_ids", row)?
                .unwrap_or_default()
                .iter()
                .map(|id| self.token(*id, true))
                .collect(),
            wanted: self.wanted(row),
            failed: self.text("failed", row),
        })
    }

    /// Which of a row's tokens are learned or scored.
    fn learned(&self, row: usize, length: usize) -> Vec<bool> {
        let between = |from: usize, to: usize| (0..length).map(|place| (from..to).contains(&place)).collect();
        let answer = self.number("answer_start", row).zip(self.number("answer_end", row));
        match (table::optional::<ListArray>(self.batch, "completion_mask"), self.number("prompt_length", row), answer) {
            (Some(masks), ..) => {
                let mask = masks.value(row);
                let mask = mask.as_any().downcast_ref::<BooleanArray>();
                (0..length).map(|place| mask.is_some_and(|mask| place < mask.len() && mask.value(place))).collect()
            }
            (None, Some(prompt), _) => between(prompt, length),
            // Both ends at the first token mean that the answer is not in this window.
            (None, None, Some((from, to))) if to > 0 => between(from, to + 1),
            _ => vec![false; length],
        }
    }

    fn wanted(&self, row: usize) -> Option<String> {
        let label = self.text("label", row).filter(|label| !label.is_empty()).map(|label| format!("label: {label}"));
        let right = self.number("right", row).map(|right| format!("right: choice {}", right + 1));
        let ends = self.number("answer_start", row).zip(self.number("answer_end", row));
        let absent = ends.filter(|ends| *ends == (0, 0)).map(|_| "the answer is not in this window".to_owned());
        label.or(right).or(absent)
    }

    fn text(&self, column: &str, row: usize) -> Option<String> {
        let texts = table::optional::<StringArray>(self.batch, column)?;
        texts.is_valid(row).then(|| texts.value(row).to_owned())
    }

    fn number(&self, column: &str, row: usize) -> Option<usize> {
        let numbers = table::optional::<Int32Array>(self.batch, column)?;
        usize::try_from(numbers.value(row)).ok().filter(|_| numbers.is_valid(row))
    }

    fn numbers(&self, column: &str, row: usize) -> Result<Option<Vec<i32>>, Error> {
        let Some(lists) = table::optional::<ListArray>(self.batch, column) else { return Ok(None) };
        let list = lists.value(row);
        match list.as_any().downcast_ref::<Int32Array>() {
            Some(numbers) => Ok(Some(numbers.values().to_vec())),
            None => Err(Error::new(format!("the column `{column}` holds no token ids")).in_file(self.path)),
        }
    }

    fn token(&self, id: i32, loss: bool) -> Token {
        let id = id as u32;
        Token { id, text: self.vocabulary.token(id).unwrap_or_else(|| format!("[{id}]")), loss }
    }
}

/// Whether the rows of a tokenized split have a text beside their prompt.
pub fn has_pairs(result: &Path, split: &str) -> bool {
    table::open(&result.join(files::split(split)), None)
        .is_ok_and(|reader| arrow::array::RecordBatchReader::schema(&reader).field_with_name("pair").is_ok())
}
