//! Tokens that stand beside a model's own pieces: those that `tokenizer_config.json`, `special_tokens_map.json` and
//! `added_tokens.json` name. Knows these files; the pieces are read elsewhere.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use serde::Serialize;
use serde_json::Value;
use spec::files;

use super::Config;
use crate::{Error, tokens::special::json};

/// A token as `tokenizer.json` writes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Token {
    /// Its id, where it is known.
    pub id: Option<u32>,
    pub content: String,
    pub single_word: bool,
    pub lstrip: bool,
    pub rstrip: bool,
    pub normalized: bool,
    pub special: bool,
}

impl Token {
    /// A special token, such as `</s>`.
    pub fn special(content: impl Into<String>) -> Self {
        Self {
            id: None,
            content: content.into(),
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
            special: true,
        }
    }

    /// A token that a text may well hold, such as a run of spaces.
    pub fn plain(content: impl Into<String>) -> Self {
        Self { special: false, ..Self::special(content) }
    }

    /// A token from its text, or from `{"content": …, "lstrip": …}`.
    fn read(value: &Value, id: Option<u32>, special: bool) -> Option<Self> {
        let flag = |key: &str, default: bool| value.get(key).and_then(Value::as_bool).unwrap_or(default);
        let content = value.as_str().or_else(|| value.get("content")?.as_str())?;
        let special = flag("special", special);
        Some(Self {
            id,
            content: content.to_owned(),
            single_word: flag("single_word", false),
            lstrip: flag("lstrip", false),
            rstrip: flag("rstrip", false),
            normalized: flag("normalized", value.is_object() && !special),
            special,
        })
    }
}

/// The roles of special tokens.
pub(super) const ROLES: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The tokens that a folder names.
#[derive(Debug, Default)]
pub(super) struct Additions {
    /// Those with ids.
    pub numbered: Vec<Token>,
    /// Special tokens by role.
    pub named: Vec<(String, Token)>,
    /// Special tokens without a role.
    pub others: Vec<Token>,
}

impl Additions {
    /// Reads the folder's files.
    pub fn read(config: &Config<'_>) -> Result<Self, Error> {
        let mut all = Self::default();
        let path = config.folder.join(files::TOKENIZER_CONFIG);
        let decoder = config.values.get("added_tokens_decoder").and_then(Value::as_object);
        for (id, token) in decoder.into_iter().flatten() {
            let read = id.parse().ok().and_then(|id| Token::read(token, Some(id), false));
            all.numbered.push(read.ok_or_else(|| wrong(&path, "added_tokens_decoder", id))?);
        }
        all.see(&config.values, true);
        if decoder.is_none() {
            all.see(&json(config.folder, files::SPECIAL_TOKENS_MAP)?, false);
            let path = config.folder.join(files::ADDED_TOKENS);
            let older = json(config.folder, files::ADDED_TOKENS)?;
            for (content, id) in older.as_object().into_iter().flatten() {
                let special = all.specials().any(|token| token.content == *content);
                let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
                let id = id.ok_or_else(|| wrong(&path, "the tokens", content))?;
                all.numbered.push(Token { id: Some(id), special, normalized: !special, ..Token::plain(content) });
            }
        }
        all.numbered.sort_by_key(|token| token.id);
        Ok(all)
    }

    /// Takes the special tokens of a file; of a later file, those that are new or are said more exactly.
    fn see(&mut self, file: &Value, first: bool) {
        for role in ROLES {
            let Some(token) = file.get(role).and_then(|value| Token::read(value, None, true)) else { continue };
            let token = Token { special: true, ..token };
            match self.named.iter_mut().find(|(known, _)| known == role) {
                Some((_, known)) if !first => *known = token,
                Some(_) => {}
                None => self.named.push((role.to_owned(), token)),
            }
        }
        for key in ["additional_special_tokens", "extra_special_tokens"] {
            let list = file.get(key).and_then(Value::as_array).into_iter().flatten();
            for token in list.filter_map(|value| Token::read(value, None, true)) {
                if !self.others.iter().any(|known| known.content == token.content) {
                    self.others.push(Token { special: true, ..token });
                }
            }
        }
    }

    fn specials(&self) -> impl Iterator<Item = &Token> {
        self.named.iter().map(|(_, token)| token).chain(&self.others)
    }

    /// The special token of a role.
    pub fn named(&self, role: &str) -> Option<&Token> {
        self.named.iter().find(|(known, _)| known == role).map(|(_, token)| token)
    }

    /// All tokens with their ids: those of the kind of tokenizer, those with ids, then special ones. A token that is a
    /// piece of the model has the piece's id; another one the next that is free. The error says which token cannot.
    pub fn join(self, own: Vec<Token>, vocabulary: &HashMap<String, u32>) -> Result<Vec<Token>, String> {
        let mut next = vocabulary.values().max().map_or(0, |last| last.saturating_add(1));
        let mut all: Vec<Token> = Vec::new();
        // What a file says of a token of the kind itself counts.
        let mut unsaid: HashSet<String> = own.iter().map(|token| token.content.clone()).collect();
        let more = self.named.into_iter().map(|(_, token)| token).chain(self.others);
        for token in own.into_iter().chain(self.numbered).chain(more) {
            let wanted = token.id;
            if let Some(known) = all.iter_mut().find(|known| known.content == token.content) {
                let id = known.id;
                if wanted.is_some() && wanted != id {
                    return Err(clash(&token, id));
                }
                // What states an id says all of the token; after it, a role says only that it is special.
                if unsaid.remove(&token.content) || wanted.is_some() {
                    *known = Token { id, ..token };
                } else {
                    known.special |= token.special;
                }
                continue;
            }
            let id = match vocabulary.get(&token.content) {
                Some(id) => *id,
                None => {
                    next = next.saturating_add(1);
                    next - 1
                }
            };
            if wanted.is_some_and(|wanted| wanted != id) {
                return Err(clash(&token, Some(id)));
            }
            all.push(Token { id: Some(id), ..token });
        }
        all.sort_by_key(|token| token.id);
        Ok(all)
    }
}

fn clash(token: &Token, id: Option<u32>) -> String {
    format!(
        "the added token `{}` has the id {}, and its place is {}",
        token.content.escape_debug(),
        token.id.unwrap_or_default(),
        id.unwrap_or_default()
    )
}

fn wrong(path: &Path, key: &str, entry: &str) -> Error {
    Error::new(format!("`{key}` has an entry that is no token with its id: `{}`", entry.escape_debug()))
        .in_file(path)
        .hint("was the file changed by hand? download it anew")
}
