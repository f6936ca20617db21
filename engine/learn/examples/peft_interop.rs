//! The Rust half of `tests/peft/interop.py`: saves adapters, merged models and outputs for PEFT to read, and reads those that
//! PEFT saved.
//!
//! `peft_interop save DIR TASK` reads `DIR/model` and writes, for each method, `DIR/<method>/adapter`,
//! `DIR/<method>/merged` where it can be merged, and `DIR/<method>/outputs.safetensors`. `peft_interop check DIR TASK` reads
//! `DIR/model` and each `DIR/<method>/adapter` there is, and compares with `DIR/<method>/outputs.safetensors`. A task is `language_model`, `classes`
//! (three) or `answers`.

use std::path::Path;
use std::process::ExitCode;

use learn::adapters::first_values::{Olora, Orthogonal, Pissa};
use learn::adapters::{
    self, Biases, Dora, Frozen, Ia3, Lora, LoraFa, LowRank, Method, Prefix, Prompt, Scale, Start, Vera, saved_method,
};
use learn::by_name::{ByName, Several};
use learn::models::{Model, Task, read_config};
use learn::peft::Saved;
use learn::targets::{Layers, Pattern, Role, Targets};
use learn::weights::{Fresh, Init, Random, SafetensorsFile, write_tensors};
use learn::{Error, Result};
use tch::{Device, Kind, Tensor};

const TOLERANCE: f64 = 1e-5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["save", folder, word] => task(word).and_then(|task| save(Path::new(folder), task)),
        ["check", folder, word] => task(word).and_then(|task| check(Path::new(folder), task)),
        _ => Err(Error::setting("arguments", "are not understood", "peft_interop save DIR TASK | check DIR TASK")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}\n{}", error.hint().unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}

/// Fixed tokens, of two rows; the Python half has the same.
fn tokens() -> Result<Tensor> {
    Ok(Tensor::f_from_slice(&(0..26i64).map(|at| (at * 7 + 3) % 50).collect::<Vec<_>>())?.f_view([2, 13])?)
}

fn task(word: &str) -> Result<Task> {
    match word {
        "language_model" => Ok(Task::LanguageModel),
        "classes" => Ok(Task::SequenceClassification { labels: 3 }),
        "answers" => Ok(Task::QuestionAnswering),
        _ => Err(Error::setting("TASK", format!("is `{word}`"), "language_model | classes | answers")),
    }
}

fn outputs(model: &Model) -> Result<Tensor> {
    model.network.outputs(&tokens()?)
}

fn save(folder: &Path, task: Task) -> Result<()> {
    let model_folder = folder.join("model");
    let second = Targets::Pattern(Pattern::new(r".*\.1\..*(q|up|wi|wi_0|q_proj|up_proj|query|intermediate\.dense)")?);
    let layers = Targets::InLayers(Box::new(Targets::AllLinear), Layers::new(vec![1]));
    let roles = vec![Role::AttentionQ, Role::AttentionV, Role::MlpDown];
    let config = read_config(&model_folder)?;
    let low_rank = || LowRank::new(4, 7.5, 0.1, Targets::AllLinear);
    let q = || "(q|q_proj|query)".to_owned();
    let ranks = ByName::new("rank_pattern", [(q(), 2)], Several::Refused)?;
    let alphas = ByName::new("alpha_pattern", [(q(), 11.0)], Several::Refused)?;
    // A larger alpha would make weights many times as large, and T5's scores, which nothing divides, so steep that PEFT's own
    // outputs in float32 are off by 8e-5.
    let olora = LowRank { init: Box::new(Olora), scale: Scale::RankStabilized, alpha: 1.5, ..low_rank()? };
    let stabilised = LowRank { scale: Scale::RankStabilized, ..low_rank()? };
    let mut methods: Vec<(&str, Box<dyn Method>)> = vec![
        ("lora", Box::new(Lora::new(3, 7.5, 0.1, Targets::AllLinear)?)),
        ("dora", Box::new(Dora::new(3, 7.5, 0.1, Targets::Roles(roles))?)),
        ("lora_pattern", Box::new(Lora::new(2, 4.0, 0.0, second)?)),
        ("lora_fa", Box::new(LoraFa::of(LowRank { biases: Biases::Adapted, ..low_rank()? }))),
        ("dora_frozen_a", Box::new(Dora::of(stabilised)?.with_frozen_a())),
        ("bias_all", Box::new(Lora::of(LowRank { biases: Biases::All, ..low_rank()? }))),
        ("patterns", Box::new(Lora::of(low_rank()?.with_patterns(ranks, alphas)?))),
        ("orthogonal", Box::new(Lora::of(LowRank { init: Box::new(Orthogonal), ..low_rank()? }))),
        ("pissa", Box::new(Lora::of(LowRank { init: Box::new(Pissa), ..low_rank()? }))),
        ("olora", Box::new(Lora::of(olora))),
        ("layers", Box::new(Lora::of(LowRank { targets: layers, ..low_rank()? }))),
        ("ia3", Box::new(Ia3::new(Targets::Roles(vec![Role::AttentionK, Role::AttentionO, Role::MlpDown]), None))),
        ("vera", Box::new(Vera::new(6, 0.1, 0.1, 3, Targets::AllLinear)?)),
        ("prefix", Box::new(Prefix::new(4, None)?)),
        ("prefix_projected", Box::new(Prefix::new(3, Some(5))?)),
    ];
    if !matches!(config["model_type"].as_str(), Some("t5")) {
        let targets = Targets::Roles(vec![Role::Embedding, Role::AttentionQ]);
        methods.push(("embedding", Box::new(Lora::of(LowRank { targets, ..low_rank()? }))));
    }
    // That of an encoder stands where PEFT has none.
    if task == Task::LanguageModel {
        methods.push(("prompt", Box::new(Prompt::new(5, Start::Vocabulary)?)));
    }
    for (name, method) in methods {
        let mut model = Model::load_for(task, &model_folder, method.as_ref(), 2, Device::Cpu)?;
        shake(&mut model)?;
        method.save(&Saved::of(&model, model_folder.to_str()), &folder.join(name).join("adapter"))?;
        if model.merges() {
            Frozen.save(&Saved::of(&model, None), &folder.join(name).join("merged"))?;
        }
        write_tensors(&folder.join(name).join("outputs.safetensors"), &[("outputs".to_owned(), outputs(&model)?)])?;
    }
    Ok(())
}

/// Moves the adapter far from its first values.
fn shake(model: &mut Model) -> Result<()> {
    let noise = Random::new(3, Device::Cpu);
    let mut values = Vec::new();
    for (name, tensor) in model.trainable.iter() {
        let moved =
            tensor.f_detach()?.f_mul_scalar(1.2)?.f_add(&noise.draw(name, &tensor.size(), Init::Normal(0.2))?)?;
        values.push((name.to_owned(), moved));
    }
    for (name, tensor) in values {
        model.trainable.set(&name, &tensor)?;
    }
    Ok(())
}

fn check(folder: &Path, task: Task) -> Result<()> {
    let names = [
        "lora",
        "dora",
        "rslora",
        "patterns",
        "layers",
        "excluded",
        "pissa",
        "olora",
        "orthogonal",
        "embedding",
        "ia3",
        "vera",
        "prompt",
        "prefix",
    ];
    for name in names {
        let adapter = folder.join(name).join("adapter");
        if !adapter.exists() && ["prompt", "prefix", "embedding"].contains(&name) {
            continue;
        }
        let method = saved_method(&adapter)?;
        let mut model = Model::load_for(task, &folder.join("model"), method.as_ref(), 0, Device::Cpu)?;
        adapters::load(&adapter, &mut model.trainable)?;
        let file = SafetensorsFile::open(&folder.join(name).join("outputs.safetensors"))?;
        let expected = file.tensor("outputs", Device::Cpu, Kind::Float)?;
        let off = outputs(&model)?.f_sub(&expected)?.f_abs()?.f_max()?.f_double_value(&[])?;
        let off = off / expected.f_abs()?.f_max()?.f_double_value(&[])?;
        println!("{name}: saved by PEFT, loaded here: outputs off by {off:.1e}");
        if off.is_nan() || off > TOLERANCE {
            let hint = "compare the adapter's keys and its scale";
            return Err(Error::file(
                &adapter,
                format!("outputs are off by {off:.1e}, more than {TOLERANCE:.0e}"),
                hint,
            ));
        }
    }
    Ok(())
}
