//! A tokenizer from the files of older folders: a SentencePiece model, `vocab.json` with `merges.txt`, or `vocab.txt`. What
//! each of them says is put into the form of `tokenizer.json`, as transformers 5 does it. Knows these files; what becomes
//! of the tokenizer is decided elsewhere.

mod added;
mod beside;
mod byte_level;
mod charsmap;
mod sentencepiece;
mod spm;
mod word_piece;

use std::{collections::HashMap, fs, path::Path};

use serde_json::{Value, json};
use spec::files;
use tokenizers::Tokenizer;

use super::limits;
use crate::{Error, library::guarded};
use added::{Additions, Token};
pub(super) use beside::join;

/// Names of SentencePiece models, in the order in which they are looked for.
const MODELS: [&str; 3] = [files::TOKENIZER_MODEL, files::SPIECE_MODEL, files::SENTENCEPIECE_MODEL];

/// The tokenizer of a folder without a `tokenizer.json`; nothing where the folder has no other files of one either.
///
/// # Errors
/// When a file is damaged, contradicts another, or belongs to a kind of tokenizer that is not known.
pub fn tokenizer(folder: &Path) -> Result<Option<Tokenizer>, Error> {
    let has = |name: &&str| folder.join(name).is_file();
    let config = Config { folder, values: super::special::json(folder, files::TOKENIZER_CONFIG)? };
    let parts = if let Some(name) = MODELS.iter().find(|name| has(name)) {
        spm::parts(&folder.join(name), &config)?
    } else if has(&files::VOCAB_JSON) {
        byte_level::parts(&config)?
    } else if has(&files::VOCAB_TXT) {
        word_piece::parts(&config)?
    } else {
        return Ok(None);
    };
    build(&config, parts).map(Some)
}

/// What `tokenizer_config.json` says.
struct Config<'a> {
    folder: &'a Path,
    values: Value,
}

impl Config<'_> {
    /// The class of the tokenizer, without `Tokenizer` and `Fast`; nothing where none is named.
    fn class(&self) -> Option<&str> {
        let class = self.values.get("tokenizer_class")?.as_str()?;
        let class = class.strip_suffix("Fast").unwrap_or(class);
        let class = class.strip_suffix("Tokenizer").unwrap_or(class);
        // These say nothing of the kind.
        (!["PreTrained", "TokenizersBackend", "Auto"].contains(&class)).then_some(class)
    }

    fn flag(&self, key: &str, default: bool) -> bool {
        self.values.get(key).and_then(Value::as_bool).unwrap_or(default)
    }

    /// The text of a special token by its role; else what the kind of tokenizer calls it.
    fn token(&self, role: &str, default: &str) -> Result<String, Error> {
        Ok(Additions::read(self)?.named(role).map_or_else(|| default.to_owned(), |token| token.content.clone()))
    }

    /// The text of a file of the folder.
    fn read(&self, name: &str) -> Result<String, Error> {
        let path = self.folder.join(name);
        let bytes = fs::read(&path).map_err(|error| Error::io("read", &path, &error))?;
        String::from_utf8(bytes).map_err(|error| {
            Error::new(format!("the file is not UTF-8: {}", error.utf8_error()))
                .in_file(&path)
                .hint("was it cut while it was downloaded?")
        })
    }

    fn unknown_class(&self, class: &str, file: &str) -> Error {
        Error::new(format!("`{file}` belongs to a tokenizer of the class `{class}Tokenizer`, which is not known here"))
            .in_file(&self.folder.join(files::TOKENIZER_CONFIG))
            .hint("write its `tokenizer.json` with transformers: `AutoTokenizer.from_pretrained(…).save_pretrained(…)`")
    }
}

/// What the parts of a `tokenizer.json` are.
struct Parts {
    model: Value,
    /// The ids of the model's pieces.
    vocabulary: HashMap<String, u32>,
    normalizer: Value,
    pre_tokenizer: Value,
    decoder: Value,
    /// What stands around texts.
    around: Around,
    /// Tokens that the kind of tokenizer itself has, besides those that the folder names.
    added: Vec<Token>,
}

/// What a tokenizer puts before and after a text, and around two.
enum Around {
    /// Special tokens by their texts, and the texts as [`TEXT`] and [`SECOND`]; each with its token type.
    Tokens { single: Vec<(String, u32)>, pair: Vec<(String, u32)> },
    /// A post-processor of its own.
    Processor(Value),
}

/// The place of the text, or of the first of two.
const TEXT: &str = "$A";
/// The place of the second text.
const SECOND: &str = "$B";

impl Around {
    /// The same tokens around each text; the second text, and its tokens, of the token type 1.
    fn each(front: &[String], back: &[String]) -> Self {
        let around = |text: &str, kind: u32| {
            let all = front.iter().map(String::as_str).chain([text]).chain(back.iter().map(String::as_str));
            all.map(|token| (token.to_owned(), kind)).collect::<Vec<_>>()
        };
        Self::Tokens { single: around(TEXT, 0), pair: [around(TEXT, 0), around(SECOND, 1)].concat() }
    }

    /// These tokens, `$A` and `$B` in the order in which they stand, all of the token type 0.
    fn plain(single: &[&str], pair: &[&str]) -> Self {
        let typed = |tokens: &[&str]| tokens.iter().map(|token| ((*token).to_owned(), 0)).collect();
        Self::Tokens { single: typed(single), pair: typed(pair) }
    }
}

fn build(config: &Config<'_>, parts: Parts) -> Result<Tokenizer, Error> {
    let broken = |message: String| {
        Error::new(format!("no tokenizer can be made of these files: {message}"))
            .in_file(config.folder)
            .hint("do they belong together, and did they come whole?")
    };
    limits::check_pieces(parts.vocabulary.keys()).map_err(|error| error.in_file(config.folder))?;
    let added = Additions::read(config)?.join(parts.added, &parts.vocabulary).map_err(broken)?;
    let id = |text: &str| {
        let known = added.iter().find(|token| token.content == text).and_then(|token| token.id);
        known.or_else(|| parts.vocabulary.get(text).copied())
    };
    let post_processor = match parts.around {
        Around::Processor(processor) => processor,
        Around::Tokens { single, pair } => template(&single, &pair, id).map_err(broken)?,
    };
    let whole = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": parts.normalizer,
        "pre_tokenizer": parts.pre_tokenizer,
        "post_processor": post_processor,
        "decoder": parts.decoder,
        "model": parts.model,
    });
    let tokenizer = guarded(config.folder, || serde_json::from_value::<Tokenizer>(whole))?;
    let tokenizer = tokenizer.map_err(|error| broken(error.to_string()))?;
    // The library gives ids of its own where those of the files leave gaps.
    for token in &added {
        if tokenizer.token_to_id(&token.content) != token.id {
            return Err(broken(format!(
                "the added token `{}` has the id {}, and the ids before it are not all taken",
                token.content.escape_debug(),
                token.id.unwrap_or_default()
            )));
        }
    }
    Ok(tokenizer)
}

/// What stands around texts as `tokenizer.json` has it; null where nothing does.
fn template(
    single: &[(String, u32)],
    pair: &[(String, u32)],
    id: impl Fn(&str) -> Option<u32>,
) -> Result<Value, String> {
    if single.len() == 1 {
        return Ok(Value::Null);
    }
    let piece = |(text, kind): &(String, u32)| match text.as_str() {
        TEXT => json!({ "Sequence": { "id": "A", "type_id": kind } }),
        SECOND => json!({ "Sequence": { "id": "B", "type_id": kind } }),
        token => json!({ "SpecialToken": { "id": token, "type_id": kind } }),
    };
    let mut tokens = serde_json::Map::new();
    for (text, _) in single.iter().filter(|(text, _)| text != TEXT) {
        let id = id(text).ok_or_else(|| format!("the token `{text}` stands before or after texts and has no id"))?;
        tokens.insert(text.clone(), json!({ "id": text, "ids": [id], "tokens": [text] }));
    }
    let pieces = |texts: &[(String, u32)]| texts.iter().map(piece).collect::<Vec<_>>();
    Ok(json!({
        "type": "TemplateProcessing",
        "single": pieces(single),
        "pair": pieces(pair),
        "special_tokens": tokens,
    }))
}
