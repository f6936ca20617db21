//! The ids of special tokens that a tokenize stage left. Knows the file.

use std::path::Path;

use serde::{Deserialize, Serialize};
use spec::job::JobInput;

use crate::error::{Error, Result};

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

    /// The tokenizer's ids must be ids of the model, whose config is at `place`.
    pub fn check_model(&self, vocabulary: i64, place: &Path) -> Result<()> {
        if self.vocabulary <= vocabulary {
            return Ok(());
        }
        let problem =
            format!("the model knows {vocabulary} token ids, the tokenizer of the data has {}", self.vocabulary);
        Err(Error::file(place, problem, "tokenize with the tokenizer that belongs to this model"))
    }

    fn all(&self) -> impl Iterator<Item = i64> {
        self.bos.into_iter().chain(self.eos.iter().copied()).chain([self.pad])
    }
}
