//! Methods that are as large as another: what size is chosen, by counts that are worked out by hand, where it is said, and
//! that nothing else changes by it.

use serde_json::{Value, json};

use crate::{
    project::{FILE, worker},
    tiny::{self, DATA, TRAINING},
};

/// In a Llama of 2 layers with 16-wide states and MLPs of 32, LoRA of rank 2 on queries and values trains
/// 2 · 2 · 2 · (16 + 16) = 256 numbers.
const STUDY: &str = r#"
  tuned:
    kind: train
    resources: {cpu: 1}
    matrix:
      method:
        prompt: {prompt: {tokens: {parameters_like: {lora: {rank: 2}}}}}
        prefix: {prefix: {tokens: {parameters_like: {lora: {rank: 2}}}}}
        pfeiffer: {bottleneck: {pfeiffer: {size: {parameters_like: {lora: {rank: 2}}}}}}
        series: {bottleneck: {series_linear: {size: {parameters_like: {lora: {rank: 2}}}, targets: [mlp.up]}}}
        vera: {vera: {rank: {parameters_like: {lora: {rank: 2}}}, targets: [attention.q, attention.v]}}
        dora: {dora: {rank: {parameters_like: {lora: {rank: 2}}}, alpha: 4, targets: [attention.q, attention.v]}}
        wide: {lora: {rank: {parameters_like: {lora: {rank: 8}}}, alpha: 4, targets: all-linear}}
        lora_fa: {lora_fa: {rank: {parameters_like: {ia3: {}}}, alpha: 4, targets: [mlp.down]}}
    model: base
    data: tokens
    adapter: "${matrix.method}"
    steps: 1
    batch: {size: 8}
  written:
    kind: train
    resources: {cpu: 1}
    model: base
    data: tokens
    adapter: {prompt: {tokens: 16}}
    steps: 1
    batch: {size: 8}
"#;

/// Member, setting, size and count; the other method and its count.
const CHOSEN: [(&str, &str, u64, u64, &str, u64); 8] = [
    // 16 numbers a token.
    ("prompt", "prompt.tokens", 16, 256, "lora", 256),
    // 2 layers, keys and values, 16 numbers each.
    ("prefix", "prefix.tokens", 4, 256, "lora", 256),
    // 2 · (16n + n + 16n + 16): 230 with 3, 296 with 4.
    ("pfeiffer", "bottleneck.pfeiffer.size", 3, 230, "lora", 256),
    // 2 · (16n + 16n) before the map up.
    ("series", "bottleneck.series_linear.size", 4, 256, "lora", 256),
    // 4 · (16 + n).
    ("vera", "vera.rank", 48, 256, "lora", 256),
    // 4 · (32n + 16): 192 with 1 and 320 with 2, both as near.
    ("dora", "dora.rank", 1, 192, "lora", 256),
    // 2 · (4 · 32 + 3 · 48) = 544 a rank, of 1024.
    ("wide", "lora.rank", 2, 1088, "lora", 1024),
    // B alone: 2 · 16 a rank. Scales of keys, values and the inputs of the map down: 2 · (16 + 16 + 32).
    ("lora_fa", "lora_fa.rank", 4, 128, "ia3", 128),
];

#[test]
fn a_size_is_chosen_by_a_count_and_is_said_wherever_it_matters() {
    worker();
    let base = TRAINING.split("  tuned:").next().unwrap();
    let project = tiny::with_rows(&format!("{DATA}{base}{STUDY}"));
    project.run(&["--until", "base"]).exit(0);
    let forecast = project.engine(&["estimate", FILE, "tuned", "--json"]).exit(0).out.clone();
    let table = project.engine(&["estimate", FILE, "tuned"]).exit(0).out.clone();
    let ran = project.run(&[]);
    ran.exit(0);
    for (member, setting, size, parameters, like, like_parameters) in CHOSEN {
        let chosen = json!({
            "setting": setting, "size": size, "parameters": parameters, "like": like, "like_parameters": like_parameters,
        });
        let summary = project.json(&format!("outputs/p/tuned/method={member}/summary.json"));
        assert_eq!(summary["chosen_size"], chosen, "{member}");
        assert_eq!(summary["trainable_parameters"], parameters, "{member}");
        let line = forecast.lines().find(|line| line.contains(&format!("[method={member}]"))).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["forecast"]["chosen_size"], chosen, "{member}");
        assert_eq!(line["forecast"]["trainable_parameters"], parameters, "{member}");
        let said = format!("`{setting}` is {size}: it trains {parameters} numbers, `{like}` would train");
        assert!(table.contains(&said), "{table}");
        assert!(ran.said.out.contains(&said), "{}", ran.said.out);
    }
    let config = |folder: &str| project.json(&format!("outputs/p/{folder}/adapter_config.json"));
    assert_eq!(config("tuned/method=dora")["r"], 1);
    assert_eq!(
        config("tuned/method=pfeiffer")["config"]["reduction_factor"].as_f64().map(|f| (16.0 / f) as i64),
        Some(3)
    );
    // The same as if the number had been written.
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        let read = |folder: &str| std::fs::read(project.path(&format!("outputs/p/{folder}/{file}"))).unwrap();
        assert!(read("tuned/method=prompt") == read("written"), "{file}");
    }
    assert!(project.json("outputs/p/written/summary.json").get("chosen_size").is_none());
}

#[test]
fn where_no_size_comes_near_the_stage_fails_and_says_so() {
    worker();
    let base = TRAINING.split("  tuned:").next().unwrap();
    let small = r#"
  tuned:
    kind: train
    resources: {cpu: 1}
    model: base
    data: tokens
    adapter: {lora: {rank: {parameters_like: {vera: {rank: 1, targets: [attention.q]}}}, alpha: 1, targets: all-linear}}
    steps: 1
"#;
    let project = tiny::with_rows(&format!("{DATA}{base}{small}"));
    let problem = ["cannot be like `vera`, which would train 34 numbers", "trains 544 already"];
    let ran = project.run(&[]);
    ran.exit(1).failed(&["tuned"]);
    ran.fails_with(&problem);
    project.engine(&["estimate", FILE, "tuned"]).exit(1).warns(&problem);
}
