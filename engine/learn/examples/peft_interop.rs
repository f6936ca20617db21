//! The Rust half of `tests/peft/interop.py`: saves models, adapters and logits for PEFT to read, and reads those that
//! PEFT saved.
//!
//! `peft_interop save DIR CONFIG` writes `DIR/model` and, for each method, `DIR/<method>/adapter`, `DIR/<method>/merged`
//! and `DIR/<method>/logits.safetensors`. `peft_interop check DIR` reads `DIR/model` and `DIR/<method>/adapter`, and
//! compares with `DIR/<method>/logits.safetensors`.

use std::path::Path;
use std::process::ExitCode;

use learn::adapters::{Dora, Frozen, Lora, Method, saved_method};
use learn::models::Model;
use learn::targets::{Pattern, Role, Targets};
use learn::weights::{Init, Random, SafetensorsFile, write_tensors};
use learn::{Error, Result, peft};
use tch::{Device, Kind, Tensor};

const TOLERANCE: f64 = 1e-5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["save", folder, config] => save(Path::new(folder), Path::new(config)),
        ["check", folder] => check(Path::new(folder)),
        _ => Err(Error::setting("arguments", "are not understood", "peft_interop save DIR CONFIG | check DIR")),
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

fn logits(model: &Model) -> Result<Tensor> {
    model.network.outputs(&tokens()?)
}

fn save(folder: &Path, config: &Path) -> Result<()> {
    let text = std::fs::read(config).map_err(|error| Error::io("read", config, error))?;
    let config = serde_json::from_slice(&text)
        .map_err(|error| Error::file(config, error.to_string(), "give a config.json of a Llama"))?;
    let base = Model::random(&config, 1, &Frozen, 1, Device::Cpu)?;
    let model_folder = folder.join("model");
    Frozen.save(&base, None, &model_folder)?;
    let methods: [(&str, Box<dyn Method>); 4] = [
        ("lora", Box::new(Lora::new(3, 7.5, 0.1, Targets::AllLinear)?)),
        ("dora", Box::new(Dora::new(3, 7.5, 0.1, Targets::Roles(vec![Role::AttentionQ, Role::MlpDown]))?)),
        ("lora_pattern", Box::new(Lora::new(2, 4.0, 0.0, Targets::Pattern(Pattern::new(r".*\.1\..*(up|k)_proj")?))?)),
        ("dora_suffixes", Box::new(Dora::new(1, 3.0, 0.0, Targets::Suffixes(vec!["0.self_attn.v_proj".to_owned()]))?)),
    ];
    for (name, method) in methods {
        let mut model = Model::load(&model_folder, method.as_ref(), 2, Device::Cpu)?;
        shake(&mut model)?;
        method.save(&model, model_folder.to_str(), &folder.join(name).join("adapter"))?;
        Frozen.save(&model, None, &folder.join(name).join("merged"))?;
        write_tensors(&folder.join(name).join("logits.safetensors"), &[("logits".to_owned(), logits(&model)?)])?;
    }
    Ok(())
}

/// Moves the adapter far from its first values.
fn shake(model: &mut Model) -> Result<()> {
    let noise = Random::new(3, Device::Cpu, Kind::Float);
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

fn check(folder: &Path) -> Result<()> {
    for name in ["lora", "dora", "rslora"] {
        let adapter = folder.join(name).join("adapter");
        let mut model = Model::load(&folder.join("model"), saved_method(&adapter)?.as_ref(), 0, Device::Cpu)?;
        peft::load(&adapter, &mut model.trainable)?;
        let file = SafetensorsFile::open(&folder.join(name).join("logits.safetensors"))?;
        let expected = file.tensor("logits", Device::Cpu, Kind::Float)?;
        let off = logits(&model)?.f_sub(&expected)?.f_abs()?.f_max()?.f_double_value(&[])?;
        let off = off / expected.f_abs()?.f_max()?.f_double_value(&[])?;
        println!("{name}: saved by PEFT, loaded here: logits off by {off:.1e}");
        if off.is_nan() || off > TOLERANCE {
            let hint = "compare the adapter's keys and its scale";
            return Err(Error::file(&adapter, format!("logits are off by {off:.1e}, more than {TOLERANCE:.0e}"), hint));
        }
    }
    Ok(())
}
