//! Tokens that stand in other files beside a `tokenizer.json`, against transformers; `golden/beside.py` makes the values.

use std::{
    fs,
    path::{Path, PathBuf},
};

use data::tokens::tokenizer;
use serde_json::{Value, json};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/beside").join(name)
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn they_are_joined_as_transformers_joins_them() {
    for name in ["numbered", "named", "complete"] {
        let golden = read(&folder(name).join("golden.json"));
        let vocabulary = tokenizer(&folder(name)).unwrap();
        assert_eq!(vocabulary.is_as_file(), name == "complete", "{name}");
        let json: Value = serde_json::from_str(&vocabulary.to_json().unwrap()).unwrap();
        assert_eq!(json["added_tokens"], golden["added"], "{name}");
        assert_eq!(vocabulary.size() as u64, golden["size"].as_u64().unwrap(), "{name}");
        // What is written of it is the whole tokenizer.
        let alone = tempfile::tempdir().unwrap();
        fs::write(alone.path().join("tokenizer.json"), vocabulary.to_json().unwrap()).unwrap();
        for vocabulary in [vocabulary, tokenizer(alone.path()).unwrap()] {
            for case in golden["cases"].as_array().unwrap() {
                let text = case["text"].as_str().unwrap();
                let ids = vocabulary.ids_with_special(text).unwrap();
                assert_eq!(json!(ids), case["ids"], "{name}: {text}");
                assert_eq!(json!(vocabulary.ids(text).unwrap()), case["plain"], "{name}, as text: {text}");
                assert_eq!(json!(vocabulary.decode(&ids).unwrap()), case["decoded"], "{name}: {text}");
            }
        }
    }
}

#[test]
fn a_token_that_cannot_have_its_id_is_named() {
    let copy = tempfile::tempdir().unwrap();
    let put = |name: &str, change: fn(&mut Value)| {
        let mut value = read(&folder("numbered").join(name));
        change(&mut value);
        fs::write(copy.path().join(name), value.to_string()).unwrap();
        tokenizer(copy.path()).map(drop)
    };
    put("tokenizer.json", |_| ()).unwrap();
    put("tokenizer_config.json", |_| ()).unwrap();
    let error = put("tokenizer_config.json", |config| {
        let decoder = config["added_tokens_decoder"].as_object_mut().unwrap();
        let moved = decoder.remove("383").unwrap();
        decoder.insert("400".to_owned(), moved);
    })
    .unwrap_err();
    let text = "the added token `<mask>` is said to have the id 400, and the next one that is free is 383";
    assert_eq!(error.message, text);
    assert!(error.place.unwrap().ends_with("tokenizer_config.json") && error.hint.is_some());
    let error = put("tokenizer_config.json", |config| config["added_tokens_decoder"]["3"] = json!(7)).unwrap_err();
    assert!(error.message.contains("`added_tokens_decoder` has an entry that is no token"), "{error}");
}
