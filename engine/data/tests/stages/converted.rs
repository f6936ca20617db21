//! Tokenizers made from SentencePiece models, `vocab.json` with `merges.txt` and `vocab.txt`, against transformers;
//! `golden/converted.py` makes the values.

use std::{
    fs,
    path::{Path, PathBuf},
};

use data::tokens::{SpecialIds, Vocabulary, tokenizer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use spec::stage::SpecialToken::{Auto, None};

use crate::common::Project;

/// Kinds, and whether every text decodes to itself.
const KINDS: [(&str, bool); 11] = [
    ("t5", false),
    ("llama", true),
    ("llama_legacy", true),
    ("gemma", true),
    ("xlm_roberta", false),
    ("plain_unigram", false),
    ("plain_bpe", false),
    ("gpt2", true),
    ("roberta", true),
    ("bert", false),
    ("bert_cased", false),
];

fn folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/converted").join(kind)
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn texts(key: &str) -> Vec<String> {
    serde_json::from_value(read(&folder("texts.json"))[key].clone()).unwrap()
}

/// The beginning of a text's digest.
fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

fn digest_of(ids: &[u32]) -> String {
    digest(&ids.iter().map(u32::to_string).collect::<Vec<_>>().join(","))
}

/// The texts whose digests differ from those that are kept one after the other.
fn different(texts: &[String], kept: &Value, digest: impl Fn(&str) -> String) -> Vec<String> {
    let kept = kept.as_str().unwrap();
    assert_eq!(kept.len(), 8 * texts.len());
    texts
        .iter()
        .enumerate()
        .filter(|(number, text)| digest(text) != kept[8 * number..8 * number + 8])
        .map(|(number, text)| format!("text {number}: {text:?}"))
        .collect()
}

#[test]
fn ids_are_those_of_transformers() {
    let texts = texts("texts");
    assert_eq!(texts.len(), 2000);
    for (kind, lossless) in KINDS {
        let vocabulary = tokenizer(&folder(kind)).unwrap();
        let golden = read(&folder(kind).join("golden.json"));
        for case in golden["full"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let ids = vocabulary.ids(text).unwrap();
            assert_eq!(json!(ids), case["ids"], "{kind}: {text:?}");
        }
        let mut wrong = different(&texts, &golden["ids"], |text| digest_of(&vocabulary.ids(text).unwrap()));
        // SentencePiece tells its own mark of a space from a text that begins with one; these tokenizers do not.
        let is_told =
            |text: &String| !(kind.starts_with("plain") && (text.contains(": \"▁") || text.contains(": \" ▁")));
        wrong.retain(is_told);
        let shown = || wrong.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
        assert!(wrong.is_empty(), "{kind}: other ids for {} texts:\n{}", wrong.len(), shown());
        let back = |text: &str| vocabulary.decode(&vocabulary.ids(text).unwrap()).unwrap();
        let mut wrong = different(&texts, &golden["decoded"], |text| digest(&back(text)));
        if kind.starts_with("plain") {
            // SentencePiece takes further spaces away where an unknown piece was left out before them.
            let has_unknown = |text: &str| vocabulary.ids(text).unwrap().contains(&0);
            let unknown: Vec<String> =
                texts.iter().filter(|text| has_unknown(text)).map(|text| format!("{text:?}")).collect();
            wrong.retain(|text| !unknown.iter().any(|unknown| text.ends_with(&format!(": {unknown}"))));
        }
        wrong.retain(is_told);
        let shown = || wrong.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
        assert!(wrong.is_empty(), "{kind}: {} texts decode to others:\n{}", wrong.len(), shown());
        if lossless {
            // What is written as a space inside pieces comes back as one; Llama takes a first space for its own.
            let is_kept =
                |text: &&String| !(text.contains('\u{2581}') || kind.starts_with("llama") && text.starts_with(' '));
            for text in texts.iter().filter(is_kept) {
                assert_eq!(back(text), *text, "{kind}");
            }
        }
    }
}

#[test]
fn special_tokens_in_a_text_are_tokens_only_where_they_are_meant() {
    let texts = texts("special");
    for (kind, _) in KINDS {
        let golden = read(&folder(kind).join("golden.json"));
        if golden["special"] == json!("") {
            continue;
        }
        let vocabulary = tokenizer(&folder(kind)).unwrap();
        let ids = |text: &str| digest_of(&vocabulary.ids_with_special(text).unwrap());
        let wrong = different(&texts, &golden["special"], ids);
        assert!(wrong.is_empty(), "{kind}: other ids for {} texts:\n{}", wrong.len(), wrong.join("\n"));
    }
    let llama = tokenizer(&folder("llama")).unwrap();
    assert_eq!(llama.ids_with_special("</s>").unwrap(), [2]);
    assert!(llama.ids("</s>").unwrap().len() > 1, "text stays text");
    assert_eq!(llama.ids("[gap]").unwrap(), llama.ids_with_special("[gap]").unwrap(), "a user-defined symbol is text");
}

#[test]
fn what_stands_around_a_text_is_known() {
    for (kind, _) in KINDS {
        let vocabulary = tokenizer(&folder(kind)).unwrap();
        let around: Vec<u32> =
            serde_json::from_value(read(&folder(kind).join("golden.json"))["around"].clone()).unwrap();
        if around.is_empty() {
            continue;
        }
        // Two texts, through the `tokenizer.json` that is written.
        let made: tokenizers::Tokenizer = vocabulary.to_json().unwrap().parse().unwrap();
        let pair = made.encode(("a", "b c"), true).unwrap();
        assert_eq!(
            json!([pair.get_ids(), pair.get_type_ids()]),
            read(&folder(kind).join("golden.json"))["pair"],
            "{kind}"
        );
        let special = SpecialIds::find(&folder(kind), &vocabulary, &Auto, &None).unwrap();
        let plain = vocabulary.ids("a").unwrap();
        let front = around[..around.len() - plain.len()].first().copied().filter(|_| !around.starts_with(&plain));
        assert_eq!(special.bos, front, "{kind}");
    }
    let llama = tokenizer(&folder("llama")).unwrap();
    let special = SpecialIds::find(&folder("llama"), &llama, &Auto, &Auto).unwrap();
    assert_eq!((special.bos, special.eos.as_slice()), (Some(1), [2].as_slice()));
    assert_eq!(llama.token(special.pad).as_deref(), Some("<pad>"), "special_tokens_map.json names it");
}

#[test]
fn a_stage_leaves_a_tokenizer_json_that_gives_the_same_ids() {
    let project = Project::new();
    project.write(
        "templates/t.jinja",
        "{% block prompt %}{{ x }}{% endblock %}{% block completion %}{{ x }}{% endblock %}",
    );
    project.write("rows/train.json", json!([{"x": "река the 🙂"}]).to_string());
    let examples = project.preprocess("examples", json!({"train": {"from": "train"}}), 1).unwrap();
    for (kind, eos) in [("t5", "auto"), ("llama", "auto"), ("gpt2", "auto"), ("bert", "[SEP]")] {
        let settings = json!({"max_length": 100, "eos": eos});
        let done = project.tokenize(kind, &examples, Some(&folder(kind)), settings, 1).unwrap();
        let left: Vocabulary = tokenizer(&done.result).unwrap();
        assert!(done.result.join("tokenizer.json").is_file());
        let made = tokenizer(&folder(kind)).unwrap();
        for text in texts("texts").iter().take(100) {
            assert_eq!(left.ids(text).unwrap(), made.ids(text).unwrap(), "{kind}: {text:?}");
        }
    }
}

/// A copy of a kind's folder, some of its files written anew.
fn changed(kind: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder(kind)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    for (name, text) in files {
        fs::write(copy.path().join(name), text).unwrap();
    }
    copy
}

#[test]
fn folders_that_contradict_themselves_are_told() {
    let refused = |kind: &str, files: &[(&str, &str)]| tokenizer(changed(kind, files).path()).unwrap_err();
    let error = refused("gpt2", &[("merges.txt", "#version: 0.2\na b c\n")]);
    assert!(error.place.unwrap().ends_with("merges.txt:2"));
    let error = refused("gpt2", &[("merges.txt", "zz qq\n")]);
    assert!(error.message.contains("no tokenizer can be made"), "{error}");
    let error = refused("gpt2", &[("vocab.json", "{\"a\": 0")]);
    assert!(error.message.contains("no vocabulary"), "{error}");
    let error = refused("gpt2", &[("added_tokens.json", "{\"<sep>\": 900}")]);
    assert!(error.message.contains("`<sep>` has the id 900, and its place is 600"), "{error}");
    let error = refused("gpt2", &[("tokenizer_config.json", "{\"tokenizer_class\": \"CLIPTokenizerFast\"}")]);
    assert!(error.message.contains("`CLIPTokenizer`") && error.hint.unwrap().contains("save_pretrained"));
    let error = refused("bert", &[("vocab.txt", "a\nb\n")]);
    assert!(error.message.contains("no piece `[UNK]`"), "{error}");
    let error = refused("llama", &[("tokenizer.model", "not a model")]);
    assert!(error.message.contains("no SentencePiece model"), "{error}");
    let error =
        refused("llama", &[("tokenizer_config.json", "{\"added_tokens_decoder\": {\"x\": {\"content\": \"a\"}}}")]);
    assert!(error.message.contains("`added_tokens_decoder` has an entry"), "{error}");
    let whole = changed("gpt2", &[]);
    fs::remove_file(whole.path().join("merges.txt")).unwrap();
    assert!(tokenizer(whole.path()).unwrap_err().message.contains("no `merges.txt`"));
}

#[test]
fn changed_bytes_of_a_model_are_refused_or_read_and_never_end_the_program() {
    let texts = ["", "ﬁ A\u{b}Ω", "река [gap] 河 🙂", "\u{0}\u{301}"];
    for kind in ["plain_unigram", "llama", "plain_bpe"] {
        let copy = changed(kind, &[]);
        let path = copy.path().join("tokenizer.model");
        let whole = fs::read(&path).unwrap();
        let mut state = 1_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut refused = 0;
        for _ in 0..150 {
            let mut bytes = whole.clone();
            for _ in 0..1 + random(3) {
                let place = random(bytes.len());
                bytes[place] = random(256) as u8;
            }
            if random(4) == 0 {
                bytes.truncate(random(bytes.len()));
            }
            fs::write(&path, &bytes).unwrap();
            match tokenizer(copy.path()) {
                Err(error) => {
                    assert!(error.hint.is_some(), "{error}");
                    refused += 1;
                }
                Ok(vocabulary) => {
                    for text in texts {
                        let _ = vocabulary.ids(text).map(|ids| vocabulary.decode(&ids));
                    }
                }
            }
        }
        assert!(refused > 10, "{kind}: {refused}");
    }
}
