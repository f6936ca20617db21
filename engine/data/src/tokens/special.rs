//! Which tokens begin a text, end it, and fill it up: what a tokenizer's folder says of them. Knows the files of
//! Hugging Face's layout; does not encode rows.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use spec::{files, stage::SpecialToken};

use super::Vocabulary;
use crate::Error;

/// The ids of special tokens, as `special_ids.json` keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecialIds {
    /// What begins a row.
    pub bos: Option<u32>,
    /// What ends a generated text. The first of them ends a completion; none where `eos: none`.
    pub eos: Vec<u32>,
    /// What fills up a batch; the end of text where the tokenizer has no padding of its own.
    pub pad: u32,
    /// One more than the greatest id: how many rows an embedding needs.
    pub vocabulary: usize,
}

/// Names of the token that ends a text, looked for where no file names one.
const USUAL_EOS: [&str; 4] = ["</s>", "<|end_of_text|>", "<|endoftext|>", "<eos>"];

/// Names of the token that fills up, looked for where no file names one.
const USUAL_PAD: [&str; 3] = ["<pad>", "[PAD]", "<|pad|>"];

impl SpecialIds {
    /// Finds them for the tokenizer of a folder; a folder that a `tokenize` stage left says them itself.
    ///
    /// # Errors
    /// When a named token is not in the vocabulary, or none is found that ends a text.
    pub fn find(folder: &Path, vocabulary: &Vocabulary, bos: &SpecialToken, eos: &SpecialToken) -> Result<Self, Error> {
        let known = match json(folder, files::SPECIAL_IDS)? {
            Value::Null => None,
            value => serde_json::from_value::<Self>(value).ok(),
        };
        let sources = Sources {
            folder,
            vocabulary,
            known,
            config: json(folder, files::TOKENIZER_CONFIG)?,
            map: json(folder, files::SPECIAL_TOKENS_MAP)?,
            generation: json(folder, files::GENERATION_CONFIG)?,
        };
        let eos = match eos {
            SpecialToken::None => Vec::new(),
            SpecialToken::Auto => sources.eos()?,
            SpecialToken::Token(text) => {
                let chosen = named(vocabulary, text, "eos")?;
                let others = sources.eos().unwrap_or_default();
                [chosen].into_iter().chain(others.into_iter().filter(|id| *id != chosen)).collect()
            }
        };
        let bos = match bos {
            SpecialToken::None => None,
            SpecialToken::Auto => sources.bos()?,
            SpecialToken::Token(text) => Some(named(vocabulary, text, "bos")?),
        };
        let pad = sources.pad().or(eos.first().copied()).unwrap_or_default();
        Ok(Self { bos, eos, pad, vocabulary: vocabulary.size() })
    }
}

/// A file of the folder as JSON; null where it is absent.
pub(super) fn json(folder: &Path, name: &str) -> Result<Value, Error> {
    let path = folder.join(name);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Value::Null),
        Err(error) => return Err(Error::io("read", &path, &error)),
    };
    serde_json::from_slice(&text).map_err(|error| {
        Error::new(format!("this is not valid JSON: {error}"))
            .in_file(&path)
            .hint("was it cut while it was downloaded?")
    })
}

fn named(vocabulary: &Vocabulary, text: &str, setting: &str) -> Result<u32, Error> {
    vocabulary.id(text).ok_or_else(|| {
        let mut tokens: Vec<String> = vocabulary.tokens().collect();
        tokens.sort();
        let hint = match spec::suggest::nearest(text, &tokens) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "name a token as the vocabulary writes it, such as `</s>`".to_owned(),
        };
        Error::new(format!("the tokenizer has no token `{text}`")).at(format!("setting `{setting}`")).hint(hint)
    })
}

struct Sources<'a> {
    folder: &'a Path,
    vocabulary: &'a Vocabulary,
    known: Option<SpecialIds>,
    config: Value,
    map: Value,
    generation: Value,
}

impl Sources<'_> {
    /// The id of a token that a file names: `"bos_token": "<s>"`, or `{"content": "<s>"}`.
    fn role(&self, role: &str) -> Option<u32> {
        [&self.config, &self.map].into_iter().find_map(|file| {
            let entry = file.get(role)?;
            let text = entry.as_str().or_else(|| entry.get("content")?.as_str())?;
            self.vocabulary.id(text)
        })
    }

    /// What the tokenizer itself puts before a text, else what its configuration says it adds.
    fn bos(&self) -> Result<Option<u32>, Error> {
        if let Some(known) = &self.known {
            return Ok(known.bos);
        }
        let front = self.vocabulary.added_in_front()?;
        match front.as_slice() {
            [only] => Ok(Some(*only)),
            [] if self.config.get("add_bos_token").and_then(Value::as_bool) == Some(true) => Ok(self.role("bos_token")),
            [] => Ok(None),
            several => Err(Error::new(format!("this tokenizer puts {} tokens before a text", several.len()))
                .in_file(self.folder)
                .hint("say which one begins a row, such as `bos: <s>`, and write the others into the template")),
        }
    }

    /// The token of the configuration first, then all that generation stops at.
    fn eos(&self) -> Result<Vec<u32>, Error> {
        if let Some(known) = self.known.as_ref().filter(|known| !known.eos.is_empty()) {
            return Ok(known.eos.clone());
        }
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let stops: Vec<u32> = match self.generation.get("eos_token_id") {
            Some(Value::Array(ids)) => ids.iter().filter_map(id).collect(),
            Some(value) => id(value).into_iter().collect(),
            None => Vec::new(),
        };
        let mut all: Vec<u32> = self.role("eos_token").into_iter().collect();
        all.extend(stops.into_iter().filter(|id| !all.contains(id)).collect::<Vec<_>>());
        if all.is_empty() {
            all.extend(USUAL_EOS.iter().find_map(|token| self.vocabulary.id(token)));
        }
        if all.is_empty() {
            return Err(Error::new("no file of this tokenizer says which token ends a text")
                .in_file(self.folder)
                .hint("say it: `eos: <|end|>` with a token of the vocabulary, or `eos: none`"));
        }
        Ok(all)
    }

    fn pad(&self) -> Option<u32> {
        if let Some(known) = &self.known {
            return Some(known.pad);
        }
        self.role("pad_token").or_else(|| USUAL_PAD.iter().find_map(|token| self.vocabulary.id(token)))
    }
}
