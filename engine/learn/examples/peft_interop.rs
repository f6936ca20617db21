//! The Rust half of `tests/peft/interop.py`: saves adapters, merged models and outputs for PEFT to read, and reads those that
//! PEFT saved.
//!
//! `peft_interop save DIR TASK` reads `DIR/model` and writes, for each method, `DIR/<method>/adapter`,
//! `DIR/<method>/merged` where it can be merged, and `DIR/<method>/outputs.safetensors`. `peft_interop check DIR TASK` reads
//! `DIR/model` and each `DIR/<method>/adapter` there is, and compares with `DIR/<method>/outputs.safetensors`. A task is `language_model`, `classes`
//! (three) or `answers`.

use std::path::Path;
use std::process::ExitCode;

use learn::Result;
use learn::adapters::first_values::{Olora, Orthogonal, Pissa};
use learn::adapters::{Biases, Dora, Frozen, Ia3, Lora, LoraFa, LowRank, Method, Prefix, Prompt, Scale, Start, Vera};
use learn::by_name::{ByName, Several};
use learn::models::{Task, read_config};
use learn::peft::Saved;
use learn::targets::{Layers, Pattern, Role, Targets};

mod interop;

fn main() -> ExitCode {
    interop::run(save, check)
}

fn save(folder: &Path, task: Task) -> Result<()> {
    let model_folder = folder.join("model");
    let second =
        Targets::Pattern(Pattern::new(r".*\.1\..*(q|up|wi|wi_0|q_proj|up_proj|qkv_proj|query|intermediate\.dense)")?);
    let layers = Targets::InLayers(Box::new(Targets::AllLinear), Layers::new(vec![1]));
    let roles = vec![Role::AttentionQ, Role::AttentionV, Role::MlpDown];
    let config = read_config(&model_folder)?;
    let low_rank = || LowRank::new(4, 7.5, 0.1, Targets::AllLinear);
    let q = || "(q|q_proj|qkv_proj|query)".to_owned();
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
    if config["model_type"] == "phi3" {
        let slices = || Targets::Roles(vec![Role::AttentionQ, Role::AttentionV, Role::MlpGate]);
        let ranks = ByName::new("rank_pattern", [("qkv_proj.v".to_owned(), 5)], Several::Refused)?;
        let alphas = ByName::new("alpha_pattern", [("1.mlp.gate_up_proj.gate".to_owned(), 11.0)], Several::Refused)?;
        let of = || Ok::<_, learn::Error>(LowRank { targets: slices(), ..low_rank()? });
        let scales = LowRank { scale: Scale::RankStabilized, ..of()?.with_patterns(ranks, alphas)? };
        methods.push(("slices_lora", Box::new(Lora::of(of()?))));
        methods.push(("slices_scales", Box::new(Lora::of(scales))));
        methods.push(("slices_lora_fa", Box::new(LoraFa::of(of()?))));
        methods.push(("slices_dora", Box::new(Dora::of(of()?)?)));
        methods.push(("slices_pissa", Box::new(Lora::of(LowRank { init: Box::new(Pissa), ..of()? }))));
    }
    // That of an encoder stands where PEFT has none.
    if task == Task::LanguageModel {
        methods.push(("prompt", Box::new(Prompt::new(5, Start::Vocabulary)?)));
    }
    for (name, method) in methods {
        let place = folder.join(name);
        let model = interop::save(&model_folder, &place, method.as_ref(), task)?;
        if model.merges() {
            Frozen.save(&Saved::of(&model, None), &place.join("merged"))?;
        }
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
        let place = folder.join(name);
        if !place.join("adapter").exists() && ["prompt", "prefix", "embedding"].contains(&name) {
            continue;
        }
        interop::check(&folder.join("model"), &place, task, "PEFT")?;
    }
    Ok(())
}
