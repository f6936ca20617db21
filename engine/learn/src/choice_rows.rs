//! Reads the Parquet files that tokenizing leaves of prompts with choices. Knows columns; no tokenizer and no tensor.

use std::path::Path;

use arrow::array::{Array, AsArray, Int32Array, ListArray, StringArray};
use arrow::datatypes::Int32Type;

use crate::error::{Error, Result};
use crate::rows::{damaged, open, other_form, typed, wrong};

/// A prompt with its choices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The row's name.
    pub id: String,
    /// The prompt as a text.
    pub prompt: String,
    /// The choices.
    pub choices: Vec<Choice>,
    /// The number of the right one, where the row says.
    pub right: Option<usize>,
    /// Why the row cannot be used: it did not fit.
    pub failed: Option<String>,
}

/// A choice behind its prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The choice as a text.
    pub text: String,
    /// The prompt and the choice.
    pub ids: Vec<i32>,
    /// How many of the ids are the prompt's.
    pub prompt_length: usize,
}

/// Reads the questions of a split.
pub fn read_questions(path: &Path) -> Result<Vec<Question>> {
    let columns = ["id", "choice", "input_ids", "prompt_length", "right", "failed", "prompt", "text"];
    let mut questions: Vec<Question> = Vec::new();
    for batch in open(path, &columns)? {
        let batch = batch.map_err(|error| damaged(path, &error))?;
        let numbers: &Int32Array = match typed(path, &batch, "choice", "a 32-bit number") {
            Ok(numbers) => numbers,
            Err(_) => return Err(other_form(path, "choices")),
        };
        let names: &StringArray = typed(path, &batch, "id", "a text")?;
        let ids: &ListArray = typed(path, &batch, "input_ids", "a list of 32-bit numbers")?;
        let lengths: &Int32Array = typed(path, &batch, "prompt_length", "a 32-bit number")?;
        let right: &Int32Array = typed(path, &batch, "right", "a 32-bit number")?;
        let failures: &StringArray = typed(path, &batch, "failed", "a text")?;
        let prompts: &StringArray = typed(path, &batch, "prompt", "a text")?;
        let texts: &StringArray = typed(path, &batch, "text", "a text")?;
        for row in 0..batch.num_rows() {
            let list = ids.value(row);
            let Some(list) = list.as_primitive_opt::<Int32Type>() else {
                return Err(wrong(path, "input_ids", "a list of 32-bit numbers"));
            };
            let choice = Choice {
                text: texts.value(row).to_owned(),
                ids: list.values().to_vec(),
                prompt_length: usize::try_from(lengths.value(row)).unwrap_or(usize::MAX),
            };
            let failed = failures.is_valid(row).then(|| failures.value(row).to_owned());
            if failed.is_none() && !(1..choice.ids.len()).contains(&choice.prompt_length) {
                let problem = format!("row `{}`: the length of its prompt does not fit its ids", names.value(row));
                return Err(Error::file(path, problem, "tokenize the rows again"));
            }
            match questions.last_mut().filter(|_| numbers.value(row) > 0) {
                Some(question) => question.choices.push(choice),
                None => questions.push(Question {
                    id: names.value(row).to_owned(),
                    prompt: prompts.value(row).to_owned(),
                    choices: vec![choice],
                    right: right.is_valid(row).then(|| usize::try_from(right.value(row)).ok()).flatten(),
                    failed,
                }),
            }
        }
    }
    Ok(questions)
}
