//! Choices through the engine: their likelihoods are those that `perplexity` gives the same texts, and the figures follow
//! from them.

use serde_json::Value;

use crate::{
    encoders::lines_of,
    project::{FILE, worker},
    tiny::{self, DATA, TRAINING},
};

pub const MORE: &str = r#"
  asked: {kind: preprocess, input: raw, template: choose.jinja, splits: {test: {from: test}}}
  options: {kind: tokenize, input: asked, tokenizer: tokens, max_length: 96, form: choices}
  chosen:
    kind: evaluate
    resources: {cpu: 1}
    model: base
    data: options/test
    protocol: choices
    metrics: [accuracy, normalized_accuracy, {normalized_accuracy: {by: tokens}}, matthews]
    batch: {size: 3}
  joined: {kind: tokenize, input: rows, tokenizer: tokens, max_length: 96, boundary: joint, eos: none}
  likely:
    kind: evaluate
    resources: {cpu: 1}
    model: base
    data: joined/test
    protocol: perplexity
    metrics: [perplexity]
"#;

pub const CHOOSE: &str = r#"{% block prompt %}{{ thing }} is{% endblock %}
{% block choices %}["red", "green", "blue", "white", "dark grey"]{% endblock %}
{% block label %}
{%- for name in ["red", "green", "blue", "white", "dark grey"] %}{% if name == colour %}{{ loop.index0 }}{% endif %}{% endfor -%}
{% endblock %}"#;

#[test]
fn the_likeliest_choice_is_chosen() {
    worker();
    let project = tiny::with_rows(&format!("{DATA}{TRAINING}{MORE}"));
    project.file("templates/choose.jinja", CHOOSE);
    project.run(&["--until", "chosen"]).exit(0);
    project.run(&["--until", "likely"]).exit(0);
    let rows = lines_of(&project, "outputs/p/chosen/predictions.jsonl");
    let whole = lines_of(&project, "outputs/p/likely/predictions.jsonl");
    assert_eq!(rows.len(), 6);
    let number = |value: &Value| value.as_f64().unwrap();
    let (mut right, mut by_length) = (0.0, 0.0);
    for (row, whole) in rows.iter().zip(&whole) {
        let choices = row["choices"].as_array().unwrap();
        assert_eq!(choices.len(), 5);
        let reference = &row["references"][0];
        let likelihood = |choice: &Value| number(&choice["log_likelihood"]);
        let own = choices.iter().find(|choice| choice["text"] == *reference).unwrap();
        let expected = -number(&whole["scores"]["perplexity"]["nll"]);
        assert!((likelihood(own) - expected).abs() < 1e-4, "{own}: {expected}");
        let best = |score: &dyn Fn(&Value) -> f64| {
            let higher = |one: &&Value, other: &&Value| score(one).total_cmp(&score(other));
            choices.iter().max_by(higher).unwrap()["text"].clone()
        };
        assert_eq!(row["output"], best(&likelihood));
        right += f64::from(u8::from(row["output"] == *reference));
        let length = |choice: &Value| choice["text"].as_str().unwrap().chars().count() as f64;
        by_length += f64::from(u8::from(best(&|choice| likelihood(choice) / length(choice)) == *reference));
        assert_eq!(number(&row["scores"]["accuracy"]["correct"]), f64::from(u8::from(row["output"] == *reference)));
    }
    let figures = project.json("outputs/p/chosen/metrics.json");
    let figure = |name: &str, key: &str| number(&figures["metrics"][name][key]);
    assert!((figure("accuracy", "accuracy") - 100.0 * right / 6.0).abs() < 1e-9);
    assert!((figure("normalized_accuracy", "normalized_accuracy") - 100.0 * by_length / 6.0).abs() < 1e-9);
    assert!(figures["headline"]["normalized_accuracy_2.normalized_accuracy"].is_number());
    assert!(figures["headline"]["matthews.matthews"].is_number());
}

#[test]
fn rows_without_choices_and_wrong_labels_are_named() {
    let project = tiny::with_rows(&format!("{DATA}{TRAINING}{MORE}"));
    project.file("templates/choose.jinja", "{% block prompt %}{{ thing }}{% endblock %}");
    project.engine(&["check", FILE, "--json"]).exit(2).says(&["has no block `choices`", "{% block choices %}"]);
    project.file("templates/choose.jinja", &CHOOSE.replace("{{ loop.index0 }}", "{{ colour }}"));
    project.run(&["--until", "options"]).fails_with(&["is no number of one of the 5 choices", "row-40"]);
}
