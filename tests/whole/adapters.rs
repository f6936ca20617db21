//! Adapters that are trained on, with their head or a new one, and several that train together.

use serde_json::{Value, json};

use crate::{
    encoders::{bert_tokenizer, lines_of, model, rows},
    project::{Project, worker},
};

const STUDY: &str = r#"
vars: {fast: {adamw: {learning_rate: 1e-2}}, still: {adamw: {learning_rate: 1e-12}}}
stages:
  bert: {kind: download, from: {path: bert}}
  raw: {kind: download, from: {path: data}}
  rows:
    kind: preprocess
    matrix: {task: [kind, degree]}
    input: raw
    template: ${matrix.task}.jinja
    splits: {train: {from: train}, test: {from: test}}
  tokens:
    kind: tokenize
    input: rows
    tokenizer: bert
    form: text
    max_length: 14
  first:
    kind: train
    resources: {cpu: 1}
    model: bert
    data: tokens[task=kind]
    objective: classify
    adapter: {lora: {rank: 2, alpha: 4, targets: [attention.q, attention.v]}}
    steps: 60
    batch: {size: 8}
    optimizer: ${vars.fast}
  again:
    kind: train
    resources: {cpu: 1}
    model: bert
    data: tokens[task=kind]
    objective: classify
    adapter: {from: first}
    steps: 1
    optimizer: ${vars.still}
  other:
    kind: train
    resources: {cpu: 1}
    model: bert
    data: tokens[task=degree]
    objective: regress
    adapter: {from: first, head: fresh}
    steps: 1
    optimizer: ${vars.still}
  both:
    kind: train
    resources: {cpu: 1}
    model: bert
    data: tokens[task=kind]
    objective: classify
    adapter:
      - lora: {rank: 2, alpha: 4, targets: [attention.q]}
      - dora: {rank: 3, alpha: 4, targets: [attention.v]}
    steps: 60
    batch: {size: 8}
    optimizer: ${vars.fast}
  further:
    kind: train
    resources: {cpu: 1}
    model: bert
    data: tokens[task=kind]
    objective: classify
    adapter: {from: both}
    steps: 1
    optimizer: ${vars.still}
  whole: {kind: merge, resources: {cpu: 1}, model: both}
  scored:
    kind: evaluate
    resources: {cpu: 1}
    model: [first, again, both, further, whole]
    data: tokens[task=kind]/test
    protocol: classify
    metrics: [accuracy]
"#;

fn study() -> Project {
    let project = Project::new(STUDY);
    model(&project, "bert", "encoders/bert_headless", &bert_tokenizer());
    project.file("data/train.jsonl", &rows(40)).file("data/test.jsonl", &rows(10));
    for label in ["kind", "degree"] {
        let template = format!(
            "{{% block prompt %}}{{{{ second }}}}{{% endblock %}}{{% block label %}}{{{{ {label} }}}}{{% endblock %}}"
        );
        project.file(&format!("templates/{label}.jinja"), &template);
    }
    project
}

/// The probability of one class for each row.
fn warmth(project: &Project, model: &str) -> Vec<f64> {
    let lines = lines_of(project, &format!("outputs/p/scored/model={model}/predictions.jsonl"));
    lines.iter().map(|line| line["probabilities"]["warm"].as_f64().unwrap()).collect()
}

fn shapes(project: &Project, adapter: &str) -> Vec<(String, Vec<i64>)> {
    let path = project.path(&format!("outputs/p/{adapter}/adapter_model.safetensors"));
    let bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Map<String, Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let shape = |entry: &Value| serde_json::from_value(entry["shape"].clone()).unwrap();
    header
        .iter()
        .filter(|(name, _)| *name != "__metadata__")
        .map(|(name, entry)| (name.clone(), shape(entry)))
        .collect()
}

#[test]
fn adapters_are_trained_on_and_trained_together() {
    worker();
    let project = study();
    let estimate = project.engine(&["estimate", crate::project::FILE, "--json"]).exit(0).out.clone();
    project.run(&[]).exit(0);
    let close = |one: &str, other: &str| {
        let differ =
            warmth(&project, one).iter().zip(warmth(&project, other)).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(differ < 1e-4, "{one} and {other} differ by {differ}");
    };
    close("first", "again");
    close("both", "further");
    close("both", "whole");
    for model in ["first", "both"] {
        let metrics = project.json(&format!("outputs/p/scored/model={model}/metrics.json"));
        assert!(metrics["headline"]["accuracy.accuracy"].as_f64().unwrap() >= 90.0, "{model}: {metrics}");
    }
    let of_head = |(name, _): &(String, Vec<i64>)| name.contains("classifier");
    let (first, other) = (shapes(&project, "first"), shapes(&project, "other"));
    assert_eq!(
        first.iter().filter(|tensor| !of_head(tensor)).collect::<Vec<_>>(),
        other.iter().filter(|tensor| !of_head(tensor)).collect::<Vec<_>>()
    );
    let rows_of_head = |shapes: &[(String, Vec<i64>)]| shapes.iter().find(|tensor| of_head(tensor)).unwrap().1[0];
    assert_eq!((rows_of_head(&first), rows_of_head(&other)), (2, 1), "one class each, then one number");
    assert_eq!(project.json("outputs/p/both/adapters.json"), json!(["lora", "dora"]));
    let config = |part: &str| project.json(&format!("outputs/p/both/{part}/adapter_config.json"));
    assert_eq!((&config("lora")["r"], &config("dora")["r"]), (&json!(2), &json!(3)));
    assert_eq!((&config("lora")["use_dora"], &config("dora")["use_dora"]), (&json!(false), &json!(true)));
    assert_eq!(config("dora")["modules_to_save"], json!(null), "the head is saved once");
    for stage in ["first", "again", "other", "both", "further"] {
        let trained = project.json(&format!("outputs/p/{stage}/summary.json"))["trainable_parameters"].clone();
        let line = format!("\"trainable_parameters\":{trained}");
        let forecast = estimate.lines().any(|found| found.contains(&format!("\"{stage}\"")) && found.contains(&line));
        assert!(forecast, "{stage} trains {trained}: {estimate}");
    }
}

#[test]
fn a_whole_model_is_no_adapter_to_train_on() {
    worker();
    let project = Project::new(&STUDY.replace("{from: first, head: fresh}", "{from: bert, head: fresh}"));
    model(&project, "bert", "encoders/bert_headless", &bert_tokenizer());
    project.file("data/train.jsonl", &rows(8)).file("data/test.jsonl", &rows(2));
    let template = "{% block prompt %}{{ second }}{% endblock %}{% block label %}{{ degree }}{% endblock %}";
    project.file("templates/degree.jinja", template).file("templates/kind.jinja", template);
    project.run(&["--until", "other"]).fails_with(&[
        "holds a whole model, not an adapter",
        "name that stage as `model`, and the method under `adapter`",
    ]);
}
