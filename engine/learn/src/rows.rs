//! Reads the Parquet files that tokenizing leaves: ids, which of them carry loss, and the texts that are scored. Knows
//! columns; no tokenizer and no tensor.

use std::fs::File;
use std::path::Path;

use arrow::array::{Array, AsArray, BooleanArray, Int32Array, ListArray, RecordBatch, StringArray};
use arrow::datatypes::Int32Type;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::error::{Error, Result};

/// One row as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// The row's name.
    pub id: String,
    /// Prompt and completion.
    pub ids: Vec<i32>,
    /// For each id, whether it belongs to a completion, its EOS included.
    pub completion: Vec<bool>,
    /// How many ids stand before the first of a completion.
    pub prompt_length: usize,
    /// Why the row cannot be used: it did not fit.
    pub failed: Option<String>,
}

/// The texts of a row that is scored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Texts {
    /// The prompt, where the template has one.
    pub prompt: Option<String>,
    /// The right answers.
    pub references: Vec<String>,
}

/// Reads the ids of all rows.
pub fn read_tokens(path: &Path) -> Result<Vec<TokenRow>> {
    let mut rows = Vec::new();
    for batch in open(path, &["id", "input_ids", "completion_mask", "prompt_length", "failed"])? {
        add_tokens(path, &batch.map_err(|error| damaged(path, &error))?, &mut rows)?;
    }
    Ok(rows)
}

/// Reads the texts of all rows, in the same order.
pub fn read_texts(path: &Path) -> Result<Vec<Texts>> {
    let mut rows = Vec::new();
    for batch in open(path, &["id", "prompt", "references"])? {
        let batch = batch.map_err(|error| damaged(path, &error))?;
        let prompts = batch.column_by_name("prompt").and_then(|column| column.as_string_opt::<i32>());
        let references = batch.column_by_name("references").and_then(|column| column.as_list_opt::<i32>());
        for row in 0..batch.num_rows() {
            let prompt = prompts.filter(|column| column.is_valid(row)).map(|column| column.value(row).to_owned());
            let references = match references.filter(|column| column.is_valid(row)) {
                Some(column) => match column.value(row).as_string_opt::<i32>() {
                    Some(texts) => texts.iter().flatten().map(str::to_owned).collect(),
                    None => return Err(wrong(path, "references", "a list of texts")),
                },
                None => Vec::new(),
            };
            rows.push(Texts { prompt, references });
        }
    }
    Ok(rows)
}

/// The greatest token id that the rows hold, and the name of a row that holds it; nothing where there are none.
pub fn greatest_id(path: &Path) -> Result<Option<(i32, String)>> {
    let mut greatest: Option<(i32, String)> = None;
    for batch in open(path, &["id", "input_ids", "target_ids"])? {
        let batch = batch.map_err(|error| damaged(path, &error))?;
        let names: &StringArray = typed(path, &batch, "id", "a text")?;
        for column in ["input_ids", "target_ids"].iter().filter_map(|name| batch.column_by_name(name)) {
            let Some(lists) = column.as_list_opt::<i32>() else { continue };
            for row in 0..batch.num_rows() {
                let ids = lists.value(row);
                let most = ids.as_primitive_opt::<Int32Type>().and_then(|ids| ids.values().iter().max().copied());
                if let Some(id) = most.filter(|&id| greatest.as_ref().is_none_or(|(known, _)| id > *known)) {
                    greatest = Some((id, names.value(row).to_owned()));
                }
            }
        }
    }
    Ok(greatest)
}

/// Whether the file has a column of this name.
pub fn has_column(path: &Path, name: &str) -> Result<bool> {
    let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| damaged(path, &error))?;
    Ok(builder.schema().column_with_name(name).is_some())
}

pub(crate) fn open(path: &Path, columns: &[&str]) -> Result<parquet::arrow::arrow_reader::ParquetRecordBatchReader> {
    let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| damaged(path, &error))?;
    let schema = builder.parquet_schema();
    let wanted: Vec<usize> = (0..schema.num_columns())
        .filter(|&leaf| columns.iter().any(|name| schema.get_column_root(leaf).name() == *name))
        .collect();
    let mask = ProjectionMask::leaves(schema, wanted);
    builder.with_projection(mask).build().map_err(|error| damaged(path, &error))
}

fn add_tokens(path: &Path, batch: &RecordBatch, rows: &mut Vec<TokenRow>) -> Result<()> {
    let names: &StringArray = typed(path, batch, "id", "a text")?;
    let ids: &ListArray = typed(path, batch, "input_ids", "a list of 32-bit numbers")?;
    let masks: &ListArray = match typed(path, batch, "completion_mask", "a list of true and false") {
        Ok(masks) => masks,
        Err(_) if batch.column_by_name("completion_mask").is_none() => return Err(other_form(path, "completion")),
        Err(error) => return Err(error),
    };
    let prompts: &Int32Array = typed(path, batch, "prompt_length", "a 32-bit number")?;
    let failures = batch.column_by_name("failed").and_then(|column| column.as_string_opt::<i32>());
    for row in 0..batch.num_rows() {
        let values = ids.value(row);
        let Some(values) = values.as_primitive_opt::<Int32Type>() else {
            return Err(wrong(path, "input_ids", "a list of 32-bit numbers"));
        };
        let mask = masks.value(row);
        let Some(mask) = mask.as_any().downcast_ref::<BooleanArray>() else {
            return Err(wrong(path, "completion_mask", "a list of true and false"));
        };
        let id = names.value(row).to_owned();
        let prompt_length = usize::try_from(prompts.value(row)).unwrap_or(usize::MAX);
        if mask.len() != values.len() || prompt_length > values.len() {
            let problem = format!("row `{id}`: its ids, its mask and the length of its prompt do not fit together");
            return Err(Error::file(path, problem, "tokenize the rows again"));
        }
        rows.push(TokenRow {
            id,
            ids: values.values().to_vec(),
            completion: mask.values().iter().collect(),
            prompt_length,
            failed: failures.filter(|column| column.is_valid(row)).map(|column| column.value(row).to_owned()),
        });
    }
    Ok(())
}

pub(crate) fn typed<'a, T: 'static>(path: &Path, batch: &'a RecordBatch, name: &str, kind: &str) -> Result<&'a T> {
    let column = batch.column_by_name(name);
    column.and_then(|column| column.as_any().downcast_ref()).ok_or_else(|| wrong(path, name, kind))
}

pub(crate) fn wrong(path: &Path, column: &str, kind: &str) -> Error {
    Error::file(path, format!("has no column `{column}` that holds {kind}"), "give the data of a `tokenize` stage")
}

/// The rows are token ids, and those of other objectives and protocols.
pub(crate) fn other_form(path: &Path, form: &str) -> Error {
    let hint = format!("give the `tokenize` stage `form: {form}`, or choose another objective or protocol");
    Error::file(path, format!("its rows were not tokenized as `{form}`"), hint)
}

pub(crate) fn damaged(path: &Path, error: &impl std::fmt::Display) -> Error {
    Error::file(path, format!("is no readable Parquet file: {error}"), "tokenize the rows again")
}
