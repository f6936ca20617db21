//! Prompts with choices: one text for each, where it begins, and rows that are too long.

use crate::common::{Done, Project};
use data::rows;
use serde_json::{Value, json};

const TEMPLATE: &str = r#"{% block prompt %}{{ context }} it is {% endblock %}
{% block contexts %}{{ ["a ", "no "]|tojson }}{% endblock %}
{% block choices %}["cat", "very good dog"]{% endblock %}{% block label %}{{ right }}{% endblock %}"#;

fn asked(project: &Project, contexts: &[usize]) -> Done {
    project.write("templates/t.jinja", TEMPLATE);
    let row =
        |(at, words): (usize, &usize)| json!({"id": format!("r{at}"), "context": "word ".repeat(*words), "right": 1});
    let rows: Vec<Value> = contexts.iter().enumerate().map(row).collect();
    project.write("rows/train.json", json!(rows).to_string());
    project.preprocess("examples", json!({"train": {"from": "train"}}), 1).unwrap()
}

fn tokens_of(project: &Project, examples: &Done, more: Value) -> Result<Done, spec::job::Failure> {
    let mut settings = json!({"tokenizer": {"bpe": {"vocabulary": 290}}, "form": "choices"});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    project.tokenize("tokens", examples, None, settings, 2)
}

fn written(done: &Done) -> Vec<rows::Row> {
    rows::read(&done.result.join("train.parquet"), None, &mut |_| ()).unwrap()
}

fn decoded(done: &Done, ids: &[Value]) -> String {
    let tokenizer = tokenizers::Tokenizer::from_file(done.result.join("tokenizer.json")).unwrap();
    let ids: Vec<u32> = ids.iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect();
    tokenizer.decode(&ids, true).unwrap()
}

#[test]
fn a_choice_begins_where_its_context_ends_and_takes_the_white_space() {
    let project = Project::new();
    let examples = asked(&project, &[2, 0]);
    for (delimiter, between) in [(None, "  "), (Some(""), " "), (Some("-"), " -")] {
        let form = delimiter.map_or(json!("choices"), |delimiter| json!({"choices": {"delimiter": delimiter}}));
        let done = tokens_of(&project, &examples, json!({"max_length": 200, "form": form})).unwrap();
        let rows = written(&done);
        assert_eq!(rows.len(), 4);
        let mut texts = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            assert_eq!((&row["choice"], &row["right"]), (&json!(at % 2), &json!(1)));
            let ids = row["input_ids"].as_array().unwrap();
            let (prompt, choice) = ids.split_at(usize::try_from(row["prompt_length"].as_u64().unwrap()).unwrap());
            texts.push((decoded(&done, prompt), decoded(&done, choice)));
        }
        let expected = [("word word  it is a", "cat"), ("word word  it is no", "very good dog"), (" it is a", "cat")];
        for (found, (prompt, choice)) in texts.iter().zip(expected) {
            assert_eq!(*found, (prompt.to_owned(), format!("{between}{choice}")));
        }
    }
}

#[test]
fn long_rows_fail_are_dropped_or_lose_their_first_tokens() {
    let project = Project::new();
    let examples = asked(&project, &[0, 30]);
    let all = written(&tokens_of(&project, &examples, json!({"max_length": 500})).unwrap());
    let ids = |rows: &[rows::Row], at: usize| rows[at]["input_ids"].as_array().unwrap().clone();
    let limit = ids(&all, 1).len() + 2;
    let with =
        |overflow: &str| json!({"max_length": limit, "overflow": serde_yaml::from_str::<Value>(overflow).unwrap()});
    let failure = tokens_of(&project, &examples, json!({"max_length": limit})).err().unwrap();
    assert_eq!(failure.place.as_deref(), Some("split `train`, row 2 (id r1)"));
    assert!(failure.message.contains("too long") && failure.hint.unwrap().contains("truncate: prompt"));
    let dropped = tokens_of(&project, &examples, with("{train: drop}")).unwrap();
    assert_eq!(written(&dropped).len(), 2);
    assert_eq!(dropped.json("summary.json")["splits"]["train"]["dropped"], 1);
    let cut = written(&tokens_of(&project, &examples, with("{train: {truncate: prompt}}")).unwrap());
    for at in 0..4 {
        let (whole, cut_ids) = (ids(&all, at), ids(&cut, at));
        let length = whole.len().min(limit);
        assert_eq!(cut_ids.len(), length);
        assert_eq!(cut_ids[0], whole[0], "what begins a row stays");
        assert_eq!(cut_ids[1..], whole[whole.len() - length + 1..]);
        let behind = |row: &rows::Row, ids: &[Value]| ids.len() as u64 - row["prompt_length"].as_u64().unwrap();
        assert_eq!(behind(&cut[at], &cut_ids), behind(&all[at], &whole));
    }
    let shortest =
        written(&tokens_of(&project, &examples, json!({"max_length": 5, "overflow": {"truncate": "prompt"}})).unwrap());
    assert!(shortest.iter().all(|row| row["failed"].as_str().unwrap().contains("a choice is too long")));
    let failure = tokens_of(&project, &examples, with("{train: {truncate: context}}")).err().unwrap();
    assert!(failure.message.contains("`context` is no text that can be cut"), "{failure:?}");
}
