//! Numbers of less precision, the scaling of losses, and what training and loading need of memory.

use std::path::Path;

use learn::adapters::{Frozen, Full, Lora};
use learn::batches::LossRow;
use learn::models::Model;
use learn::numerics::Numerics;
use learn::objectives::{LanguageModel, Normalize};
use learn::observer::Unobserved;
use learn::optim::{AdamW, LossScale};
use learn::schedule::Shape;
use learn::targets::Targets;
use learn::train::{Best, Every, Length, Rule, Settings, Training, Validate, Warmup, Weights};
use learn::weights::write_model;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::support::{Row, Space, VOCABULARY, rows};
use crate::writer::Pickle;
use crate::zipped::torch_file;

const ADAMW: AdamW = AdamW { weight_decay: 0.0, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

fn config(hidden: i64, inner: i64, layers: i64) -> Value {
    json!({
        "model_type": "llama", "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": VOCABULARY, "tie_word_embeddings": true,
        "initializer_range": 0.06, "rms_norm_eps": 1e-5, "max_position_embeddings": 64,
    })
}

fn base_settings() -> Value {
    json!({
        "model": { "random": { "llama": { "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
                                          "num_attention_heads": 4, "tie_word_embeddings": true,
                                          "initializer_range": 0.06 } } },
        "data": "tokens",
        "adapter": "full",
        "epochs": 12,
        "optimizer": { "adamw": { "learning_rate": 4e-3, "beta2": 0.95 } },
        "schedule": { "linear": { "warmup": { "steps": 10 } } },
        "validate": { "on": "dev" },
    })
}

fn adapter_settings(model: &str) -> Value {
    json!({
        "model": model, "data": "tokens", "steps": 60,
        "adapter": { "lora": { "rank": 4, "alpha": 8.0, "dropout": 0.1, "targets": "all-linear" } },
        "optimizer": { "adamw": { "learning_rate": 1e-2 } },
        "validate": { "on": "dev" },
    })
}

fn with(settings: &Value, changes: &Value) -> Value {
    let mut settings = settings.clone();
    for (key, value) in changes.as_object().unwrap() {
        settings[key] = value.clone();
    }
    settings
}

#[test]
fn each_precision_learns_and_is_scored() {
    let rows = rows();
    let space = Space::new(&rows, &rows[..40]);
    let loss = |summary: &Value| summary["headline"]["loss"].as_f64().unwrap();
    for precision in [json!("float32"), json!("bf16"), json!("fp16"), json!({"compute": "bf16", "base": "float32"})] {
        let settings = with(&base_settings(), &json!({ "precision": precision }));
        let base = space.run(&space.job("base", "train", &settings, None, None)).expect_finished();
        let summary = base.json("summary.json");
        assert!(loss(&summary) < 0.1, "{precision}: {summary}");
        assert_eq!(summary.get("skipped_steps").is_some(), precision == "fp16", "{summary}");

        let turned: Vec<Row> = rows.iter().map(|row| Row { completion: vec![4, 2], ..row.clone() }).collect();
        let other = Space::new(&turned, &turned[..40]);
        std::fs::rename(&base.result, other.path("base")).unwrap();
        let settings = with(&adapter_settings("base"), &json!({ "precision": precision }));
        let job = other.job("tuned", "train", &settings, Some(other.model("base")), None);
        let tuned = other.run(&job).expect_finished();
        assert!(loss(&tuned.json("summary.json")) < 0.1, "{precision}");
        let squad = json!({
            "model": "tuned", "data": "tokens/dev", "protocol": { "perplexity": {} }, "metrics": ["perplexity"],
            "precision": precision,
        });
        let model = other.adapter("tuned", other.model("base"));
        let scored = other.run(&other.job("scores", "evaluate", &squad, Some(model), Some("dev"))).expect_finished();
        let perplexity = scored.json("metrics.json")["metrics"]["perplexity"]["perplexity"].as_f64().unwrap();
        let trained = loss(&tuned.json("summary.json")).exp();
        assert!((perplexity / trained - 1.0).abs() < 0.01, "{precision}: {perplexity} and {trained}");
    }
}

fn with_loss() -> Vec<LossRow> {
    rows().iter().map(Row::with_loss).collect()
}

#[test]
fn a_step_whose_gradients_overflow_is_skipped_and_the_next_ones_learn() {
    let (examples, chosen) = (LanguageModel::new(with_loss()), [0, 1, 2, 3, 4, 5, 6, 7]);
    let model = Model::random(&config(16, 24, 2), 1, &Full, 1, Numerics::all(Kind::Half, Device::Cpu)).unwrap();
    let mut weights = Weights::new(&model).unwrap();
    let huge = 2f64.powi(22);
    weights.loss_scale = Some(serde_json::from_value(json!({ "factor": huge, "good": 0, "skipped": 0 })).unwrap());
    let rule = Rule { micro: 3, normalize: Normalize::Tokens, dropout_seed: 0, clip: Some(1.0), optimizer: ADAMW };
    let mut losses = Vec::new();
    let mut skipped = 0;
    for step in 0..40 {
        let before = weights.flat.values().copy();
        let done = weights.step(&model, &examples, &chosen, &rule, 1e-2).unwrap();
        let changed = !weights.flat.values().equal(&before);
        assert_eq!(done.skipped, !changed, "step {step}");
        skipped += u64::from(done.skipped);
        assert_eq!(weights.moments.steps + skipped, step + 1);
        losses.push(done.loss.double_value(&[]));
    }
    assert!((2..20).contains(&skipped), "{skipped} steps were skipped");
    let scale = weights.loss_scale.unwrap();
    assert_eq!((scale.skipped, scale.factor()), (skipped, huge / 2f64.powi(skipped as i32)));
    assert!(losses[0] > 2.0 && losses[0] < 3.5, "the loss is told without its scale: {}", losses[0]);
    assert!(losses[39] < 0.5 * losses[0], "{losses:?}");
}

#[test]
fn the_gradients_of_fp16_are_those_of_float32_within_its_rounding() {
    let (examples, chosen) = (LanguageModel::new(with_loss()), [0, 1, 2, 3, 4, 5, 6, 7]);
    let gradients = |kind| {
        let model = Model::random(&config(16, 24, 2), 1, &Full, 1, Numerics::all(kind, Device::Cpu)).unwrap();
        let mut weights = Weights::new(&model).unwrap();
        let rule = Rule { micro: 3, normalize: Normalize::Tokens, dropout_seed: 0, clip: None, optimizer: ADAMW };
        let done = weights.step(&model, &examples, &chosen, &rule, 1e-3).unwrap();
        assert_eq!((done.skipped, weights.loss_scale.is_some()), (false, kind == Kind::Half));
        (weights.flat.gradients().unwrap().copy(), done.norm.double_value(&[]))
    };
    let (exact, norm) = gradients(Kind::Float);
    let (found, half_norm) = gradients(Kind::Half);
    assert!((found - &exact).norm().double_value(&[]) < 0.01 * norm);
    assert!((half_norm / norm - 1.0).abs() < 0.01);
}

#[test]
fn the_scale_of_the_loss_goes_on_with_the_training() {
    let examples = LanguageModel::new(with_loss());
    let run = |lengths: &[u64]| {
        let state = tempfile::tempdir().unwrap();
        let mut last = None;
        for &length in lengths {
            let numerics = Numerics::all(Kind::Half, Device::Cpu);
            let lora = Lora::new(2, 4.0, 0.0, Targets::AllLinear).unwrap();
            let model = Model::random(&config(16, 24, 2), 3, &lora, 3, numerics).unwrap();
            let settings = Settings {
                length: Length::Steps(length),
                batch: 10,
                micro: 4,
                optimizer: ADAMW,
                learning_rate: 1e-2,
                shape: Shape::Constant,
                warmup: Warmup::Steps(0),
                clip: None,
                data_seed: 0,
                dropout_seed: 0,
                normalize: Normalize::Tokens,
                validate: Validate { every: Every::Epochs(1), best: Best::Loss, keep_best: false, patience: None },
                checkpoint: 5,
            };
            let training = Training {
                model: &model,
                examples: &examples,
                validation: None,
                asks: None,
                settings: &settings,
                snapshots: None,
                state: state.path(),
            };
            let outcome = training.run(&state.path().join("out.jsonl"), &mut Unobserved).unwrap();
            let values: Vec<Tensor> = model.trainable.iter().map(|(_, tensor)| tensor.detach().copy()).collect();
            last = Some((values, outcome.skipped_steps, std::fs::read(state.path().join("out.jsonl")).unwrap()));
        }
        last.unwrap()
    };
    let (whole, skipped, history) = run(&[20]);
    let (resumed, same_skipped, same_history) = run(&[10, 20]);
    assert_eq!((skipped, &history), (same_skipped, &same_history));
    assert!(whole.iter().zip(&resumed).all(|(one, other)| one.equal(other)));
    let kept = serde_json::to_value(LossScale::default()).unwrap();
    assert_eq!(kept, json!({ "factor": 65536.0, "good": 0, "skipped": 0 }), "what a checkpoint says");
}

#[test]
fn checkpointed_gradients_change_no_loss_and_need_less_memory() {
    let long: Vec<Row> = (0..16)
        .map(|row| {
            let names: Vec<usize> = (0..150).map(|at| (at * 7 + row * 3) % 10).collect();
            Row { id: format!("{row}"), ..Row::first_of(&names) }
        })
        .collect();
    let space = Space::new(&long, &long[..2]);
    write_model_folder(&space, &config(128, 256, 12), Kind::Float);
    let run = |name: &str, gradient_checkpointing: bool| {
        let settings = with(
            &adapter_settings("big"),
            &json!({ "steps": 3, "gradient_checkpointing": gradient_checkpointing, "optimizer": "adamw" }),
        );
        space.run_tidily(&space.job(name, "train", &settings, Some(space.model("big")), None)).expect_finished()
    };
    let (plain, saving) = (run("plain", false), run("saving", true));
    for (one, other) in plain.lines("history.jsonl").iter().zip(saving.lines("history.jsonl")) {
        for key in ["loss", "grad_norm", "validation_loss"] {
            let (one, other) = (one[key].as_f64(), other[key].as_f64());
            assert!((one.unwrap_or(0.0) - other.unwrap_or(0.0)).abs() < 1e-5, "{key}: {one:?} and {other:?}");
        }
    }
    let memory = |done: &crate::support::Done| done.measured()["peak_memory_bytes"].as_f64().unwrap();
    let (all, inputs) = (memory(&plain), memory(&saving));
    println!("{inputs} bytes beside {all}: {:.3}", inputs / all);
    assert!(inputs < 0.3 * all, "{inputs} bytes beside {all}");
}

/// A folder `big` with a model of random weights; says how many numbers it holds.
fn write_model_folder(space: &Space, config: &Value, kind: Kind) -> usize {
    let model = Model::random(config, 1, &Frozen, 1, Numerics::all(kind, Device::Cpu)).unwrap();
    let (config, tensors) = model.merged_tensors().unwrap();
    write_model(&space.path("big"), &config, &tensors).unwrap();
    model.frozen.elements()
}

/// Puts a file of torch in the place of the safetensors: all numbers in one storage, square matrices transposed.
fn write_as_torch(folder: &Path, stored: Kind) {
    let old = folder.join("model.safetensors");
    let bytes = std::fs::read(&old).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let numbers = &bytes[8 + length..];
    let (class, size) = if stored == Kind::Float { ("FloatStorage", 4) } else { ("BFloat16Storage", 2) };
    let mut pickle = Pickle::new().map();
    for (name, tensor) in header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__") {
        let shape: Vec<i64> = serde_json::from_value(tensor["shape"].clone()).unwrap();
        let strides = match shape[..] {
            [rows, columns] if rows == columns => vec![1, rows],
            [_, columns] => vec![columns, 1],
            _ => vec![1],
        };
        let storage = |pickle: Pickle| pickle.storage(class, "0", numbers.len() as i64 / size);
        let offset = tensor["data_offsets"][0].as_i64().unwrap() / size;
        pickle = pickle.text(name).view(storage, offset, &shape, &strides).raw(b"s");
    }
    let file = torch_file(&pickle.end(), &[("0", numbers)]);
    std::fs::write(folder.join("pytorch_model.bin"), file).unwrap();
    std::fs::remove_file(old).unwrap();
}

#[test]
fn loading_needs_little_more_than_the_weights_themselves() {
    let rows = rows();
    let space = Space::new(&rows[..8], &rows[..2]);
    let load = |precision: &str| {
        let settings = json!({
            "model": "big", "data": "tokens", "steps": 1, "precision": precision,
            "adapter": { "lora": { "rank": 1, "alpha": 1.0, "targets": ["attention.q"] } },
        });
        let done = space.run(&space.job("tuned", "train", &settings, Some(space.model("big")), None));
        done.expect_finished().measured()["model_memory_bytes"].as_f64().unwrap()
    };
    // What the program itself needs for its first tensors.
    write_model_folder(&space, &config(16, 24, 1), Kind::Float);
    let program = ["float32", "bf16"].map(load);
    for (stored, sizes) in [(Kind::Float, 4), (Kind::BFloat16, 2)] {
        // The allocator keeps some megabytes of its own, whatever the size.
        let numbers = write_model_folder(&space, &config(1024, 2816, 8), stored);
        let bytes = std::fs::metadata(space.path("big").join("model.safetensors")).unwrap().len();
        assert!(numbers > 90_000_000 && bytes as usize > numbers * sizes, "{numbers} numbers, {bytes} bytes");
        for ((precision, size), program) in [("float32", 4), ("bf16", 2)].into_iter().zip(program) {
            let peak = load(precision) - program;
            let ratio = peak / (numbers * size) as f64;
            println!("{stored:?} as {precision}: {ratio:.3} of the weights");
            assert!((0.9..1.15).contains(&ratio), "{stored:?} as {precision}: {ratio:.3} of the weights");
        }
        write_as_torch(&space.path("big"), stored);
        for ((precision, size), program) in [("float32", 4), ("bf16", 2)].into_iter().zip(program) {
            let ratio = (load(precision) - program) / (numbers * size) as f64;
            println!("torch, {stored:?} as {precision}: {ratio:.3} of the weights");
            assert!((0.9..1.15).contains(&ratio), "torch, {stored:?} as {precision}: {ratio:.3} of the weights");
        }
    }
}
