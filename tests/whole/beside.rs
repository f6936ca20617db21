//! Methods that put something beside a model: trained, evaluated, trained on, and merged where they can be.

use crate::{
    project::{FILE, Project, worker},
    tiny::{self, DATA, TRAINING},
};

const METHODS: [&str; 8] = ["ia3", "vera", "houlsby", "pfeiffer", "parallel", "series", "lora_fa", "dora_frozen"];

const STUDY: &str = r#"
  tuned:
    kind: train
    resources: {cpu: 1}
    matrix:
      method:
        ia3: ia3
        lora_fa: {lora_fa: {rank: 2, alpha: 4, gradient: projected, targets: all-linear}}
        dora_frozen: {dora: {rank: 2, alpha: 4, a: frozen, targets: all-linear}}
        vera: {vera: {rank: 8, dropout: 0.1, targets: all-linear}}
        houlsby: {bottleneck: {houlsby: {size: {units: 4}, dropout: 0.1}}}
        pfeiffer: {bottleneck: {pfeiffer: {layer_norm: before}}}
        parallel: {bottleneck: {parallel: {leave_out: [0]}}}
        series: {bottleneck: {series_linear: {size: 4, targets: [mlp.gate, mlp.up, mlp.down]}}}
    model: base
    data: tokens
    adapter: "${matrix.method}"
    steps: 6
    batch: {size: 8, micro: 4}
    optimizer: {adamw: {learning_rate: 3e-2}}
  further:
    kind: train
    resources: {cpu: 1}
    model: base
    data: tokens
    adapter: {from: tuned}
    steps: 1
    optimizer: {adamw: {learning_rate: 1e-12}}
  surprise:
    kind: evaluate
    resources: {cpu: 1}
    model: [base, tuned, further]
    data: tokens/test
    protocol: {perplexity: {loss_on: all}}
    metrics: [perplexity]
  answers:
    kind: evaluate
    resources: {cpu: 1}
    model: tuned
    data: tokens/test
    protocol: {generate: {decode: greedy, max_new_tokens: 3}}
    metrics: [{squad_v2: {no_answer: "none"}}]
  whole:
    kind: merge
    resources: {cpu: 1}
    model: tuned[method=vera]
  merged:
    kind: evaluate
    resources: {cpu: 1}
    model: whole
    data: tokens/test
    protocol: {perplexity: {loss_on: all}}
    metrics: [perplexity]
"#;

fn base() -> &'static str {
    TRAINING.split("  tuned:").next().unwrap()
}

fn perplexity(project: &Project, stage: &str) -> f64 {
    let metrics = project.json(&format!("outputs/p/{stage}/metrics.json"));
    metrics["headline"]["perplexity.perplexity"].as_f64().unwrap()
}

#[test]
fn they_are_trained_evaluated_and_trained_on() {
    worker();
    let project = tiny::with_rows(&format!("{DATA}{}{STUDY}", base()));
    project.run(&[]).exit(0);
    let estimate = project.engine(&["estimate", FILE, "--json"]).exit(0).out.clone();
    let before = perplexity(&project, "surprise/model=base");
    for method in METHODS {
        let after = perplexity(&project, &format!("surprise/model=tuned,method={method}"));
        assert!((after / before - 1.0).abs() > 1e-4, "{method} changes nothing: {before}, {after}");
        let further = perplexity(&project, &format!("surprise/model=further,method={method}"));
        assert!((after / further - 1.0).abs() < 1e-4, "{method}: {after}, trained on {further}");
        let summary = project.json(&format!("outputs/p/tuned/method={method}/summary.json"));
        let trained = summary["trainable_parameters"].to_string();
        // It goes on as what it was, with a frozen A where it had one.
        let after = project.json(&format!("outputs/p/further/method={method}/summary.json"));
        assert_eq!(after["trainable_parameters"].to_string(), trained, "{method}");
        let estimated = estimate.lines().find(|line| line.contains(&format!("tuned[method={method}]"))).unwrap();
        assert!(estimated.contains(&format!("\"trainable_parameters\":{trained}")), "{trained}, {estimated}");
    }
    let (beside, merged) = (perplexity(&project, "surprise/model=tuned,method=vera"), perplexity(&project, "merged"));
    assert!((beside / merged - 1.0).abs() < 1e-5, "{beside}, merged {merged}");
    let files = project.left("tuned/method=houlsby");
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(names, ["adapter.safetensors", "adapter_config.json", "history.jsonl", "summary.json"]);
}

#[test]
fn what_cannot_be_merged_is_not_merged_and_nothing_else_is_trained_on_it() {
    let bottleneck = r#"
  tuned:
    kind: train
    resources: {cpu: 1}
    model: base
    data: tokens
    adapter: {bottleneck: pfeiffer}
    steps: 1
  further:
    kind: train
    resources: {cpu: 1}
    model: base
    data: tokens
    adapter: {from: tuned}
    steps: 1
"#;
    for above in [
        "  whole: {kind: merge, model: tuned}",
        "  whole: {kind: merge, model: further}",
        "  above: {kind: train, model: further, data: tokens, adapter: {lora: {rank: 2, alpha: 4, targets: [attention.q]}}, steps: 1}",
    ] {
        let project = tiny::with_rows(&format!("{DATA}{}{bottleneck}{above}\n", base()));
        let problem = ["what `bottleneck` adds to the model of", "is no part of its weights", "needs no merging"];
        project.engine(&["check", FILE]).exit(2).warns(&problem);
    }
}
