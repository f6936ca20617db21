//! The ids of special tokens that a tokenize stage left. Knows the file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use spec::job::JobInput;

use crate::error::{Error, Result};
use crate::rows::greatest_id;

/// Special tokens by role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecialIds {
    /// Begins a text, where the tokenizer has such a token.
    pub bos: Option<i64>,
    /// End a text.
    pub eos: Vec<i64>,
    /// Fills rows up.
    pub pad: i64,
    /// How many ids a model needs.
    pub vocabulary: i64,
}

impl SpecialIds {
    /// Those of a data input.
    pub fn read(data: &JobInput) -> Result<Self> {
        let path = data.file(spec::files::SPECIAL_IDS);
        let text = std::fs::read(&path).map_err(|error| Error::io("read", &path, error))?;
        let damaged = |problem: String| Error::file(&path, problem, "tokenize the rows again");
        let ids: Self = serde_json::from_slice(&text).map_err(|error| damaged(format!("is not valid: {error}")))?;
        let outside = ids.all().find(|id| !(0..ids.vocabulary).contains(id));
        match outside {
            Some(id) => Err(damaged(format!("the special id {id} is outside the vocabulary of {}", ids.vocabulary))),
            None => Ok(ids),
        }
    }

    /// What is used of the tokenizer's ids must be ids of the model, whose config is at `place`: its special tokens, and
    /// those of the rows in `splits`. A tokenizer may have more: Gemma 3's has a token for images, which its 1B cannot read.
    pub fn check_model(&self, vocabulary: i64, place: &Path, splits: &[PathBuf]) -> Result<()> {
        if self.vocabulary <= vocabulary {
            return Ok(());
        }
        let past = |what: String| {
            let sizes =
                format!("the model knows {vocabulary} token ids, the tokenizer of the data has {}", self.vocabulary);
            Error::file(place, format!("{sizes}; {what}"), "tokenize with the tokenizer that belongs to this model")
        };
        if let Some(id) = self.all().find(|&id| id >= vocabulary) {
            return Err(past(format!("a special token has the id {id}")));
        }
        for split in splits {
            match greatest_id(split)? {
                Some((id, row)) if i64::from(id) >= vocabulary => {
                    return Err(past(format!("row `{row}` holds the id {id}")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn all(&self) -> impl Iterator<Item = i64> {
        self.bos.into_iter().chain(self.eos.iter().copied()).chain([self.pad])
    }
}
