//! `kind: merge`: a plain model from an adapter, and that it answers as the adapter does.

use serde_json::Value;

use crate::{
    project::worker,
    tiny::{self, DATA, TRAINING},
};

#[test]
fn a_merged_model_answers_as_its_adapter_and_can_be_trained_on() {
    worker();
    let merging = r#"
  whole:
    kind: merge
    resources: {cpu: 1}
    model: tuned
  again:
    kind: evaluate
    resources: {cpu: 1}
    model: whole
    data: tokens/test
    protocol: {perplexity: {loss_on: all}}
    metrics: [perplexity]
  before:
    kind: evaluate
    resources: {cpu: 1}
    model: tuned
    data: tokens/test
    protocol: {perplexity: {loss_on: all}}
    metrics: [perplexity]
  further:
    kind: train
    resources: {cpu: 1}
    model: whole[method=dora]
    data: tokens
    adapter: {lora: {rank: 2, alpha: 4, targets: [attention.q]}}
    steps: 2
    batch: {size: 8}
"#;
    let training = TRAINING.split("  scores:").next().unwrap();
    let project = tiny::with_rows(&format!("{DATA}{training}{merging}"));
    project.run(&[]).exit(0);
    let json = |path: &str| serde_json::from_str::<Value>(&project.text(path)).unwrap();
    for method in ["lora", "dora"] {
        let files = project.left(&format!("whole/method={method}"));
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["config.json", "generation_config.json", "model.safetensors", "special_ids.json", "tokenizer.json"]
        );
        let error =
            json(&format!("outputs/p/whole.observed/method={method}/measured.json"))["merge_error"].as_f64().unwrap();
        assert!(error < 1e-5, "{method}: {error}");
        let perplexity = |stage: &str| {
            let metrics = json(&format!("outputs/p/{stage}/method={method}/metrics.json"));
            metrics["headline"]["perplexity.perplexity"].as_f64().unwrap()
        };
        let (before, after) = (perplexity("before"), perplexity("again"));
        assert!((before / after - 1.0).abs() < 1e-5, "{method}: {before} {after}");
    }
    // The two methods moved apart: a merge that forgot the adapter would show.
    let lora = project.left("whole/method=lora");
    assert_ne!(lora["model.safetensors"], project.left("whole/method=dora")["model.safetensors"]);
    assert_ne!(lora["model.safetensors"], project.left("base")["model.safetensors"]);
    let base = project.left("base");
    assert_eq!(lora["tokenizer.json"], base["tokenizer.json"]);
}
