//! A Phi-3 through the engine: slices of its fused maps are trained, trained on, forecast, merged, exported and scored.

use serde_json::json;

use crate::{
    encoders::{model, rows, t5_tokenizer},
    project::{FILE, Project, worker},
};

const STUDY: &str = r#"
vars: {fast: {adamw: {learning_rate: 1e-2}}, still: {adamw: {learning_rate: 1e-12}}}
stages:
  phi: {kind: download, from: {path: phi}}
  raw: {kind: download, from: {path: data}}
  rows:
    kind: preprocess
    input: raw
    template: ask.jinja
    splits: {train: {from: train}, test: {from: test}}
  tokens:
    kind: tokenize
    input: rows
    tokenizer: phi
    max_length: 24
  tuned:
    kind: train
    resources: {cpu: 1}
    matrix:
      method:
        lora: {lora: {rank: 2, alpha: 4, targets: [attention.q, attention.v], rank_pattern: {"qkv_proj.v": 3}}}
        dora: {dora: {rank: 2, alpha: 4, targets: [attention.k, mlp.gate]}}
        frozen: {lora_fa: {rank: 2, alpha: 4, targets: [attention.q, mlp.up]}}
        whole: {lora: {rank: 2, alpha: 4, targets: all-linear}}
        sized: {lora: {rank: {parameters_like: {lora: {rank: 2, targets: all-linear}}}, alpha: 4, targets: [attention.v]}}
    model: phi
    data: tokens
    adapter: ${matrix.method}
    steps: 6
    batch: {size: 8}
    optimizer: ${vars.fast}
  further:
    kind: train
    resources: {cpu: 1}
    model: phi
    data: tokens
    adapter: {from: tuned}
    steps: 1
    batch: {size: 8}
    optimizer: ${vars.still}
  merged: {kind: merge, resources: {cpu: 1}, model: tuned}
  scored:
    kind: evaluate
    resources: {cpu: 1}
    model: [phi, tuned, further, merged]
    data: tokens/test
    protocol: {perplexity: {loss_on: all}}
    metrics: [perplexity]
"#;

fn study(pipeline: &str) -> Project {
    let project = Project::new(pipeline);
    model(&project, "phi", "decoders/phi3", &t5_tokenizer());
    project.file("data/train.jsonl", &rows(40)).file("data/test.jsonl", &rows(8));
    let ask = "{% block prompt %}{{ first }}{% endblock %}{% block completion %} {{ second }}{% endblock %}";
    project.file("templates/ask.jinja", ask);
    project
}

#[test]
fn slices_are_trained_and_merged_as_other_maps_are() {
    worker();
    let project = study(STUDY);
    let estimate = project.engine(&["estimate", FILE, "--json"]).exit(0).out.clone();
    project.run(&[]).exit(0);
    let perplexity = |path: &str| {
        let metrics = project.json(&format!("outputs/p/scored/{path}/metrics.json"));
        metrics["headline"]["perplexity.perplexity"].as_f64().unwrap()
    };
    let base = perplexity("model=phi");
    for method in ["lora", "dora", "frozen", "whole", "sized"] {
        let of = |model: &str| perplexity(&format!("model={model},method={method}"));
        let tuned = of("tuned");
        assert!(tuned < 0.99 * base, "{method}: {tuned} of {base}");
        for model in ["further", "merged"] {
            assert!((of(model) / tuned - 1.0).abs() < 1e-5, "{model}, {method}: {} and {tuned}", of(model));
        }
        let folder = format!("outputs/p/tuned/method={method}");
        let summary = project.json(&format!("{folder}/summary.json"));
        let line = format!("\"trainable_parameters\":{}", summary["trainable_parameters"]);
        let member = format!("\"tuned[method={method}]\"");
        let forecast = estimate.lines().any(|found| found.contains(&member) && found.contains(&line));
        assert!(forecast, "{method} trains {line}: {estimate}");
        assert_eq!(project.path(&format!("{folder}/slices.json")).exists(), method != "whole", "{method}");
        // The same adapter, of the same method, is left by one who trains on.
        for file in ["adapter_config.json", "slices.json", "learned.json"] {
            let [one, two] = ["tuned", "further"]
                .map(|stage| std::fs::read(project.path(&format!("outputs/p/{stage}/method={method}/{file}"))).ok());
            assert_eq!(one, two, "{method}: {file}");
        }
    }
    let trained = |method: &str| {
        project.json(&format!("outputs/p/tuned/method={method}/summary.json"))["trainable_parameters"].as_f64().unwrap()
    };
    // Rank 2 on maps of 24 to 64, 32 to 24, 24 to 40 and 20 to 24 numbers, in two layers; one rank of the values is
    // 24 to 16.
    assert_eq!(trained("whole"), 2.0 * 2.0 * (24.0 + 64.0 + 32.0 + 24.0 + 24.0 + 40.0 + 20.0 + 24.0));
    assert_eq!(trained("sized"), 13.0 * 2.0 * (24.0 + 16.0));

    let left = project.json("outputs/p/tuned/method=lora/adapter_config.json");
    assert_eq!(left["target_modules"], json!(["qkv_proj"]));
    assert_eq!(left["rank_pattern"]["qkv_proj"], json!(5));
    project.engine(&["export", FILE, "tuned[method=lora]", "out/adapter"]).exit(0);
    for file in ["adapter_config.json", "adapter_model.safetensors", "slices.json", "slices.safetensors"] {
        assert!(project.path(&format!("out/adapter/{file}")).exists(), "{file}");
    }
    project.engine(&["export", FILE, "tuned[method=lora]", "out/whole", "--merge"]).exit(0);
    let merge = project.json("out/whole/merge.json");
    assert!(merge["merge_error"].as_f64().unwrap() < 1e-5, "{merge}");
}

#[test]
fn what_a_fused_map_cannot_be_is_said() {
    worker();
    let refused = |adapter: &str, words: &[&str]| {
        let head = STUDY.split("    matrix:\n").next().unwrap();
        let stage = "    model: phi\n    data: tokens\n    steps: 1\n";
        let project = study(&format!("{head}{stage}    adapter: {adapter}\n"));
        project.run(&[]).fails_with(words);
        project.engine(&["estimate", FILE, "tuned"]).exit(1).warns(words);
    };
    refused(
        "{lora: {rank: 2, alpha: 4, targets: {suffix: [v_proj]}}}",
        &["no linear map is called `v_proj`", "name this slice of `qkv_proj` by its role"],
    );
    refused(
        "{vera: {rank: 2, targets: [attention.q]}}",
        &["a slice of a fused map", "name the whole map: `{suffix: [qkv_proj]}`"],
    );
    refused(
        "[{lora: {rank: 2, alpha: 4, targets: [attention.q]}}, {dora: {rank: 2, alpha: 4, targets: {suffix: [qkv_proj]}}}]",
        &["as a whole and its slice", "not both"],
    );
}
