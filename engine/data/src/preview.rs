//! The first rows of what a stage left, as a model sees them. Gives data; how it is shown is decided elsewhere.

use std::path::Path;

use serde::Serialize;
use spec::files;

use crate::{
    Error,
    rows::row_name,
    table,
    tokens::{self, source},
};

/// A row of a `preprocess` stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RenderedRow {
    /// Which row of the source it is, counted from one, with its id: `row 17 (id row-16)`.
    pub name: String,
    /// Prompts and completions in turn.
    pub turns: Vec<(String, Option<String>)>,
    /// The answers that count as right.
    pub references: Option<Vec<String>>,
}

/// A row of a `tokenize` stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TokenizedRow {
    /// The row's name.
    pub id: String,
    /// Its tokens in order.
    pub tokens: Vec<Token>,
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
    /// Whether it carries loss.
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
            shown.push(RenderedRow {
                name: row.number.map_or_else(|| format!("id {}", row.id), |number| row_name(number, &row.id)),
                turns: row.turns.into_iter().map(|turn| (turn.prompt, turn.completion)).collect(),
                references: row.references,
            });
        }
    }
    Ok(shown)
}

/// The first rows of a split of a `tokenize` stage.
///
/// # Errors
/// When the split or the tokenizer is absent or damaged.
pub fn tokenized(result: &Path, split: &str, rows: usize) -> Result<Vec<TokenizedRow>, Error> {
    let vocabulary = tokens::tokenizer(result)?;
    let token = |(id, loss): (&i32, &bool)| {
        let id = *id as u32;
        Token { id, text: vocabulary.token(id).unwrap_or_else(|| format!("[{id}]")), loss: *loss }
    };
    let shown = tokens::read(&result.join(files::split(split)))?.into_iter().take(rows).map(|row| TokenizedRow {
        tokens: row.input_ids.iter().zip(&row.completion_mask).map(token).collect(),
        id: row.id,
        failed: row.failed,
    });
    Ok(shown.collect())
}

/// Whether the rows of a tokenized split have a text beside their prompt.
pub fn has_pairs(result: &Path, split: &str) -> bool {
    table::open(&result.join(files::split(split)), None)
        .is_ok_and(|reader| arrow::array::RecordBatchReader::schema(&reader).field_with_name("pair").is_ok())
}
