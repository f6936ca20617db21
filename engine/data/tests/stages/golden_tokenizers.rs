//! Token ids against Hugging Face's Python tokenizers; `golden/tokenizer.py` makes the values.

use std::{fs, path::Path};

use data::tokens::{SpecialIds, Vocabulary, tokenizer};
use serde_json::Value;
use spec::stage::SpecialToken::{Auto, None, Token};

fn golden(kind: &str) -> (Vocabulary, Value, std::path::PathBuf) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(kind);
    let values = serde_json::from_slice(&fs::read(folder.join("golden.json")).unwrap()).unwrap();
    (tokenizer(&folder).unwrap(), values, folder)
}

#[test]
fn ids_and_texts_are_those_of_python() {
    for kind in ["byte_level", "llama", "word_piece"] {
        let (vocabulary, values, _) = golden(kind);
        for case in values["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
            assert_eq!(vocabulary.ids(text).unwrap(), ids, "{kind}: {text:?}");
            assert_eq!(vocabulary.encode(text).unwrap().ids, ids, "{kind}: {text:?}");
            assert_eq!(vocabulary.decode(&ids).unwrap(), case["decoded"].as_str().unwrap(), "{kind}: {text:?}");
        }
    }
}

#[test]
fn the_beginning_is_what_the_tokenizer_adds() {
    for kind in ["byte_level", "llama", "word_piece"] {
        let (vocabulary, values, folder) = golden(kind);
        let front: Vec<u32> = serde_json::from_value(values["front"].clone()).unwrap();
        let special = SpecialIds::find(&folder, &vocabulary, &Auto, &None).unwrap();
        assert_eq!(special.bos, front.first().copied(), "{kind}");
        assert_eq!(SpecialIds::find(&folder, &vocabulary, &None, &None).unwrap().bos, Option::None);
    }
}

#[test]
fn the_end_is_found_in_files_or_by_its_name() {
    let (vocabulary, _, folder) = golden("llama");
    let found = SpecialIds::find(&folder, &vocabulary, &Auto, &Auto).unwrap();
    assert_eq!((found.eos.as_slice(), found.pad, found.vocabulary), ([2].as_slice(), 2, vocabulary.size()));

    let (vocabulary, _, folder) = golden("word_piece");
    let error = SpecialIds::find(&folder, &vocabulary, &Auto, &Auto).unwrap_err();
    assert!(error.message.contains("which token ends a text") && error.hint.unwrap().contains("`eos: "));
    let error = SpecialIds::find(&folder, &vocabulary, &Auto, &Token("[SPE]".into())).unwrap_err();
    assert_eq!(error.hint.as_deref(), Some("did you mean `[SEP]`?"));
    let found = SpecialIds::find(&folder, &vocabulary, &Auto, &Token("[SEP]".into())).unwrap();
    assert_eq!((found.bos, found.eos, found.pad), (Some(2), vec![3], 0));
}

#[test]
fn all_files_of_a_folder_are_heard() {
    let (vocabulary, _, _) = golden("byte_level");
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("tokenizer_config.json", r#"{"eos_token": {"content": "</s>"}, "pad_token": null}"#);
    write("special_tokens_map.json", r#"{"pad_token": "<pad>"}"#);
    write("generation_config.json", r#"{"eos_token_id": [7, 2, 9]}"#);
    let found = SpecialIds::find(folder.path(), &vocabulary, &Auto, &Auto).unwrap();
    assert_eq!((found.eos, found.pad), (vec![2, 7, 9], 0));
    write("special_ids.json", r#"{"bos": null, "eos": [5, 6], "pad": 4, "vocabulary": 380}"#);
    let found = SpecialIds::find(folder.path(), &vocabulary, &Auto, &Auto).unwrap();
    assert_eq!((found.bos, found.eos, found.pad), (Option::None, vec![5, 6], 4));
    write("generation_config.json", "{");
    assert!(
        SpecialIds::find(folder.path(), &vocabulary, &Auto, &Auto)
            .unwrap_err()
            .place
            .unwrap()
            .ends_with("generation_config.json")
    );
}
