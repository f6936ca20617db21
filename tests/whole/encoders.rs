//! Encoders and encoder–decoders through the engine: classes, numbers, answers in a text, written answers; from rows to
//! figures, with models of random weights.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::{
    project::{Project, worker},
    trying::typed,
};

/// Words that texts are made of; their ids follow the special tokens'.
const WORDS: [&str; 12] =
    ["red", "green", "blue", "warm", "cold", "big", "small", "thing", "is", "what", "colour", "very"];

fn template(token: &str, id: usize) -> Value {
    json!({ "id": token, "ids": [id], "tokens": [token] })
}

/// A tokenizer of whole words with these special tokens and this template.
fn tokenizer(special: &[&str], single: Value, pair: Value, added: &[(&str, usize)]) -> String {
    let vocabulary: serde_json::Map<_, _> =
        special.iter().chain(&WORDS).enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
    let tokens: Vec<Value> = special
        .iter()
        .enumerate()
        .map(|(id, word)| {
            json!({ "id": id, "content": word, "special": true, "single_word": false, "lstrip": false,
                    "rstrip": false, "normalized": false })
        })
        .collect();
    let used: serde_json::Map<_, _> =
        added.iter().map(|(token, id)| ((*token).to_owned(), template(token, *id))).collect();
    json!({
        "version": "1.0", "truncation": {"max_length": 5, "strategy": "LongestFirst", "stride": 0, "direction": "Right"},
        "padding": null, "added_tokens": tokens, "normalizer": null, "pre_tokenizer": { "type": "Whitespace" },
        "post_processor": { "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": used },
        "decoder": null, "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": special[1] },
    })
    .to_string()
}

fn part(special: &str, kind: u32) -> Value {
    json!({ "SpecialToken": { "id": special, "type_id": kind } })
}

fn text(which: &str, kind: u32) -> Value {
    json!({ "Sequence": { "id": which, "type_id": kind } })
}

pub fn bert_tokenizer() -> String {
    let single = json!([part("[CLS]", 0), text("A", 0), part("[SEP]", 0)]);
    let pair = json!([part("[CLS]", 0), text("A", 0), part("[SEP]", 0), text("B", 1), part("[SEP]", 1)]);
    tokenizer(&["[PAD]", "[UNK]", "[CLS]", "[SEP]"], single, pair, &[("[CLS]", 2), ("[SEP]", 3)])
}

pub fn t5_tokenizer() -> String {
    let single = json!([text("A", 0), part("</s>", 0)]);
    let pair = json!([text("A", 0), part("</s>", 0), text("B", 0), part("</s>", 0)]);
    tokenizer(&["<pad>", "<unk>", "</s>"], single, pair, &[("</s>", 2)])
}

/// The tiny model of the golden values, with this tokenizer.
pub fn model(project: &Project, name: &str, golden: &str, tokenizer: &str) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(golden).join("model");
    let to = project.path(name);
    fs::create_dir_all(&to).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
    project.file(&format!("{name}/tokenizer.json"), tokenizer);
    let special = json!({ "pad_token": "[PAD]" });
    project.file(&format!("{name}/tokenizer_config.json"), &special.to_string());
}

pub fn lines_of(project: &Project, path: &str) -> Vec<Value> {
    project.text(path).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Rows about things that are warm or cold, and how much: two sentences each.
pub fn rows(count: usize) -> String {
    let row = |n: usize| {
        let warm = n.is_multiple_of(2);
        let colour = WORDS[n % 3];
        let (word, much) = (if warm { "warm" } else { "cold" }, n % 5);
        let second = format!("{}thing is {word}", "very ".repeat(much));
        let place = second.find(word).unwrap();
        let degree = if warm { 1.0 } else { -1.0 } * (1.0 + much as f64 / 2.0);
        format!(
            "{}\n",
            json!({
                "id": format!("row-{n}"), "first": format!("what is {colour} thing"), "second": second, "kind": word,
                "degree": degree, "word": word, "start": place,
            })
        )
    };
    (0..count).map(row).collect()
}

pub const TEXTS: &str = r#"
stages:
  bert: {kind: download, from: {path: bert}}
  raw: {kind: download, from: {path: data}}
  rows:
    kind: preprocess
    matrix: {task: [kind, degree, place]}
    input: raw
    template: ${matrix.task}.jinja
    splits: {train: {from: train}, test: {from: test}}
  tokens:
    kind: tokenize
    input: rows
    tokenizer: bert
    form: text
    max_length: 14
    overflow: {windows: {stride: 1}}
  classes:
    kind: train
    resources: {cpu: 1}
    model: bert
    data: tokens[task=kind]
    objective: classify
    matrix:
      method:
        lora: {lora: {rank: 2, alpha: 4, targets: [attention.q, attention.v]}}
        full: full
    adapter: "${matrix.method}"
    steps: 60
    batch: {size: 8, micro: 4}
    optimizer: {adamw: {learning_rate: 1e-2}}
    validate: {on: test, every: {steps: 20}, keep: {best: loss}, patience: 2}
  numbers:
    kind: train
    resources: {cpu: 1}
    model: bert
    data: tokens[task=degree]
    objective: regress
    adapter: {lora: {rank: 2, alpha: 4, targets: all-linear}}
    steps: 80
    batch: {size: 8}
    optimizer: {adamw: {learning_rate: 1e-2}}
  places:
    kind: train
    resources: {cpu: 1}
    model: bert
    data: tokens[task=place]
    objective: span
    adapter: full
    steps: 60
    batch: {size: 8}
    optimizer: {adamw: {learning_rate: 1e-2}}
  classified:
    kind: evaluate
    resources: {cpu: 1}
    model: classes
    data: tokens[task=kind]/test
    protocol: classify
    metrics: [accuracy, {f1: {of: {class: warm}}}, matthews]
  measured:
    kind: evaluate
    resources: {cpu: 1}
    model: numbers
    data: tokens[task=degree]/test
    protocol: regress
    metrics: [pearson, spearman]
  found:
    kind: evaluate
    resources: {cpu: 1}
    model: places
    data: tokens[task=place]/test
    protocol: {span: {no_answer: never}}
    metrics: [squad_v2]
  whole: {kind: merge, resources: {cpu: 1}, model: "classes[method=lora]"}
  again:
    kind: evaluate
    resources: {cpu: 1}
    model: whole
    data: tokens[task=kind]/test
    protocol: classify
    metrics: [accuracy]
"#;

pub fn texts() -> Project {
    let project = Project::new(TEXTS);
    model(&project, "bert", "encoders/bert_headless", &bert_tokenizer());
    project.file("data/train.jsonl", &rows(40)).file("data/test.jsonl", &rows(10));
    let both = "{% block prompt %}{{ first }}{% endblock %}{% block pair %}{{ second }}{% endblock %}";
    project.file("templates/kind.jinja", &format!("{both}{{% block label %}}{{{{ kind }}}}{{% endblock %}}"));
    project.file("templates/degree.jinja", &format!("{both}{{% block label %}}{{{{ degree }}}}{{% endblock %}}"));
    let answers = "{% block answers %}{{ [{'text': word, 'start': start}]|tojson }}{% endblock %}{% block references %}{{ \
                   [word]|tojson }}{% endblock %}";
    project.file("templates/place.jinja", &format!("{both}{answers}"));
    project
}

#[test]
fn classes_numbers_and_answers_in_a_text() {
    worker();
    let project = texts();
    project.run(&[]).exit(0);
    let labels = project.json("outputs/p/tokens/task=kind/labels.json");
    assert_eq!(labels, json!({ "labels": ["cold", "warm"] }));
    for method in ["lora", "full"] {
        let metrics = project.json(&format!("outputs/p/classified/method={method}/metrics.json"));
        assert!(metrics["headline"]["accuracy.accuracy"].as_f64().unwrap() > 90.0, "{method}: {metrics}");
        assert!(metrics["headline"]["f1.f1"].as_f64().unwrap() > 90.0, "{method}: {metrics}");
        assert!(metrics["headline"]["matthews.matthews"].as_f64().unwrap() > 0.8, "{method}: {metrics}");
    }
    let config = project.json("outputs/p/classes/method=lora/adapter_config.json");
    assert_eq!((&config["task_type"], &config["modules_to_save"]), (&json!("SEQ_CLS"), &json!(["classifier"])));
    let whole = project.json("outputs/p/classes/method=full/config.json");
    assert_eq!(whole["id2label"], json!({ "0": "cold", "1": "warm" }));
    let lora = lines_of(&project, "outputs/p/classified/method=lora/predictions.jsonl");
    let merged = lines_of(&project, "outputs/p/again/predictions.jsonl");
    for (one, other) in lora.iter().zip(&merged) {
        assert_eq!(one["output"], other["output"]);
        let warm = |line: &Value| line["probabilities"]["warm"].as_f64().unwrap();
        assert!((warm(one) - warm(other)).abs() < 1e-4, "{one} and {other}");
    }
    let numbers = project.json("outputs/p/measured/metrics.json");
    assert!(numbers["headline"]["pearson.pearson"].as_f64().unwrap() > 0.9, "{numbers}");
    assert!(numbers["headline"]["spearman.spearman"].as_f64().unwrap() > 0.8, "{numbers}");
    let found = project.json("outputs/p/found/metrics.json");
    assert_eq!((&found["rows"], &found["metrics"]["squad_v2"]["total"]), (&json!(10), &json!(10.0)));
    assert!(found["headline"]["squad_v2.exact"].as_f64().unwrap() >= 80.0, "{found}");
    project.run(&[]).exit(0).did(&[]);
    heads_answer_what_is_typed(&project);
}

/// `engine try` says of the first test row what the evaluate stages wrote of it.
fn heads_answer_what_is_typed(project: &Project) {
    let row = &lines_of(project, "data/test.jsonl")[0];
    let first = format!("first={}", row["first"].as_str().unwrap());
    let second = format!("{}\n", row["second"].as_str().unwrap());
    let said = |stage: &str| typed(project, &[stage, "--field", &first], &second).exit(0).out.clone();
    let classified = &lines_of(project, "outputs/p/classified/method=lora/predictions.jsonl")[0];
    let probability = |class: &str| classified["probabilities"][class].as_f64().unwrap();
    let mut classes = ["cold", "warm"].map(|class| (probability(class), class));
    classes.sort_by(|one, other| other.0.total_cmp(&one.0));
    assert_eq!(said("classes[method=lora]"), classes.map(|(p, class)| format!("{p:.4}  {class}\n")).concat());
    let number = lines_of(project, "outputs/p/measured/predictions.jsonl")[0]["output"].as_f64().unwrap();
    assert_eq!(said("numbers"), format!("{number:.4}\n"));
    let word = lines_of(project, "outputs/p/found/predictions.jsonl")[0]["output"].as_str().unwrap().to_owned();
    let start = second.find(&word).unwrap();
    assert_eq!(said("places"), format!("{word}  (bytes {start} to {})\n", start + word.len()));
}

#[test]
fn what_does_not_go_together_is_said() {
    worker();
    let project = texts();
    let cases = [
        (
            ("objective: classify", "objective: language_model"),
            "classes[method=full]",
            "templates/kind.jinja has no block `completion` or `pairs`, which the objective `language_model` of `classes` needs",
        ),
        (("model: classes\n", "model: bert\n"), "classified", "the model has no head for the classification of texts"),
        (("form: text\n", "form: {text: {labels: [hot, cold]}}\n"), "tokens[task=kind]", "the label `warm` is none"),
        (("class: warm", "class: wram"), "classified[method=full]", "did you mean `warm`?"),
        (("windows: {stride: 1}", "truncate: second"), "tokens[task=kind]", "`second` is no text that can be cut"),
    ];
    for ((from, to), member, problem) in cases {
        assert!(TEXTS.contains(from), "{from}");
        project.pipeline(&TEXTS.replacen(from, to, 1));
        let stage = member.split('[').next().unwrap();
        let said = project.engine(&["run", "pipelines/p.yaml", "--until", stage, "--keep-going"]);
        let text = format!("{}{}", said.out, said.err).replace("\n", " ");
        let text = text.split([' ', '│']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        assert!(text.contains(problem), "{from} → {to}: {text}");
    }
}

pub const WRITTEN: &str = r#"
stages:
  t5: {kind: download, from: {path: t5}}
  raw: {kind: download, from: {path: data}}
  rows:
    kind: preprocess
    input: raw
    template: ask.jinja
    splits: {train: {from: train}, test: {from: test}}
  tokens:
    kind: tokenize
    input: rows
    tokenizer: t5
    form: seq2seq
    max_length: {prompt: 12, completion: 4}
  tuned:
    kind: train
    resources: {cpu: 1}
    model: t5
    data: tokens
    objective: {seq2seq: {normalize: rows}}
    adapter: {lora: {rank: 4, alpha: 8, targets: [encoder.attention.q, attention.v, mlp.up, mlp.down]}}
    steps: 150
    batch: {size: 8, micro: 4}
    optimizer: {adamw: {learning_rate: 2e-2}}
    clip: 1.0
  answers:
    kind: evaluate
    resources: {cpu: 1}
    model: tuned
    data: tokens/test
    protocol: {generate: {max_new_tokens: 4}}
    metrics: [squad_v2]
  likelihoods:
    kind: evaluate
    resources: {cpu: 1}
    model: [t5, tuned]
    data: tokens/test
    protocol: {perplexity: {loss_on: completion}}
    metrics: [perplexity]
"#;

#[test]
fn an_encoder_decoder_learns_to_answer() {
    worker();
    let project = Project::new(WRITTEN);
    model(&project, "t5", "t5/v1_1", &t5_tokenizer());
    project.file("data/train.jsonl", &rows(40)).file("data/test.jsonl", &rows(10));
    project.file(
        "templates/ask.jinja",
        "{% block prompt %}{{ second }}{% endblock %}{% block completion %}{{ kind }}{% endblock %}{% block references \
         %}{{ [kind]|tojson }}{% endblock %}",
    );
    project.run(&[]).exit(0);
    let metrics = project.json("outputs/p/answers/metrics.json");
    assert!(metrics["headline"]["squad_v2.exact"].as_f64().unwrap() >= 80.0, "{metrics}");
    let rows = lines_of(&project, "outputs/p/answers/predictions.jsonl");
    let question = lines_of(&project, "data/test.jsonl")[0]["second"].as_str().unwrap().to_owned();
    let said = typed(&project, &["tuned"], &format!("{question}\n"));
    assert_eq!(said.exit(0).out.trim_end(), rows[0]["output"].as_str().unwrap().trim_end());
    assert!(rows.iter().filter(|row| row["ended"] == true).count() >= 8, "answers end: {rows:?}");
    let config = project.json("outputs/p/tuned/adapter_config.json");
    assert_eq!(config["task_type"], "SEQ_2_SEQ_LM");
    let perplexity = |model: &str| {
        let metrics = project.json(&format!("outputs/p/likelihoods/model={model}/metrics.json"));
        metrics["headline"]["perplexity.perplexity"].as_f64().unwrap()
    };
    assert!(perplexity("tuned") < 2.0 && perplexity("t5") > 10.0, "{}, {}", perplexity("tuned"), perplexity("t5"));
    let all = ["run", "pipelines/p.yaml", "--set", "stages.likelihoods.protocol.perplexity.loss_on=all"];
    project.engine(&all).exit(1).warns(&["an encoder–decoder writes no prompt"]);
}
