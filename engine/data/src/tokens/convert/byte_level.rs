//! GPT-2's and RoBERTa's tokenizers from `vocab.json` and `merges.txt`: pieces of bytes written as letters. Knows the way
//! of GPT-2 to divide text into words.

use std::collections::HashMap;

use serde_json::json;
use spec::files;

use super::{Around, Config, Parts, added::Token};
use crate::Error;

/// The classes that are GPT-2's, and those that are RoBERTa's: the same, with tokens before and after a text.
const GPT2: [&str; 1] = ["GPT2"];
const ROBERTA: [&str; 4] = ["Roberta", "Bart", "Longformer", "LED"];

pub(super) fn parts(config: &Config<'_>) -> Result<Parts, Error> {
    let path = config.folder.join(files::VOCAB_JSON);
    let vocabulary: HashMap<String, u32> = serde_json::from_str(&config.read(files::VOCAB_JSON)?).map_err(|error| {
        Error::new(format!("this is no vocabulary: {error}"))
            .in_file(&path)
            .hint("it is a JSON map of pieces to ids; was it cut while it was downloaded?")
    })?;
    if !config.folder.join(files::MERGES_TXT).is_file() {
        return Err(Error::new("there is a `vocab.json` and no `merges.txt`")
            .in_file(config.folder)
            .hint("download both: a byte-level vocabulary is of no use without its merges"));
    }
    let merges = merges(config)?;
    let has = |text: &str| vocabulary.contains_key(text);
    let is_roberta = match config.class() {
        Some(class) if ROBERTA.contains(&class) => true,
        Some(class) if GPT2.contains(&class) => false,
        Some(class) => return Err(config.unknown_class(class, files::VOCAB_JSON)),
        None => ["<s>", "</s>", "<pad>", "<mask>"].into_iter().all(has),
    };
    let prefix = config.flag("add_prefix_space", false);
    let mut added = Vec::new();
    let around = if is_roberta {
        let (first, last) = (config.token("cls_token", "<s>")?, config.token("sep_token", "</s>")?);
        let id = |text: &String| {
            vocabulary.get(text).copied().ok_or_else(|| {
                Error::new(format!("the vocabulary has no piece `{text}`"))
                    .in_file(&path)
                    .hint("is this the vocabulary of a RoBERTa?")
            })
        };
        let processor = json!({
            "type": "RobertaProcessing",
            "sep": [last, id(&last)?],
            "cls": [first, id(&first)?],
            "trim_offsets": config.flag("trim_offsets", true),
            "add_prefix_space": prefix,
        });
        let others = [("unk_token", "<unk>"), ("pad_token", "<pad>"), ("mask_token", "<mask>")];
        added.extend([first, last]);
        for (role, default) in others {
            added.push(config.token(role, default)?);
        }
        Around::Processor(processor)
    } else {
        let text = config.token("eos_token", "<|endoftext|>")?;
        let begin = config.token("bos_token", "<|endoftext|>")?;
        let front: Vec<String> = config.flag("add_bos_token", false).then(|| begin.clone()).into_iter().collect();
        let back: Vec<String> = config.flag("add_eos_token", false).then(|| text.clone()).into_iter().collect();
        added.extend([text, begin]);
        Around::each(&front, &back)
    };
    added.retain(|text| has(text));
    added.dedup();
    let byte_level = |prefix: bool| json!({ "type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": true });
    Ok(Parts {
        model: json!({
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": &vocabulary,
            "merges": merges,
        }),
        vocabulary,
        normalizer: json!(null),
        pre_tokenizer: byte_level(prefix),
        decoder: byte_level(true),
        around,
        added: added.into_iter().map(Token::special).collect(),
    })
}

/// Pairs of pieces that are joined, the first one first.
fn merges(config: &Config<'_>) -> Result<Vec<[String; 2]>, Error> {
    let text = config.read(files::MERGES_TXT)?;
    let mut merges = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with("#version") && !line.is_empty())
    {
        let mut words = line.split(' ');
        let (Some(left), Some(right), None) = (words.next(), words.next(), words.next()) else {
            return Err(Error::new("this line is not two pieces with a space between")
                .at(format!("{}:{}", config.folder.join(files::MERGES_TXT).display(), number + 1))
                .hint("was the file changed, or cut while it was downloaded?"));
        };
        merges.push([left.to_owned(), right.to_owned()]);
    }
    Ok(merges)
}
