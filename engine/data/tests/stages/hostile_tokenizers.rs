//! Files of tokenizers that are not to be believed: what would end the program or its memory is an error of the file.

use std::{fs, path::Path};

use data::{
    Error,
    tokens::{Vocabulary, tokenizer},
};
use serde_json::{Value, json};

/// The Llama-like tokenizer of the golden values after `change`.
fn changed(change: impl FnOnce(&mut Value)) -> Result<Vocabulary, Error> {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/llama/tokenizer.json");
    let mut value: Value = serde_json::from_slice(&fs::read(from).unwrap()).unwrap();
    change(&mut value);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tokenizer.json"), value.to_string()).unwrap();
    tokenizer(folder.path())
}

fn said(error: &Error) -> String {
    assert!(error.place.as_deref().unwrap().ends_with("tokenizer.json"), "{error:?}");
    assert!(error.hint.as_deref().unwrap().contains("source you trust"), "{error:?}");
    error.message.clone()
}

#[test]
fn an_expression_that_explodes_is_an_error_of_the_file() {
    let vocabulary = changed(|file| {
        file["pre_tokenizer"] = json!({ "type": "Split", "pattern": { "Regex": "(a+)+$" }, "behavior": "Isolated",
                                        "invert": false });
    })
    .unwrap();
    assert!(vocabulary.ids("the river").is_ok());
    let text = format!("{}b", "a".repeat(60));
    for error in [
        vocabulary.ids(&text).unwrap_err(),
        vocabulary.encode(&text).unwrap_err(),
        vocabulary.ids_with_special(&text).unwrap_err(),
        vocabulary.templated(None).unwrap().encode(text.as_str()).unwrap_err(),
    ] {
        assert!(said(&error).contains("gave up") && said(&error).contains("retry-limit"), "{error}");
    }
}

#[test]
fn a_rewriting_that_grows_without_end_is_refused() {
    let replace = json!({ "type": "Replace", "pattern": { "String": "a" }, "content": "aa" });
    let many = |kind: &str| json!({ "type": "Sequence", kind: vec![replace.clone(); 60] });
    let error = changed(|file| file["normalizer"] = many("normalizers")).unwrap_err();
    assert!(said(&error).contains("times longer"), "{error}");
    let error = changed(|file| file["decoder"] = many("decoders")).unwrap_err();
    assert!(said(&error).contains("times longer"), "{error}");
    changed(|_| ()).unwrap();
}

/// The library's tree of pieces has a node a byte, and would overflow the stack.
#[test]
fn a_piece_without_end_is_refused() {
    let model =
        |piece: &str| json!({ "type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0], [piece, -2.0]] });
    let put = |piece: &str| {
        changed(|file| {
            file["model"] = model(piece);
            file["added_tokens"] = json!([]);
            file["post_processor"] = json!(null);
        })
    };
    let vocabulary = put(&"a".repeat(4000)).unwrap();
    assert_eq!(vocabulary.clone().size(), 3);
    let error = put(&"a".repeat(1_000_000)).unwrap_err();
    assert!(said(&error).contains("a piece of 1000000 bytes"), "{error}");
}

/// What it fills up to, or cuts at, is its file's word.
#[test]
fn padding_of_the_file_is_not_done() {
    let vocabulary = changed(|file| {
        file["padding"] = json!({ "strategy": { "Fixed": 100_000_000_000_u64 }, "direction": "Right",
            "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>" });
        file["truncation"] = json!({ "direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0 });
    })
    .unwrap();
    let plain = changed(|_| ()).unwrap();
    let text = "the river runs";
    assert_eq!(vocabulary.ids(text).unwrap(), plain.ids(text).unwrap());
    assert_eq!(vocabulary.ids_with_special(text).unwrap(), plain.ids_with_special(text).unwrap());
    let special = data::tokens::SpecialIds::find(
        Path::new("."),
        &vocabulary,
        &spec::stage::SpecialToken::Auto,
        &spec::stage::SpecialToken::None,
    );
    assert!(special.unwrap().bos.is_some());
}

/// A table of characters that leads outside itself.
#[test]
fn a_table_that_leads_nowhere_is_an_error_of_the_file() {
    let vocabulary = changed(|file| {
        file["normalizer"] = json!({ "type": "Precompiled", "precompiled_charsmap": "BAAAAAAAEAA=" });
    })
    .unwrap();
    let error = vocabulary.ids("a").unwrap_err();
    assert!(said(&error).contains("gave up: index out of bounds"), "{error}");
}
