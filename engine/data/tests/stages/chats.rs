//! Chats as transformers writes them; `golden/chats.py` makes the values.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use data::tokens::{
    SpecialIds, Vocabulary,
    chat::{ChatEncoder, ChatTemplate, Message},
    encode::EncodedTurn,
    source::Turn,
    tokenizer,
};
use serde_json::{Value, json};
use spec::stage::SpecialToken::{self, Auto};

use crate::common::Project;

const TEMPLATES: [&str; 6] = ["headers", "turns", "thinking", "brackets", "lines", "macros"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/chats").join(name)
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The text of a folder's chat template.
fn text(name: &str) -> String {
    let own = folder(name).join("chat_template.jinja");
    let config = || read(&folder(name).join("tokenizer_config.json"))["chat_template"].clone();
    fs::read_to_string(own).unwrap_or_else(|_| match config() {
        Value::String(text) => text,
        several => several[1]["template"].as_str().unwrap().to_owned(),
    })
}

fn messages(case: &Value) -> Vec<Message> {
    let word = |message: &Value, key: &str| message[key].as_str().unwrap().to_owned();
    let all = case["messages"].as_array().unwrap();
    all.iter().map(|message| Message { role: word(message, "role"), content: word(message, "content") }).collect()
}

fn cases(name: &str) -> Vec<Value> {
    read(&folder(name).join("golden.json"))["cases"].as_array().unwrap().clone()
}

#[test]
fn chats_are_written_as_transformers_writes_them() {
    for name in TEMPLATES {
        let config = read(&folder(name).join("tokenizer_config.json"));
        let tokens = ["bos_token", "eos_token"].map(|role| (role.to_owned(), config[role].as_str().unwrap().into()));
        let template = ChatTemplate::new(&text(name), BTreeMap::from(tokens)).unwrap();
        for case in cases(name) {
            let written = template.render(&messages(&case), case["asks"] == json!(true)).unwrap();
            assert_eq!(written, case["text"].as_str().unwrap(), "{name}: {}", case["messages"]);
        }
    }
}

fn encoder(name: &str, settings: Value, bos: &SpecialToken) -> (ChatEncoder, Vocabulary, SpecialIds) {
    let vocabulary = tokenizer(&folder(name)).unwrap();
    let mut special = SpecialIds::find(&folder(name), &vocabulary, bos, &Auto).unwrap();
    let settings = serde_json::from_value(settings).unwrap();
    let is_said = matches!(bos, SpecialToken::Token(_));
    let encoder = ChatEncoder::new(&folder(name), &vocabulary, &settings, is_said, &mut special).unwrap();
    (encoder, vocabulary, special)
}

fn joined(turns: &[EncodedTurn]) -> Vec<u32> {
    turns.iter().flat_map(|turn| turn.prompt.iter().chain(turn.completion.iter().flatten())).copied().collect()
}

#[test]
fn ids_of_chats_are_those_of_transformers() {
    for name in TEMPLATES {
        for case in cases(name) {
            let mut said = messages(&case);
            let system = (said[0].role == "system").then(|| said.remove(0).content);
            let (encoder, vocabulary, special) = encoder(name, json!({"system": system}), &Auto);
            let turns: Vec<Turn> = said
                .chunks(2)
                .map(|pair| Turn {
                    prompt: pair[0].content.clone(),
                    completion: pair.get(1).map(|message| message.content.clone()),
                })
                .collect();
            let found = encoder.encode(&turns).unwrap();
            let expected: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
            let ids = joined(&found);
            assert!(expected.starts_with(&ids), "{name}: {}\n{ids:?}\n{expected:?}", case["text"]);
            // What is left out is what the template writes after the end of the last answer.
            assert_eq!(vocabulary.decode(&expected[ids.len()..]).unwrap().trim(), "", "{name}");
            if case["asks"] == json!(true) {
                assert_eq!(ids, expected, "{name}: what generation begins with");
            }
            for completion in found.iter().filter_map(|turn| turn.completion.as_ref()) {
                assert_eq!(completion.last(), special.eos.first(), "{name}: a completion ends as generation does");
            }
            let bos = special.bos.map_or(0, |bos| ids.iter().filter(|id| **id == bos).count());
            assert_eq!(bos, usize::from(special.bos.is_some()), "{name}: one BOS, never two");
        }
    }
}

fn one(prompt: &str, completion: &str) -> Vec<Turn> {
    vec![Turn { prompt: prompt.into(), completion: Some(completion.into()) }]
}

#[test]
fn special_tokens_of_messages_are_text() {
    for name in TEMPLATES {
        let (encoder, vocabulary, special) = encoder(name, json!({}), &Auto);
        let plain = encoder.encode(&one("a b", "c d")).unwrap();
        let spelled = encoder.encode(&one("a <|stop|> </s> <|begin|> b", "c <|stop|> d")).unwrap();
        let specials = |turns: &[EncodedTurn]| -> Vec<u32> {
            let is_special = |id: &u32| {
                let token = vocabulary.token(*id).unwrap();
                special.bos == Some(*id) || special.eos.contains(id) || token.starts_with("<|")
            };
            joined(turns).into_iter().filter(is_special).collect()
        };
        assert_eq!(specials(&plain), specials(&spelled), "{name}");
        let text = vocabulary.decode(&joined(&spelled)).unwrap();
        assert!(text.contains("a <|stop|> </s> <|begin|> b") && text.contains("c <|stop|> d"), "{name}: {text}");
    }
}

#[test]
fn an_answer_that_the_template_shortens_ends_all_the_same() {
    let (encoder, vocabulary, special) = encoder("thinking", json!({}), &Auto);
    let found = encoder.encode(&one("a", "<think>\nso\n</think>\n\nb")).unwrap();
    let completion = found[0].completion.as_ref().unwrap();
    assert_eq!(vocabulary.decode(completion).unwrap(), "b");
    assert_eq!(completion.iter().filter(|id| special.eos.contains(id)).count(), 1);
}

#[test]
fn a_bos_is_put_there_only_where_it_is_said() {
    let bos = |found: &SpecialIds| found.bos;
    let (_, _, special) = encoder("lines", json!({}), &Auto);
    assert_eq!(bos(&special), None, "the template writes none");
    let (said, _, special) = encoder("lines", json!({}), &SpecialToken::Token("<bos>".into()));
    assert_eq!(special.bos, Some(2));
    assert_eq!(said.encode(&one("a", "b")).unwrap()[0].prompt[0], 2);
    let (twice, _, _) = encoder("turns", json!({}), &SpecialToken::Token("<bos>".into()));
    assert_eq!(twice.encode(&one("a", "b")).unwrap()[0].prompt.iter().filter(|id| **id == 2).count(), 1);
}

#[test]
fn a_stage_writes_chats_and_says_what_ends_them() {
    let project = Project::new();
    project.write(
        "templates/t.jinja",
        "{% block prompt %}{{ q }}{% endblock %}{% block completion %}{{ a }}{% endblock %}",
    );
    project.write("rows/train.json", json!([{"q": "why?", "a": "because"}, {"q": "<|stop|>", "a": "x"}]).to_string());
    let examples = project.preprocess("examples", json!({"train": {"from": "train"}}), 1).unwrap();
    let settings = json!({"max_length": 200, "chat": {"system": "Be brief."}});
    let done = project.tokenize("a", &examples, Some(&folder("turns")), settings, 2).unwrap();
    let rows = data::tokens::read(&done.result.join("train.parquet")).unwrap();
    let vocabulary = tokenizer(&done.result).unwrap();
    let row = &rows[0];
    let ids: Vec<u32> = row.input_ids.iter().map(|id| *id as u32).collect();
    let (prompt, completion) = ids.split_at(row.prompt_length);
    assert_eq!(vocabulary.decode(prompt).unwrap(), "user\nBe brief.\n\nwhy?\nmodel\n");
    assert_eq!(vocabulary.decode(completion).unwrap(), "because");
    let stop = vocabulary.id("<|stop|>").unwrap();
    assert_eq!((completion.last(), prompt[0]), (Some(&stop), 2));
    assert_eq!(done.json("special_ids.json")["eos"][0], json!(stop), "generation stops at it");
    assert!(row.completion_mask[row.prompt_length..].iter().all(|on| *on));
    assert!(done.warnings.is_empty(), "{:?}", done.warnings);

    // A row that is too long is cut in its field, within the chat.
    let long = "the river ".repeat(60);
    project.write("rows/train.json", json!([{"q": long, "a": "because"}]).to_string());
    let examples = project.preprocess("long", json!({"train": {"from": "train"}}), 1).unwrap();
    let settings = json!({"max_length": 60, "overflow": {"truncate": "q"}, "chat": {}});
    let done = project.tokenize("b", &examples, Some(&folder("turns")), settings, 1).unwrap();
    let row = &data::tokens::read(&done.result.join("train.parquet")).unwrap()[0];
    assert!(row.failed.is_none() && row.input_ids.len() <= 60 && row.input_ids.len() > 50, "{row:?}");
    let ids: Vec<u32> = row.input_ids.iter().map(|id| *id as u32).collect();
    let text = vocabulary.decode(&ids).unwrap();
    assert!(text.starts_with("user\nthe river") && text.ends_with("\nmodel\nbecause"), "{text}");
}

#[test]
fn what_a_chat_template_cannot_do_is_told() {
    let refused = |template: &str, settings: Value| {
        let copy = tempfile::tempdir().unwrap();
        fs::copy(folder("turns").join("tokenizer.json"), copy.path().join("tokenizer.json")).unwrap();
        fs::copy(folder("turns").join("tokenizer_config.json"), copy.path().join("tokenizer_config.json")).unwrap();
        if !template.is_empty() {
            fs::write(copy.path().join("chat_template.jinja"), template).unwrap();
        }
        let vocabulary = tokenizer(copy.path()).unwrap();
        let mut special = SpecialIds::find(copy.path(), &vocabulary, &Auto, &Auto).unwrap();
        let settings = serde_json::from_value(settings).unwrap();
        ChatEncoder::new(copy.path(), &vocabulary, &settings, false, &mut special).unwrap_err()
    };
    assert!(refused("", json!({})).message.contains("no chat template"));
    let error = refused(&text("turns"), json!({"prompt": "assistant"}));
    assert!(error.message.contains("roles must alternate"), "{error}");
    let error = refused("{{ messages[-1].content }}", json!({}));
    assert!(error.message.contains("writes what came before otherwise"), "{error}");
    let error = refused("{% for x in range(100000) %}{% for y in range(100000) %}x{% endfor %}{% endfor %}", json!({}));
    assert!(error.message.contains("takes too long"), "{error}");
    let error = refused("{{ messages[0].content.frobnicate() }}", json!({}));
    assert!(error.place.unwrap().contains("chat_template:1 of ") && error.hint.is_some());
}
