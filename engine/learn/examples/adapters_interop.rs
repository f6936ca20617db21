//! The Rust half of `tests/peft/adapters_interop.py`: saves bottleneck adapters and outputs for adapter-hub's library to
//! read, and reads those that it saved.
//!
//! `adapters_interop save DIR TASK` reads `DIR/model` and writes, for each style, `DIR/<style>/adapter` and
//! `DIR/<style>/outputs.safetensors`. `adapters_interop check DIR TASK` reads `DIR/model` and, of every folder in `DIR` that
//! has an `adapter`, compares with its `outputs.safetensors`. A task is `language_model`, `classes` (three) or `answers`.

use std::path::Path;
use std::process::ExitCode;

use learn::adapters::{self, Bottleneck, First, Method, Norms, Size, Style, saved_method};
use learn::layers::Activation;
use learn::models::{Model, Task};
use learn::peft::Saved;
use learn::sublayers::Role;
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
        _ => Err(Error::setting("arguments", "are not understood", "adapters_interop save DIR TASK | check DIR TASK")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}\n{}", error.hint().unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}

fn task(word: &str) -> Result<Task> {
    match word {
        "language_model" => Ok(Task::LanguageModel),
        "classes" => Ok(Task::SequenceClassification { labels: 3 }),
        "answers" => Ok(Task::QuestionAnswering),
        _ => Err(Error::setting("TASK", format!("is `{word}`"), "language_model | classes | answers")),
    }
}

/// For fixed tokens, of two rows; the Python half has the same.
fn outputs(model: &Model) -> Result<Tensor> {
    let tokens: Vec<i64> = (0..26).map(|at| (at * 7 + 3) % 50).collect();
    model.network.outputs(&Tensor::f_from_slice(&tokens)?.f_view([2, 13])?)
}

fn styles() -> [(&'static str, Bottleneck); 3] {
    let houlsby = Bottleneck {
        style: Style::Houlsby,
        size: Size::Units(5),
        activation: Activation::Silu,
        scale: 1.0,
        dropout: 0.1,
        norms: Norms { before: true, after: true },
        first: First::Houlsby,
        sublayers: vec![Role::Attention, Role::Mlp],
        leave_out: Vec::new(),
        output_head: false,
    };
    let pfeiffer = Bottleneck {
        style: Style::Pfeiffer,
        size: Size::Reduction(2.5),
        activation: Activation::GeluTanh,
        norms: Norms { before: false, after: true },
        sublayers: vec![Role::Mlp],
        leave_out: vec![0],
        ..houlsby.clone()
    };
    let parallel = Bottleneck {
        style: Style::Parallel,
        size: Size::Reduction(2.0),
        activation: Activation::Relu,
        scale: 4.0,
        norms: Norms::default(),
        first: First::Zero,
        leave_out: Vec::new(),
        ..pfeiffer.clone()
    };
    [("houlsby", houlsby), ("pfeiffer", pfeiffer), ("parallel", parallel)]
}

fn save(folder: &Path, task: Task) -> Result<()> {
    let model_folder = folder.join("model");
    for (name, method) in styles() {
        let method = method.checked()?;
        let mut model = Model::load_for(task, &model_folder, &method, 2, Device::Cpu)?;
        shake(&mut model)?;
        method.save(&Saved::of(&model, None), &folder.join(name).join("adapter"))?;
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
    let entries = std::fs::read_dir(folder).map_err(|error| Error::io("read", folder, error))?;
    let mut folders: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.retain(|folder| folder.join("adapter").exists());
    folders.sort();
    if folders.is_empty() {
        return Err(Error::file(folder, "holds no adapter to check", "see tests/peft/adapters_interop.py"));
    }
    for place in folders {
        let adapter = place.join("adapter");
        let method = saved_method(&adapter)?;
        let mut model = Model::load_for(task, &folder.join("model"), method.as_ref(), 0, Device::Cpu)?;
        adapters::load(&adapter, &mut model.trainable)?;
        let expected =
            SafetensorsFile::open(&place.join("outputs.safetensors"))?.tensor("outputs", Device::Cpu, Kind::Float)?;
        let off = outputs(&model)?.f_sub(&expected)?.f_abs()?.f_max()?.f_double_value(&[])?;
        let off = off / expected.f_abs()?.f_max()?.f_double_value(&[])?;
        let name = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
        println!("{name}: saved by adapter-hub's library, loaded here: outputs off by {off:.1e}");
        if off.is_nan() || off > TOLERANCE {
            let problem = format!("outputs are off by {off:.1e}, more than {TOLERANCE:.0e}");
            return Err(Error::file(&adapter, problem, "compare the adapter's keys and settings"));
        }
    }
    Ok(())
}
