//! Snapshots, what an `inspect` stage finds of them, and how a report shows it, through the engine with real tensors.

use serde_json::Value;

use crate::{
    project::{Project, worker},
    tiny::{self, DATA},
};

const STAGES: &str = r#"
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
        lora2: {lora: {rank: 2, alpha: 4, targets: [attention.q, attention.v]}}
        lora4: {lora: {rank: 4, alpha: 8, targets: [attention.q, attention.v]}}
        dora: {dora: {rank: 2, alpha: 4, targets: [attention.q, attention.v]}}
        full: full
        prompt: {prompt: {tokens: 2}}
      seed: [0, 1]
      exclude: [{method: dora, seed: 1}, {method: full, seed: 1}, {method: prompt, seed: 1}]
    model: base
    data: tokens
    adapter: "${matrix.method}"
    seed: "${matrix.seed}"
    steps: 4
    batch: {size: 8}
    optimizer: {adamw: {learning_rate: 1e-2}}
    snapshots: {every: {steps: 2}}
  looked_at:
    kind: inspect
    resources: {cpu: 1}
    models: tuned
    analyses: [update_norms, {subspaces: {of: a}}, amplification, magnitude_direction]
  report:
    kind: report
    inputs: [tuned, looked_at]
"#;

fn project() -> Project {
    tiny::with_rows(&format!("{DATA}{STAGES}"))
}

const MEMBERS: [&str; 7] = [
    "tuned[method=dora,seed=0]",
    "tuned[method=full,seed=0]",
    "tuned[method=lora2,seed=0]",
    "tuned[method=lora2,seed=1]",
    "tuned[method=lora4,seed=0]",
    "tuned[method=lora4,seed=1]",
    "tuned[method=prompt,seed=0]",
];

#[test]
fn from_snapshots_to_a_report_and_nothing_again() {
    worker();
    let project = project();
    let all: Vec<&str> = ["base", "looked_at", "raw", "report", "rows", "tokens"].into_iter().chain(MEMBERS).collect();
    let mut sorted = all.clone();
    sorted.sort_unstable();
    project.run(&[]).exit(0).did(&sorted);
    let names: Vec<String> = project.left("tuned/method=dora,seed=0").into_keys().collect();
    for step in ["000000", "000002", "000004"] {
        let name = format!("snapshots/step-{step}/adapter_model.safetensors");
        assert!(names.contains(&name), "{names:?}");
    }
    let found: Value = serde_json::from_str(&project.text("outputs/p/looked_at/inspection.json")).unwrap();
    let count = |part: &str| found[part].as_array().unwrap().len();
    // Four matrices of five adapters at three steps, and all linear maps of two layers of the one that trained whole.
    assert_eq!(count("update_norms"), 5 * 4 * 3 + 2 * 7 * 3);
    assert_eq!(count("magnitude_direction"), count("update_norms"));
    assert_eq!(count("subspaces"), 10 * 4, "each pair of the five that have an A");
    assert_eq!(count("amplification"), 5 * 4 + 2 * 7);
    let left_out = found["left_out"].to_string();
    assert!(left_out.contains("method=prompt") && left_out.contains("full fine-tuning has no A"), "{left_out}");
    for entry in found["update_norms"].as_array().unwrap() {
        let (step, norm) = (entry["step"].as_u64().unwrap(), entry["norm"].as_f64().unwrap());
        assert_eq!(step > 0, norm > 1e-5, "{entry}");
    }
    let names: Vec<String> = project.left("looked_at").into_keys().collect();
    let tables = [
        "amplification.csv",
        "correlations.csv",
        "inspection.json",
        "magnitude_direction.csv",
        "subspaces.csv",
        "update_norms.csv",
    ];
    assert_eq!(names, tables);

    let report = project.text("outputs/p/report/report.md");
    for word in [
        "## What training did to weights: looked\\_at",
        "| lora2 · 0 | lora | 4 | 4 |",
        "| full · 0 | full | 4 | 14 |",
        "| lora2 · 0 and lora4 · 1 | 4 |",
        "Left out: tuned\\[method=prompt,seed=0\\].",
        "### Magnitude and direction",
    ] {
        assert!(report.contains(word), "no `{word}` in\n{report}");
    }
    let page = project.text("outputs/p/report/report.html");
    for word in [
        "by layer",
        "φ(i, j) of A: lora2 · 0 (i), lora4 · 0 (j)",
        "ΔM against ΔD: dora · 0",
        "class=\"cell\"",
        "by step",
    ] {
        assert!(page.contains(word), "no `{word}` in the page");
    }
    project.run(&[]).exit(0).did(&[]);

    // Another analysis trains nothing again; another interval of snapshots looks again.
    let more = STAGES.replace("amplification, magnitude_direction", "magnitude_direction");
    project.pipeline(&format!("{DATA}{more}"));
    project.run(&[]).exit(0).did(&["looked_at", "report"]);
    let left = project.left("tuned/method=lora2,seed=0");
    project.pipeline(&format!("{DATA}{}", STAGES.replace("    snapshots: {every: {steps: 2}}\n", "")));
    let ran = project.run(&["--until", "tuned[method=lora2,seed=0]"]);
    ran.exit(0).did(&["tuned[method=lora2,seed=0]"]);
    assert_eq!(ran.why("tuned[method=lora2,seed=0]"), ["snapshots.every.steps"]);
    for (name, digest) in project.left("tuned/method=lora2,seed=0") {
        assert_eq!(left.get(&name), Some(&digest), "{name} does not depend on snapshots");
    }
}

#[test]
fn what_can_only_be_left_out_fails_with_the_reasons() {
    worker();
    let stages =
        STAGES.replace("models: tuned", "models: \"tuned[method=prompt]\"").replace("inputs: [tuned, ", "inputs: [");
    let project = tiny::with_rows(&format!("{DATA}{stages}"));
    let ran = project.run(&["--until", "looked_at"]);
    ran.failed(&["looked_at"]).fails_with(&["no member can be looked at", "`prompt` adds no matrix", "`lora`"]);
}

#[test]
fn a_report_may_be_of_an_inspection_alone() {
    worker();
    let stages = STAGES
        .replace("models: tuned", "models: [\"tuned[method=lora2]\", base]")
        .replace("inputs: [tuned, looked_at]", "inputs: [looked_at]");
    let project = tiny::with_rows(&format!("{DATA}{stages}"));
    project.run(&["--until", "report"]).exit(0).did(&[
        "base",
        "looked_at",
        "raw",
        "report",
        "rows",
        "tokens",
        "tuned[method=lora2,seed=0]",
        "tuned[method=lora2,seed=1]",
    ]);
    let report = project.text("outputs/p/report/report.md");
    assert!(report.contains("Left out: base. Full fine-tuning keeps nothing of what it began with"), "{report}");
    assert!(report.contains("| 0 and 1 | 4 |"), "{report}");
}

#[test]
fn a_snapshot_is_scored_as_a_trained_stage_is() {
    worker();
    let scores = r#"
  final:
    kind: evaluate
    resources: {cpu: 1}
    model: [base, "tuned[method=dora,seed=0]"]
    data: tokens/test
    protocol: {perplexity: {loss_on: all}}
    metrics: [perplexity]
  on_the_way:
    kind: evaluate
    resources: {cpu: 1}
    matrix: {step: ["000000", "000002", "000004"]}
    model: "tuned[method=dora,seed=0]/snapshots/step-${matrix.step}"
    data: tokens/test
    protocol: {perplexity: {loss_on: all}}
    metrics: [perplexity]
"#;
    let project = tiny::with_rows(&format!("{DATA}{STAGES}{scores}"));
    project.run(&["--until", "final"]).exit(0);
    project.run(&["--until", "on_the_way"]).exit(0);
    let of = |member: &str| project.json(&format!("outputs/p/{member}/metrics.json"))["headline"].clone();
    let steps = ["000000", "000002", "000004"].map(|step| of(&format!("on_the_way/step={step}")));
    assert_eq!(steps[2], of("final/model=tuned"), "the last is what the training left");
    assert_ne!(steps[1], steps[2]);
    let perplexity = |headline: &Value| headline["perplexity.perplexity"].as_f64().unwrap();
    let untrained = perplexity(&of("final/model=base"));
    assert!((perplexity(&steps[0]) / untrained - 1.0).abs() < 1e-5, "the first is the base: {} {untrained}", steps[0]);
}
