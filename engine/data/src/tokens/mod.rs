//! Rows as token ids: the file that a `tokenize` stage leaves, its reader, and how text becomes ids. Knows no tensor
//! and no model.

pub mod bpe;
pub mod chat;
mod convert;
pub mod encode;
pub mod fit;
mod folder;
pub mod labels;
mod limits;
pub mod source;
pub mod special;
pub mod summary;
mod words;
mod write;

use std::path::Path;

use arrow::array::{Array, BooleanArray, Int32Array, ListArray, StringArray};

use crate::{Error, table};
pub use folder::{Templated, Vocabulary, tokenizer};
pub use special::SpecialIds;
pub use write::{Carried, Writer};

/// A row of a tokenized split, without its texts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenRow {
    /// The row's name.
    pub id: String,
    /// BOS, prompt, completion, EOS; several prompts and completions in turn where the row has pairs. Empty where
    /// the row failed.
    pub input_ids: Vec<i32>,
    /// Which of the ids carry loss: those of completions and their EOS. As long as `input_ids`.
    pub completion_mask: Vec<bool>,
    /// How many ids stand before the first completion: what generation begins with.
    pub prompt_length: usize,
    /// Why the row cannot be used; it counts as wrong where rows are scored, and is passed over in training.
    pub failed: Option<String>,
}

/// The texts of a row of a tokenized split; `None` for a block that the template lacks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowTexts {
    /// What the model reads, cut as its ids are.
    pub prompt: Option<String>,
    /// What it was to write.
    pub completion: Option<String>,
    /// The answers that count as right.
    pub references: Option<Vec<String>>,
}

/// Reads the ids of a tokenized split, without its texts.
///
/// # Errors
/// When the file is absent, damaged, or no tokenized split.
pub fn read(path: &Path) -> Result<Vec<TokenRow>, Error> {
    let columns = ["id", "input_ids", "completion_mask", "prompt_length", "failed"];
    let mut reader = table::open(path, Some(&columns))?;
    let mut rows = Vec::new();
    while let Some(batch) = table::next(path, &mut reader)? {
        let ids = table::column::<StringArray>(path, &batch, "id")?;
        let tokens = table::column::<ListArray>(path, &batch, "input_ids")?;
        let masks = table::column::<ListArray>(path, &batch, "completion_mask")?;
        let lengths = table::column::<Int32Array>(path, &batch, "prompt_length")?;
        let failed = table::column::<StringArray>(path, &batch, "failed")?;
        let (token_values, mask_values) = (tokens.values(), masks.values());
        let token_values = token_values.as_any().downcast_ref::<Int32Array>();
        let mask_values = mask_values.as_any().downcast_ref::<BooleanArray>();
        let (Some(token_values), Some(mask_values)) = (token_values, mask_values) else {
            return Err(Error::new("the file holds no token ids")
                .in_file(path)
                .hint("name a split of a `tokenize` stage"));
        };
        for row in 0..batch.num_rows() {
            let range = |offsets: &[i32]| offsets[row] as usize..offsets[row + 1] as usize;
            let mask = range(masks.value_offsets());
            rows.push(TokenRow {
                id: ids.value(row).to_owned(),
                input_ids: token_values.values()[range(tokens.value_offsets())].to_vec(),
                completion_mask: mask.map(|position| mask_values.value(position)).collect(),
                prompt_length: usize::try_from(lengths.value(row)).unwrap_or_default(),
                failed: failed.is_valid(row).then(|| failed.value(row).to_owned()),
            });
        }
    }
    Ok(rows)
}

/// Reads the texts of a tokenized split, in the order of [`read`].
///
/// # Errors
/// When the file is absent or damaged.
pub fn read_texts(path: &Path) -> Result<Vec<RowTexts>, Error> {
    let mut reader = table::open(path, Some(&["id", "prompt", "completion", "references"]))?;
    let mut rows = Vec::new();
    while let Some(batch) = table::next(path, &mut reader)? {
        let prompts = table::optional::<StringArray>(&batch, "prompt");
        let completions = table::optional::<StringArray>(&batch, "completion");
        let references = table::optional::<ListArray>(&batch, "references");
        for row in 0..batch.num_rows() {
            rows.push(RowTexts {
                prompt: prompts.map(|texts| texts.value(row).to_owned()),
                completion: completions.map(|texts| texts.value(row).to_owned()),
                references: references.map(|lists| table::texts_of(lists, row)),
            });
        }
    }
    Ok(rows)
}
