//! Rows to Parquet to tokens, as jobs.

use std::fs;

use crate::common::{Done, Project};
use data::tokens::{self, TokenRow};
use serde_json::json;

const TEMPLATE: &str = "{% block prompt %}Passage: {{ context }}\nQuestion: {{ question }}\nAnswer:{% endblock %}
{% block completion %} {{ answers[0] if answers else 'No answer' }}{% endblock %}
{% block references %}{{ answers|tojson }}{% endblock %}
";

/// Enough rows for several chunks and row groups.
fn project(rows: usize) -> Project {
    let project = Project::new();
    project.write("templates/t.jinja", TEMPLATE);
    let mut text = String::new();
    for row in 0..rows {
        let place = ["Ulm", "Łódź", "北京", "Rome", "Paris of the north"][row % 5];
        let context = format!("Mira {row} was born in {place}. She kept {} cats. ", row % 7).repeat(1 + row % 4);
        let answers = if row % 3 == 0 { json!([]) } else { json!([place, "<it's & that>"]) };
        let row =
            json!({"id": format!("q{row}"), "context": context, "question": "Where was she born?", "answers": answers});
        text.push_str(&format!("{row}\n"));
    }
    project.write("rows/train.jsonl", text);
    project
}

fn row<'a>(rows: &'a [TokenRow], id: &str) -> &'a TokenRow {
    rows.iter().find(|row| row.id == id).unwrap()
}

fn train(done: &Done) -> Vec<TokenRow> {
    tokens::read(&done.result.join("train.parquet")).unwrap()
}

#[test]
fn rows_become_the_same_bytes_with_any_number_of_threads() {
    let project = project(9000);
    let splits = json!({
        "dev": {"from": "train", "hold_out": {"rows": 500, "seed": 3}, "permute": {"column": "context"}},
        "train": {"from": "train", "rest_of": "dev", "shuffle": {"seed": 1}},
    });
    let settings = json!({
        "tokenizer": {"bpe": {"vocabulary": 400, "splits": ["train"]}},
        "max_length": {"prompt": 48, "completion": 12},
        "overflow": {"truncate": "context"},
    });
    let files = |threads: usize| {
        let examples = project.preprocess(&format!("examples{threads}"), splits.clone(), threads).unwrap();
        let done = project.tokenize(&format!("tokens{threads}"), &examples, None, settings.clone(), threads).unwrap();
        let of = |done: &Done, name: &str| fs::read(done.result.join(name)).unwrap();
        (
            [of(&examples, "train.parquet"), of(&examples, "dev.parquet")],
            ["tokenizer.json", "special_ids.json", "summary.json", "train.parquet", "dev.parquet"]
                .map(|name| of(&done, name)),
        )
    };
    let one = files(1);
    assert!(one == files(4), "one thread and four leave different bytes");
    let splits: serde_json::Value = serde_json::from_slice(&one.1[2]).unwrap();
    assert_eq!(splits["splits"]["train"]["rows"], 8500);
    assert_eq!(splits["splits"]["dev"]["rows"], 500);
    assert!(splits["splits"]["train"]["truncated"].as_u64().unwrap() > 1000);
}

#[test]
fn a_row_has_one_bos_and_loss_on_its_completion_and_eos() {
    let project = project(50);
    let examples = project.preprocess("examples", json!({"train": {"from": "train"}}), 2).unwrap();
    let settings = json!({"tokenizer": {"bpe": {"vocabulary": 300}}, "max_length": 500});
    let done = project.tokenize("tokens", &examples, None, settings, 2).unwrap();
    assert_eq!(done.json("special_ids.json"), json!({"bos": 1, "eos": [2], "pad": 0, "vocabulary": 300}));
    let rows = train(&done);
    let texts = tokens::read_texts(&done.result.join("train.parquet")).unwrap();
    let vocabulary = tokens::tokenizer(&done.result).unwrap();
    let q4 = row(&rows, "q4");
    assert_eq!(q4.input_ids.iter().filter(|id| **id == 1).count(), 1);
    assert_eq!((q4.input_ids[0], *q4.input_ids.last().unwrap()), (1, 2));
    let loss: Vec<u32> =
        q4.input_ids.iter().zip(&q4.completion_mask).filter(|(_, on)| **on).map(|(id, _)| *id as u32).collect();
    assert_eq!(loss.last(), Some(&2));
    assert_eq!(vocabulary.decode(&loss).unwrap(), " Paris of the north");
    assert_eq!(q4.prompt_length, q4.completion_mask.iter().position(|on| *on).unwrap());
    let prompt: Vec<u32> = q4.input_ids[..q4.prompt_length].iter().map(|id| *id as u32).collect();
    assert_eq!(Some(vocabulary.decode(&prompt).unwrap()), texts[4].prompt);
    assert_eq!(texts[4].references, Some(vec!["Paris of the north".to_owned(), "<it's & that>".to_owned()]));
    assert_eq!(texts[0].references, Some(vec![]));
    assert_eq!(texts[0].completion.as_deref(), Some(" No answer"));
}
