//! Prompts that train, through the engine: beside a frozen model, evaluated unmerged, and what cannot be done with them.

use serde_json::Value;

use crate::{
    encoders::{model, rows, t5_tokenizer},
    project::{FILE, Project, worker},
    tiny::{self, DATA},
};

/// A prompt with each first value, on a model that was trained for a few steps.
const PROMPTS: &str = r#"
  base:
    kind: train
    resources: {cpu: 1}
    model: {random: {llama: {hidden_size: 16, intermediate_size: 32, num_hidden_layers: 2, num_attention_heads: 2, max_position_embeddings: 96}}}
    data: tokens
    adapter: full
    steps: 10
    batch: {size: 8}
    optimizer: {adamw: {learning_rate: 1e-2}}
  tuned:
    kind: train
    resources: {cpu: 1}
    matrix:
      init:
        random: random
        vocabulary: vocabulary
        text: {text: "thing 1 is red"}
    model: base
    data: tokens
    adapter: {prompt: {tokens: 6, init: "${matrix.init}"}}
    steps: 80
    batch: {size: 8, micro: 4}
    optimizer: {adamw: {learning_rate: 3e-2}}
  scores:
    kind: evaluate
    resources: {cpu: 1}
    model: [base, tuned]
    data: tokens/test
    protocol: {perplexity: {loss_on: completion}}
    metrics: [perplexity]
  answers:
    kind: evaluate
    resources: {cpu: 1}
    model: tuned[init=text]
    data: tokens/test
    protocol: {generate: {decode: greedy, max_new_tokens: 3}}
    metrics: [{squad_v2: {no_answer: "none"}}]
"#;

const PREFIXES: &str = r#"
  beside:
    kind: train
    resources: {cpu: 1}
    matrix:
      method:
        plain: {prefix: {tokens: 6}}
        projected: {prefix: {tokens: 6, projection: {width: 24}}}
    model: base
    data: tokens
    adapter: "${matrix.method}"
    steps: 80
    batch: {size: 8, micro: 4}
    optimizer: {adamw: {learning_rate: 3e-2}}
  likelihoods:
    kind: evaluate
    resources: {cpu: 1}
    model: [base, beside]
    data: tokens/test
    protocol: {perplexity: {loss_on: completion}}
    metrics: [perplexity]
  written:
    kind: evaluate
    resources: {cpu: 1}
    model: beside[method=projected]
    data: tokens/test
    protocol: {generate: {decode: greedy, max_new_tokens: 3}}
    metrics: [{squad_v2: {no_answer: "none"}}]
"#;

const BEYOND: [&str; 2] = [
    r#"
  whole:
    kind: merge
    model: tuned[init=random]
"#,
    r#"
  further:
    kind: train
    resources: {cpu: 1}
    model: tuned[init=random]
    data: tokens
    adapter: {lora: {rank: 2, alpha: 4, targets: all-linear}}
    steps: 2
"#,
];

/// The loss of the last steps is less than that of the first ones.
fn learned(project: &Project, folder: &str) {
    let history = project.text(&format!("{folder}/history.jsonl"));
    let line = |line: &str| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64();
    let losses: Vec<f64> = history.lines().filter_map(line).collect();
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    let (first, last) = (mean(&losses[..10]), mean(&losses[losses.len() - 10..]));
    assert!(last < first, "{folder}: {last} after {first}");
}

#[test]
fn prompts_train_and_are_evaluated_as_they_are() {
    worker();
    let project = tiny::with_rows(&format!("{DATA}{PROMPTS}"));
    project.run(&[]).exit(0);
    let perplexity = |member: &str| {
        let metrics = project.json(&format!("outputs/p/scores/{member}/metrics.json"));
        metrics["headline"]["perplexity.perplexity"].as_f64().unwrap_or_else(|| panic!("{metrics}"))
    };
    let base = perplexity("model=base");
    for init in ["random", "vocabulary", "text"] {
        let folder = format!("outputs/p/tuned/init={init}");
        let config = project.json(&format!("{folder}/adapter_config.json"));
        assert_eq!(config["peft_type"], "PROMPT_TUNING");
        assert_eq!(config["num_virtual_tokens"], 6);
        let summary = project.json(&format!("{folder}/summary.json"));
        assert_eq!(summary["trainable_parameters"], 6 * 16, "{summary}");
        learned(&project, &folder);
        let tuned = perplexity(&format!("model=tuned,init={init}"));
        assert!(tuned < 1.5 * base, "{init}: {tuned}, and {base} without it");
    }
    let config = project.json("outputs/p/tuned/init=text/adapter_config.json");
    assert_eq!(config["prompt_tuning_init_text"], "thing 1 is red");
    assert!(project.text("outputs/p/answers/predictions.jsonl").lines().count() == 6);
    project.run(&[]).exit(0).did(&[]);
}

#[test]
fn prefixes_train_and_are_evaluated_as_they_are() {
    worker();
    let project = tiny::with_rows(&format!("{DATA}{PROMPTS}{PREFIXES}"));
    project.run(&["--until", "likelihoods"]).exit(0);
    project.run(&["--until", "written"]).exit(0);
    let perplexity = |member: &str| {
        let metrics = project.json(&format!("outputs/p/likelihoods/{member}/metrics.json"));
        metrics["headline"]["perplexity.perplexity"].as_f64().unwrap_or_else(|| panic!("{metrics}"))
    };
    let base = perplexity("model=base");
    // Two layers, key and value of two heads of width 8; with maps from 16 to 24 to as many, and their biases.
    for (method, trained) in [("plain", 6 * 64), ("projected", 6 * 16 + 24 * (16 + 1) + 64 * (24 + 1))] {
        let folder = format!("outputs/p/beside/method={method}");
        let config = project.json(&format!("{folder}/adapter_config.json"));
        assert_eq!((&config["peft_type"], &config["token_dim"]), (&"PREFIX_TUNING".into(), &16.into()));
        let summary = project.json(&format!("{folder}/summary.json"));
        assert_eq!(summary["trainable_parameters"], trained, "{summary}");
        learned(&project, &folder);
        let tuned = perplexity(&format!("model=beside,method={method}"));
        assert!(tuned < 1.5 * base, "{method}: {tuned}, and {base} without it");
    }
}

#[test]
fn a_prompt_is_no_weight() {
    worker();
    for stage in BEYOND {
        let project = tiny::with_rows(&format!("{DATA}{PROMPTS}{stage}"));
        let problem = ["what `prompt` adds to the model of `tuned` is no part of its weights", "needs no merging"];
        project.engine(&["check", FILE]).exit(2).warns(&problem);
        project.engine(&["run", FILE, "--until", "raw"]).exit(2).warns(&problem);
    }
}

#[test]
fn a_prompt_counts_among_the_positions() {
    worker();
    let project = tiny::with_rows(&format!("{DATA}{PROMPTS}").replace("tokens: 6", "tokens: 96"));
    let ran = project.run(&["--until", "tuned[init=random]"]);
    ran.failed(&["tuned[init=random]"]).fails_with(&["adapter.prompt.tokens", "are 96", "positions for 96"]);
}

/// As the ruT5 study trains: LoRA on queries and values beside a prompt of the text that is read.
const ANSWERED: &str = r#"
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
    adapter:
      - {lora: {rank: 4, alpha: 8, targets: [attention.q, attention.v]}}
      - {prompt: {tokens: 5, init: {text: "what is warm"}}}
    gradient_checkpointing: true
    steps: 250
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
"#;

#[test]
fn an_encoder_decoder_learns_with_lora_and_a_prompt_together() {
    worker();
    let project = Project::new(ANSWERED);
    model(&project, "t5", "t5/v1_1", &t5_tokenizer());
    project.file("data/train.jsonl", &rows(40)).file("data/test.jsonl", &rows(10));
    project.file(
        "templates/ask.jinja",
        "{% block prompt %}{{ second }}{% endblock %}{% block completion %}{{ kind }}{% endblock %}{% block references \
         %}{{ [kind]|tojson }}{% endblock %}",
    );
    project.run(&["--until", "answers"]).exit(0);
    let metrics = project.json("outputs/p/answers/metrics.json");
    assert!(metrics["headline"]["squad_v2.exact"].as_f64().unwrap() >= 80.0, "{metrics}");
    let text = project.text("outputs/p/tuned/adapters.json");
    assert_eq!(text.split_whitespace().collect::<String>(), r#"["lora","prompt"]"#);
    let config = project.json("outputs/p/tuned/prompt/adapter_config.json");
    assert_eq!(config["task_type"], "SEQ_2_SEQ_LM");
    assert_eq!((&config["num_transformer_submodules"], &config["num_virtual_tokens"]), (&1.into(), &5.into()));
    let summary = project.json("outputs/p/tuned/summary.json");
    // Eight attentions with two maps of rank 4 between 16 and 18 numbers, and the prompt.
    assert_eq!(summary["trainable_parameters"], 8 * 2 * 4 * (16 + 18) + 5 * 16, "{summary}");
    project.file(FILE, &format!("{ANSWERED}  whole: {{kind: merge, model: tuned}}\n"));
    project.engine(&["check", FILE]).exit(2).warns(&["what `prompt` adds to the model of `tuned`", "cannot be merged"]);
}
