//! What the programs have in common that exchange adapters with other libraries: their words, fixed tokens, adapters far
//! from their first values, and how outputs are compared. Knows no method.

use std::path::Path;
use std::process::ExitCode;

use learn::adapters::{self, Method, saved_method};
use learn::models::{Model, Task};
use learn::peft::Saved;
use learn::weights::{Fresh, Init, Random, SafetensorsFile, write_tensors};
use learn::{Error, Result};
use tch::{Device, Kind, Tensor};

/// How far outputs may be off, relative to the largest.
const TOLERANCE: f64 = 1e-5;

/// Does what the arguments say: `save DIR TASK` or `check DIR TASK`. A task is `language_model`, `classes` (three) or
/// `answers`.
pub fn run(save: fn(&Path, Task) -> Result<()>, check: fn(&Path, Task) -> Result<()>) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["save", folder, word] => task(word).and_then(|task| save(Path::new(folder), task)),
        ["check", folder, word] => task(word).and_then(|task| check(Path::new(folder), task)),
        _ => Err(Error::setting("arguments", "are not understood", "save DIR TASK | check DIR TASK")),
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

/// For fixed tokens, of two rows; the Python halves have the same.
fn outputs(model: &Model) -> Result<Tensor> {
    let tokens: Vec<i64> = (0..26).map(|at| (at * 7 + 3) % 50).collect();
    model.network.outputs(&Tensor::f_from_slice(&tokens)?.f_view([2, 13])?)
}

/// The model in `model` with `method`, far from its first values: its adapter and its outputs in `place`.
pub fn save(model: &Path, place: &Path, method: &dyn Method, task: Task) -> Result<Model> {
    let mut adapted = Model::load_for(task, model, method, 2, Device::Cpu)?;
    let noise = Random::new(3, Device::Cpu);
    let mut values = Vec::new();
    for (name, tensor) in adapted.trainable.iter() {
        let moved =
            tensor.f_detach()?.f_mul_scalar(1.2)?.f_add(&noise.draw(name, &tensor.size(), Init::Normal(0.2))?)?;
        values.push((name.to_owned(), moved));
    }
    for (name, tensor) in values {
        adapted.trainable.set(&name, &tensor)?;
    }
    method.save(&Saved::of(&adapted, model.to_str()), &place.join("adapter"))?;
    write_tensors(&place.join("outputs.safetensors"), &[("outputs".to_owned(), outputs(&adapted)?)])?;
    Ok(adapted)
}

/// Compares what the model in `model` gives with the adapter in `place` that `library` saved with the outputs beside it.
pub fn check(model: &Path, place: &Path, task: Task, library: &str) -> Result<()> {
    let adapter = place.join("adapter");
    let method = saved_method(&adapter)?;
    let mut adapted = Model::load_for(task, model, method.as_ref(), 0, Device::Cpu)?;
    adapters::load(&adapter, &mut adapted.trainable)?;
    let expected =
        SafetensorsFile::open(&place.join("outputs.safetensors"))?.tensor("outputs", Device::Cpu, Kind::Float)?;
    let off = outputs(&adapted)?.f_sub(&expected)?.f_abs()?.f_max()?.f_double_value(&[])?;
    let off = off / expected.f_abs()?.f_max()?.f_double_value(&[])?;
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    println!("{name}: saved by {library}, loaded here: outputs off by {off:.1e}");
    match off <= TOLERANCE {
        true => Ok(()),
        false => {
            let problem = format!("outputs are off by {off:.1e}, more than {TOLERANCE:.0e}");
            Err(Error::file(&adapter, problem, "compare the adapter's keys and settings"))
        }
    }
}
