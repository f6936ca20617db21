//! Forecasts of memory beside what was measured, and outlines beside real models, for each family, method, precision and
//! way to keep activations.

use std::process::Command;

use serde_json::{Value, json};

use crate::measured;

/// What a process of its own is told: the words of [`measured::run`], a line each.
const WORDS: &str = "FORECAST_WORDS";

fn llama() -> Value {
    json!({
        "model_type": "llama", "hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 4000, "tie_word_embeddings": true,
        "initializer_range": 0.02, "rms_norm_eps": 1e-5, "max_position_embeddings": 512,
    })
}

fn phi() -> Value {
    json!({
        "model_type": "phi3", "hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 48, "vocab_size": 4000,
        "tie_word_embeddings": true, "initializer_range": 0.02, "rms_norm_eps": 1e-5, "max_position_embeddings": 512,
    })
}

fn gemma() -> Value {
    json!({
        "model_type": "gemma3_text", "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 32, "vocab_size": 6000,
        "query_pre_attn_scalar": 32, "sliding_window": 64, "sliding_window_pattern": 2, "rms_norm_eps": 1e-6,
    })
}

fn bert(model_type: &str) -> Value {
    json!({
        "model_type": model_type, "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4,
        "num_attention_heads": 4, "vocab_size": 4000, "max_position_embeddings": 258, "type_vocab_size": 2,
        "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
        "layer_norm_eps": 1e-12, "initializer_range": 0.02, "pad_token_id": 1,
    })
}

fn t5() -> Value {
    json!({
        "model_type": "t5", "d_model": 128, "d_kv": 32, "d_ff": 352, "num_layers": 3, "num_decoder_layers": 3,
        "num_heads": 4, "vocab_size": 4000, "relative_attention_num_buckets": 32, "dropout_rate": 0.1,
        "layer_norm_epsilon": 1e-6, "initializer_factor": 1.0, "feed_forward_proj": "gated-gelu",
        "tie_word_embeddings": false, "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1,
    })
}

/// Families with what is learned, and rows, length and answer of the batch.
fn cases() -> [(Value, &'static str, [u64; 3]); 5] {
    [
        (llama(), "text", [8, 160, 0]),
        (gemma(), "text", [8, 160, 0]),
        (bert("bert"), "classify", [16, 128, 0]),
        (bert("roberta"), "span", [16, 128, 0]),
        (t5(), "text", [16, 96, 48]),
    ]
}

/// In a process of its own, where [`WORDS`] says what to measure; else there is nothing to do.
#[test]
fn measured_alone() {
    let Ok(words) = std::env::var(WORDS) else { return };
    let words: Vec<String> = words.lines().map(str::to_owned).collect();
    println!("\nMEASURED {}", measured::run(&words).unwrap());
}

fn measure(config: &Value, method: &str, precision: &str, memory: &str, task: &str, sizes: [u64; 3]) -> Value {
    let mut words = vec![config.to_string(), method.into(), precision.into(), memory.into(), task.into()];
    words.extend(sizes.map(|size| size.to_string()));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["forecast::measured_alone", "--exact", "--nocapture"]).env(WORDS, words.join("\n"));
    // Tests are threads, and a thread would have a heap of its own. Blocks that are mapped by themselves leave no holes, of
    // which a test would have other ones than the worker.
    command.env("MALLOC_ARENA_MAX", "1").env("MALLOC_MMAP_THRESHOLD_", "65536");
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("MEASURED "));
    serde_json::from_str(line.unwrap_or_else(|| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))).unwrap()
}

/// Method, precision, and what is kept.
const WAYS: [[&str; 3]; 4] = [
    ["plain_lora", "float32", "kept"],
    ["dora", "bf16", "kept"],
    ["full", "float32", "recomputed"],
    ["full", "bf16", "kept"],
];

/// The same of methods that stand beside a model.
const WAYS_BESIDE: [[&str; 3]; 6] = [
    ["ia3", "float32", "kept"],
    ["vera", "bf16", "kept"],
    ["houlsby", "float32", "kept"],
    ["pfeiffer", "bf16", "recomputed"],
    ["parallel", "float32", "recomputed"],
    ["series", "bf16", "kept"],
];

/// The same of methods that put rows among those of tokens, which leave weights without a gradient.
const WAYS_AMONG: [[&str; 3]; 2] = [["prompt", "bf16", "recomputed"], ["prefix", "float32", "kept"]];

#[test]
fn memory_of_rows_among_those_of_tokens_is_forecast() {
    forecast(&cases(), &WAYS_AMONG);
}

#[test]
fn memory_of_a_frozen_a_is_forecast() {
    let [llama, _, bert, ..] = cases();
    forecast(&[llama], &[["plain_dora_frozen", "float32", "kept"]]);
    forecast(&[bert], &[["dora_frozen", "bf16", "kept"]]);
}

/// By roles its slices, by `full` the whole maps.
#[test]
fn memory_of_fused_maps_is_forecast() {
    let cases = [(phi(), "text", [8, 160, 0])];
    forecast(&cases, &WAYS);
    forecast(&cases, &[["whole_lora", "float32", "kept"], ["whole_lora", "bf16", "recomputed"]]);
}

#[test]
fn memory_is_forecast_and_parameters_are_counted() {
    forecast(&cases(), &WAYS);
}

#[test]
fn memory_of_methods_that_stand_beside_a_model_is_forecast() {
    let [llama, _, _, roberta, t5] = cases();
    forecast(&[llama], &WAYS_BESIDE);
    forecast(&[roberta, t5], &WAYS_BESIDE[2..4]);
}

fn forecast(cases: &[(Value, &'static str, [u64; 3])], ways: &[[&str; 3]]) {
    let mut far = Vec::new();
    for (config, task, sizes) in cases {
        for [method, precision, memory] in ways {
            let found = measure(config, method, precision, memory, task, *sizes);
            let name = format!("{} {method} {precision} {memory}", config["model_type"].as_str().unwrap());
            assert_eq!(found["counted"], true, "{name}: {found}");
            let ratio = found["ratio"].as_f64().unwrap();
            println!("{name:<40} {:>7} {:>7} {ratio:.3}", found["forecast_peak"], found["measured_peak"]);
            if !(0.85..1.15).contains(&ratio) {
                far.push(format!("{name}: {ratio}"));
            }
        }
    }
    assert!(far.is_empty(), "{far:#?}");
}
