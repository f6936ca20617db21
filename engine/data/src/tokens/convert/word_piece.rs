//! BERT's tokenizer from `vocab.txt`: one piece a line. Knows BERT's way of dividing text into words.

use std::collections::HashMap;

use serde_json::{Value, json};
use spec::files;

use super::{Around, Config, Parts, SECOND, TEXT, added::Token};
use crate::Error;

/// The classes that read `vocab.txt` as BERT does.
const CLASSES: [&str; 4] = ["Bert", "DistilBert", "Electra", "MobileBert"];

pub(super) fn parts(config: &Config<'_>) -> Result<Parts, Error> {
    if let Some(class) = config.class().filter(|class| !CLASSES.contains(class)) {
        return Err(config.unknown_class(class, files::VOCAB_TXT));
    }
    let text = config.read(files::VOCAB_TXT)?;
    let vocabulary: HashMap<String, u32> = text.lines().map(|line| line.trim_end().to_owned()).zip(0..).collect();
    let token = |role: &str, default: &str| config.token(role, default);
    let (unknown, first, last) =
        (token("unk_token", "[UNK]")?, token("cls_token", "[CLS]")?, token("sep_token", "[SEP]")?);
    if let Some(missing) = [&unknown, &first, &last].into_iter().find(|text| !vocabulary.contains_key(*text)) {
        return Err(Error::new(format!("the vocabulary has no piece `{missing}`"))
            .in_file(&config.folder.join(files::VOCAB_TXT))
            .hint("is this the vocabulary of a BERT, one piece a line?"));
    }
    let others = [token("pad_token", "[PAD]")?, token("mask_token", "[MASK]")?];
    let others = others.into_iter().filter(|text| vocabulary.contains_key(text));
    let added = [&unknown, &first, &last].into_iter().cloned().chain(others).map(Token::special).collect();
    Ok(Parts {
        model: json!({
            "type": "WordPiece",
            "unk_token": unknown,
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": &vocabulary,
        }),
        vocabulary,
        normalizer: json!({
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": config.flag("tokenize_chinese_chars", true),
            "strip_accents": config.values.get("strip_accents").and_then(Value::as_bool),
            "lowercase": config.flag("do_lower_case", true),
        }),
        pre_tokenizer: json!({ "type": "BertPreTokenizer" }),
        decoder: json!({ "type": "WordPiece", "prefix": "##", "cleanup": true }),
        around: Around::Tokens {
            single: vec![(first.clone(), 0), (TEXT.to_owned(), 0), (last.clone(), 0)],
            pair: vec![(first, 0), (TEXT.to_owned(), 0), (last.clone(), 0), (SECOND.to_owned(), 1), (last, 1)],
        },
        added,
    })
}
