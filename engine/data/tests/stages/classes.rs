//! The classes that a `tokenize` stage finds among labels, and what it says of them.

use serde_json::json;

use crate::common::Project;

#[test]
fn labels_that_look_alike_are_warned_of() {
    let project = Project::new();
    project.write(
        "templates/t.jinja",
        "{% block prompt %}{{ text }}{% endblock %}{% block label %}{{ topic }}{% endblock %}",
    );
    let row = |topic: &str| json!({"text": "Shares fell on Monday", "topic": topic}).to_string();
    let rows = |topics: &[&str]| topics.iter().map(|topic| row(topic)).collect::<Vec<_>>().join("\n");
    let settings = json!({"tokenizer": {"bpe": {"vocabulary": 300}}, "form": "text", "max_length": 64});
    let warned = |name: &str, topics: &[&str]| {
        project.write("rows/train.jsonl", rows(topics));
        let examples = project.preprocess(&format!("{name}/rows"), json!({"train": {"from": "train"}}), 1).unwrap();
        let tokens = project.tokenize(&format!("{name}/tokens"), &examples, None, settings.clone(), 1).unwrap();
        (tokens.json("labels.json")["labels"].clone(), tokens.warnings)
    };
    // Spaces around a label are no part of it.
    let (labels, warnings) = warned("alike", &["Business", "sport", "business", "sport "]);
    assert_eq!(labels, json!(["Business", "business", "sport"]));
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert!(warning.starts_with("the labels `Business`, `business` differ only in case or in spaces"), "{warning}");
    assert_eq!(warned("apart", &["business", "sport"]).1, Vec::<String>::new());
}
