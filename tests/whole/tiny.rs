//! A tiny question-answering project that trains in a second: rows, a template, a random Llama, two adapters, scores and
//! a report.

use serde_json::json;

use crate::project::Project;

/// From rows to tokens.
pub const DATA: &str = r#"
stages:
  raw: {kind: download, from: {path: data}}
  rows:
    kind: preprocess
    input: raw
    template: ask.jinja
    splits: {train: {from: train}, test: {from: test}}
  tokens:
    kind: tokenize
    input: rows
    tokenizer: {bpe: {vocabulary: 300}}
    max_length: 96
"#;

/// From tokens to a report.
pub const TRAINING: &str = r#"
  base:
    kind: train
    resources: {cpu: 1}
    model: {random: {llama: {hidden_size: 16, intermediate_size: 32, num_hidden_layers: 2, num_attention_heads: 2, max_position_embeddings: 96}}}
    data: tokens
    adapter: full
    steps: 3
    batch: {size: 8}
  tuned:
    kind: train
    resources: {cpu: 1}
    matrix:
      method:
        lora: {lora: {rank: 2, alpha: 4, dropout: 0.1, targets: [attention.q, attention.v]}}
        dora: {dora: {rank: 3, alpha: 4, dropout: 0.1, targets: all-linear}}
    model: base
    data: tokens
    adapter: "${matrix.method}"
    steps: 4
    batch: {size: 8, micro: 4}
    optimizer: {adamw: {learning_rate: 1e-2}}
  scores:
    kind: evaluate
    resources: {cpu: 1}
    model: [base, tuned]
    data: tokens/test
    protocol: {generate: {decode: greedy, max_new_tokens: 3}}
    metrics: [{squad_v2: {no_answer: "none"}}]
  report:
    kind: report
    inputs: [tuned, scores]
"#;

/// How a row is asked.
pub const TEMPLATE: &str = "{% block prompt %}{{ thing }} is{% endblock %}{% block completion %} {{ colour }}{% endblock \
                            %}{% block references %}{{ [colour] | tojson }}{% endblock %}";

/// A project with the stages up to tokens.
pub fn data() -> Project {
    with_rows(DATA)
}

/// A project with all stages.
pub fn training() -> Project {
    with_rows(&format!("{DATA}{TRAINING}"))
}

/// A project with the rows and the template, and this pipeline.
pub fn with_rows(pipeline: &str) -> Project {
    let project = Project::new(pipeline);
    project.file("data/train.jsonl", &rows(0..40)).file("data/test.jsonl", &rows(40..46));
    project.file("templates/ask.jinja", TEMPLATE);
    project
}

/// Rows as JSON lines.
pub fn rows(numbers: std::ops::Range<usize>) -> String {
    let colours = ["red", "green", "blue", "white", "dark grey"];
    let row = |n: usize| json!({"id": format!("row-{n}"), "thing": format!("thing {n}"), "colour": colours[n % 5]});
    numbers.map(|n| format!("{}\n", row(n))).collect()
}
