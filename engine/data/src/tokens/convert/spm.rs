//! A tokenizer from a SentencePiece model: Unigram or BPE, its normaliser, its byte pieces, its control and user-defined
//! symbols. Knows how the tokenizers of T5, Llama, Gemma and XLM-RoBERTa are made of theirs; any other is made to give what
//! SentencePiece itself gives.

use std::{collections::HashMap, fs, path::Path};

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};

use super::{
    Around, Config, Parts, SECOND, TEXT,
    added::Token,
    charsmap,
    sentencepiece::{Algorithm, Model, PieceKind},
};
use crate::Error;

/// How a space is written inside pieces.
const SPACE: &str = "▁";

/// Whose tokenizer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    T5,
    Llama,
    Gemma,
    XlmRoberta,
    Other,
}

pub(super) fn parts(path: &Path, config: &Config<'_>) -> Result<Parts, Error> {
    let damaged = |why: String| {
        Error::new(format!("this is no SentencePiece model that can be used: {why}")).in_file(path).hint(
            "was it cut while it was downloaded? where it is another kind of file, use the model's `tokenizer.json`",
        )
    };
    let bytes = fs::read(path).map_err(|error| Error::io("read", path, &error))?;
    let model = Model::read(&bytes).map_err(damaged)?;
    if !model.charsmap.is_empty() {
        charsmap::check(&model.charsmap).map_err(damaged)?;
    }
    if !model.escapes_spaces {
        return Err(damaged(format!("it does not write spaces as `{SPACE}`")));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let family = family(&model, config).map_err(|class| config.unknown_class(&class, &name))?;
    let layout = Layout { family, model: &model, config };
    let vocabulary = layout.vocabulary()?;
    let ids: HashMap<String, u32> = vocabulary.iter().map(|(text, _)| text.clone()).zip(0..).collect();
    Ok(Parts {
        model: match model.algorithm {
            Algorithm::Unigram => json!({
                "type": "Unigram",
                "unk_id": layout.unknown(),
                "vocab": vocabulary,
                "byte_fallback": model.byte_fallback,
            }),
            Algorithm::Bpe => json!({
                "type": "BPE",
                "dropout": null,
                "unk_token": model.text(model.unk_id),
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": true,
                "byte_fallback": model.byte_fallback,
                "ignore_merges": false,
                "vocab": &ids,
                "merges": merges(&model, &ids),
            }),
        },
        normalizer: layout.normalizer(),
        pre_tokenizer: layout.pre_tokenizer(),
        decoder: layout.decoder(),
        around: layout.around()?,
        added: layout.added(),
        vocabulary: ids,
    })
}

/// Whose tokenizer the model is: what the configuration says; without it, what the model's own pieces and settings say. The
/// error is a class that is not known.
fn family(model: &Model, config: &Config<'_>) -> Result<Family, String> {
    let first: Vec<&str> = model.pieces.iter().take(3).map(|piece| piece.text.as_str()).collect();
    let is_plain =
        model.algorithm == Algorithm::Bpe && model.byte_fallback && model.charsmap.is_empty() && !model.removes_spaces;
    Ok(match config.class() {
        Some("T5" | "MT5") => Family::T5,
        Some("Llama" | "Mistral" | "CodeLlama") => Family::Llama,
        Some("Gemma") => Family::Gemma,
        Some("XLMRoberta") => Family::XlmRoberta,
        Some(class) => return Err(class.to_owned()),
        None if model.algorithm == Algorithm::Unigram && first == ["<pad>", "</s>", "<unk>"] => Family::T5,
        None if is_plain && model.dummy_prefix => Family::Llama,
        None if is_plain => Family::Gemma,
        None => Family::Other,
    })
}

/// How a model's parts are laid out as a tokenizer.
struct Layout<'a> {
    family: Family,
    model: &'a Model,
    config: &'a Config<'a>,
}

impl Layout<'_> {
    /// The pieces with their scores, in the order of their ids.
    fn vocabulary(&self) -> Result<Vec<(String, f64)>, Error> {
        let own = self.model.pieces.iter().map(|piece| (piece.text.clone(), f64::from(piece.score)));
        Ok(match self.family {
            Family::T5 => own.chain(self.sentinels().into_iter().map(|text| (text, 0.0))).collect(),
            Family::XlmRoberta => {
                let first =
                    [("bos_token", "<s>"), ("pad_token", "<pad>"), ("eos_token", "</s>"), ("unk_token", "<unk>")];
                let mut pieces = Vec::with_capacity(self.model.pieces.len() + 2);
                for (role, default) in first {
                    pieces.push((self.config.token(role, default)?, 0.0));
                }
                pieces.extend(own.skip(3));
                pieces.push((self.config.token("mask_token", "<mask>")?, 0.0));
                pieces
            }
            _ => own.collect(),
        })
    }

    fn unknown(&self) -> i32 {
        if self.family == Family::XlmRoberta { 3 } else { self.model.unk_id }
    }

    /// T5's `<extra_id_99>` … `<extra_id_0>`, which follow the pieces; those that are pieces already are not added.
    fn sentinels(&self) -> Vec<String> {
        let count = self.config.values.get("extra_ids").and_then(Value::as_u64).unwrap_or(100).min(10_000);
        let all = (0..count).rev().map(|number| format!("<extra_id_{number}>"));
        all.filter(|text| !self.model.pieces.iter().any(|piece| piece.text == *text)).collect()
    }

    /// What stands around texts.
    fn around(&self) -> Result<Around, Error> {
        let text = |id: i32, default: &str| self.model.text(id).unwrap_or(default).to_owned();
        let bos = self.config.token("bos_token", &text(self.model.bos_id, "<s>"))?;
        let eos = self.config.token("eos_token", &text(self.model.eos_id, "</s>"))?;
        Ok(match self.family {
            Family::T5 => Around::plain(&[TEXT, &eos], &[TEXT, &eos, SECOND, &eos]),
            Family::XlmRoberta => Around::plain(&[&bos, TEXT, &eos], &[&bos, TEXT, &eos, &eos, SECOND, &eos]),
            family => {
                let adds_bos = matches!(family, Family::Llama | Family::Gemma) && self.model.bos_id >= 0;
                let front: Vec<String> =
                    self.config.flag("add_bos_token", adds_bos).then_some(bos).into_iter().collect();
                let back: Vec<String> = self.config.flag("add_eos_token", false).then_some(eos).into_iter().collect();
                Around::each(&front, &back)
            }
        })
    }

    /// Whether a space is put before a text.
    fn prefix(&self) -> bool {
        match self.family {
            Family::Llama => self.config.flag("add_prefix_space", true),
            Family::Gemma => false,
            Family::T5 | Family::XlmRoberta => true,
            Family::Other => self.model.dummy_prefix,
        }
    }

    fn normalizer(&self) -> Value {
        let mut steps = Vec::new();
        if !self.model.charsmap.is_empty() {
            steps.push(
                json!({ "type": "Precompiled", "precompiled_charsmap": BASE64_STANDARD.encode(&self.model.charsmap) }),
            );
        }
        let replace =
            |pattern: Value, content: &str| json!({ "type": "Replace", "pattern": pattern, "content": content });
        match self.family {
            Family::Gemma => steps.push(replace(json!({ "String": " " }), SPACE)),
            Family::Other if self.model.removes_spaces => {
                steps.push(replace(json!({ "Regex": r" +\z" }), ""));
                // A space that stands first is the one that is put there.
                steps.push(replace(json!({ "Regex": r"\A +" }), if self.prefix() { SPACE } else { "" }));
                steps.push(replace(json!({ "Regex": " {2,}" }), " "));
            }
            _ => {}
        }
        match steps.len() {
            0 => Value::Null,
            1 => steps.remove(0),
            _ => json!({ "type": "Sequence", "normalizers": steps }),
        }
    }

    fn pre_tokenizer(&self) -> Value {
        let metaspace = |scheme: &str, split: bool| json!({ "type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": split });
        match self.family {
            Family::T5 | Family::XlmRoberta => json!({
                "type": "Sequence",
                "pretokenizers": [{ "type": "WhitespaceSplit" }, metaspace("always", true)],
            }),
            Family::Gemma => {
                json!({ "type": "Split", "pattern": { "String": " " }, "behavior": "MergedWithPrevious", "invert": false })
            }
            Family::Llama | Family::Other => {
                let after_tokens = self.family == Family::Llama && self.config.flag("legacy", false);
                let scheme = match (self.prefix(), after_tokens) {
                    (false, _) => "never",
                    (true, false) => "first",
                    (true, true) => "always",
                };
                metaspace(scheme, false)
            }
        }
    }

    fn decoder(&self) -> Value {
        if matches!(self.family, Family::T5 | Family::XlmRoberta) {
            return json!({ "type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": true });
        }
        let mut steps = vec![json!({ "type": "Replace", "pattern": { "String": SPACE }, "content": " " })];
        if self.model.byte_fallback {
            steps.push(json!({ "type": "ByteFallback" }));
        }
        steps.push(json!({ "type": "Fuse" }));
        if self.prefix() {
            steps.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
        }
        json!({ "type": "Sequence", "decoders": steps })
    }

    /// Control symbols are special tokens; user-defined symbols are found in texts.
    fn added(&self) -> Vec<Token> {
        let own = self.model.pieces.iter().filter_map(|piece| match piece.kind {
            PieceKind::Control | PieceKind::Unknown => Some(Token::special(&piece.text)),
            PieceKind::UserDefined => Some(Token::plain(&piece.text)),
            PieceKind::Normal | PieceKind::Unused | PieceKind::Byte => None,
        });
        match self.family {
            Family::T5 => own.chain(self.sentinels().into_iter().map(Token::special)).collect(),
            Family::XlmRoberta => own.chain(["<pad>", "<mask>"].map(Token::special)).collect(),
            _ => own.collect(),
        }
    }
}

/// Which pairs of pieces are joined, the first one first: every way to part a piece into two, pieces in the order of their
/// ids. Pieces that no text is divided into (control symbols, bytes) are not made by joining.
fn merges(model: &Model, ids: &HashMap<String, u32>) -> Vec<[String; 2]> {
    let mut merges = Vec::new();
    for piece in model.pieces.iter().filter(|piece| piece.kind == PieceKind::Normal) {
        let ways = piece.text.char_indices().skip(1).map(|(place, _)| piece.text.split_at(place));
        let mut ways: Vec<(&str, &str)> =
            ways.filter(|(left, right)| ids.contains_key(*left) && ids.contains_key(*right)).collect();
        ways.sort_by_key(|(left, right)| (ids[*left], ids[*right]));
        ways.sort_by_key(|(left, right)| (left.chars().count(), right.chars().count()));
        merges.extend(ways.into_iter().map(|(left, right)| [left.to_owned(), right.to_owned()]));
    }
    merges
}
