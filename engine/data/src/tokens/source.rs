//! The rows of a preprocessed split as turns of prompt and completion. Knows the columns; does not know tokens.

use std::path::Path;

use arrow::{
    array::{Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray},
    datatypes::DataType,
};

use crate::{
    Error, table,
    template::{Answer, Span},
};

/// A prompt and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// What the model reads.
    pub prompt: String,
    /// What it is to write; `None` where only the prompt is there.
    pub completion: Option<String>,
}

/// A row of a preprocessed split.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceRow {
    /// The row's name.
    pub id: String,
    /// Its number in the source, from zero, where the file says.
    pub number: Option<usize>,
    /// Its turns, at least one.
    pub turns: Vec<Turn>,
    /// The block `prompt`.
    pub prompt: Option<String>,
    /// The block `completion`.
    pub completion: Option<String>,
    /// The block `references`.
    pub references: Option<Vec<String>>,
    /// The columns that stand in the prompt verbatim.
    pub spans: Vec<Span>,
    /// The block `pair`.
    pub pair: Option<String>,
    /// The block `label`; none where it is empty.
    pub label: Option<String>,
    /// The block `answers`.
    pub answers: Option<Vec<Answer>>,
    /// The block `choices`.
    pub choices: Vec<String>,
    /// The block `contexts`.
    pub contexts: Option<Vec<String>>,
}

/// Which columns a preprocessed split has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns {
    /// A prompt.
    pub prompt: bool,
    /// A completion.
    pub completion: bool,
    /// References.
    pub references: bool,
    /// Pairs of prompt and completion.
    pub pairs: bool,
    /// A text beside the prompt.
    pub pair: bool,
    /// A label.
    pub label: bool,
    /// Where answers stand in the pair.
    pub answers: bool,
    /// Answers to choose from.
    pub choices: bool,
}

impl Columns {
    /// The columns of a file.
    pub fn of(schema: &arrow::datatypes::Schema) -> Self {
        let has = |name: &str| schema.field_with_name(name).is_ok();
        Self {
            prompt: has("prompt"),
            completion: has("completion"),
            references: has("references"),
            pairs: has("pairs"),
            pair: has("pair"),
            label: has("label"),
            answers: has("answers"),
            choices: has("choices"),
        }
    }

    /// Whether rows have something to learn.
    pub fn teach(self) -> bool {
        self.completion || self.pairs
    }
}

/// The rows of a batch.
///
/// # Errors
/// When the file has no column `id`, and neither `prompt` nor `pairs`.
pub fn rows(path: &Path, batch: &RecordBatch) -> Result<Vec<SourceRow>, Error> {
    let rows = SourceRows::of(path, batch)?;
    Ok((0..batch.num_rows()).map(|row| rows.row(row)).collect())
}

/// The columns of a batch, of which rows are made one by one.
pub struct SourceRows<'a> {
    ids: &'a StringArray,
    numbers: Option<&'a Int64Array>,
    prompts: Option<&'a StringArray>,
    completions: Option<&'a StringArray>,
    references: Option<&'a ListArray>,
    pairs: Option<&'a ListArray>,
    spans: Option<&'a ListArray>,
    beside: Option<&'a StringArray>,
    labels: Option<&'a StringArray>,
    answers: Option<&'a ListArray>,
    choices: Option<&'a ListArray>,
    contexts: Option<&'a ListArray>,
}

impl<'a> SourceRows<'a> {
    /// The columns of a batch of the file `path`.
    ///
    /// # Errors
    /// When the file has no column `id`, and neither `prompt` nor `pairs`.
    pub fn of(path: &Path, batch: &'a RecordBatch) -> Result<Self, Error> {
        let pairs = table::optional(batch, "pairs");
        Ok(Self {
            ids: table::column(path, batch, "id")?,
            numbers: table::optional(batch, "row"),
            prompts: match pairs {
                None => Some(table::column(path, batch, "prompt")?),
                Some(_) => table::optional(batch, "prompt"),
            },
            completions: table::optional(batch, "completion"),
            references: table::optional(batch, "references"),
            pairs,
            spans: table::optional(batch, "spans"),
            beside: table::optional(batch, "pair"),
            labels: table::optional(batch, "label"),
            answers: table::optional(batch, "answers"),
            choices: table::optional(batch, "choices"),
            contexts: table::optional(batch, "contexts"),
        })
    }

    /// A row by its number in the batch.
    pub fn row(&self, row: usize) -> SourceRow {
        let text = |column: Option<&StringArray>| column.map(|texts| texts.value(row).to_owned());
        let (prompt, completion) = (text(self.prompts), text(self.completions));
        SourceRow {
            id: self.ids.value(row).to_owned(),
            number: self.numbers.and_then(|numbers| usize::try_from(numbers.value(row)).ok()),
            turns: turns(&prompt, &completion, self.pairs.map(|lists| pairs_of(&lists.value(row)))),
            references: self.references.map(|lists| table::texts_of(lists, row)),
            spans: self.spans.map(|lists| spans_of(&lists.value(row))).unwrap_or_default(),
            pair: text(self.beside),
            label: text(self.labels).filter(|label| !label.is_empty()),
            answers: self.answers.map(|lists| answers_of(&lists.value(row))),
            choices: self.choices.map(|lists| table::texts_of(lists, row)).unwrap_or_default(),
            contexts: self.contexts.map(|lists| table::texts_of(lists, row)),
            prompt,
            completion,
        }
    }
}

/// The prompt of a row with pairs belongs to its first pair.
fn turns(prompt: &Option<String>, completion: &Option<String>, pairs: Option<Vec<(String, String)>>) -> Vec<Turn> {
    let first = prompt.clone().unwrap_or_default();
    let mut turns: Vec<Turn> = pairs
        .unwrap_or_default()
        .into_iter()
        .map(|(prompt, completion)| Turn { prompt, completion: Some(completion) })
        .collect();
    match turns.first_mut() {
        Some(turn) => turn.prompt.insert_str(0, &first),
        None => turns.push(Turn { prompt: first, completion: completion.clone() }),
    }
    turns
}

fn text_field<'a>(fields: &'a StructArray, name: &str) -> Option<&'a StringArray> {
    fields.column_by_name(name).filter(|column| *column.data_type() == DataType::Utf8)?.as_any().downcast_ref()
}

fn pairs_of(list: &dyn Array) -> Vec<(String, String)> {
    let Some(fields) = list.as_any().downcast_ref::<StructArray>() else { return Vec::new() };
    let columns = text_field(fields, "prompt").zip(text_field(fields, "completion"));
    let Some((prompts, completions)) = columns else { return Vec::new() };
    (0..fields.len()).map(|row| (prompts.value(row).to_owned(), completions.value(row).to_owned())).collect()
}

fn answers_of(list: &dyn Array) -> Vec<Answer> {
    let Some(fields) = list.as_any().downcast_ref::<StructArray>() else { return Vec::new() };
    let starts = fields.column_by_name("start").and_then(|column| column.as_any().downcast_ref::<Int32Array>());
    let Some((texts, starts)) = text_field(fields, "text").zip(starts) else { return Vec::new() };
    let start = |row| u32::try_from(starts.value(row)).unwrap_or_default();
    (0..fields.len()).map(|row| Answer { text: texts.value(row).to_owned(), start: start(row) }).collect()
}

fn spans_of(list: &dyn Array) -> Vec<Span> {
    let Some(fields) = list.as_any().downcast_ref::<StructArray>() else { return Vec::new() };
    let numbers = |name: &str| fields.column_by_name(name)?.as_any().downcast_ref::<Int32Array>();
    let (Some(names), Some(starts), Some(ends)) = (text_field(fields, "field"), numbers("start"), numbers("end"))
    else {
        return Vec::new();
    };
    let at = |column: &Int32Array, row| usize::try_from(column.value(row)).unwrap_or_default();
    (0..fields.len())
        .map(|row| Span { field: names.value(row).to_owned(), start: at(starts, row), end: at(ends, row) })
        .collect()
}
