//! The Rust half of `scripts/bench_methods.py`: trains one model with random weights, a step for each line that comes in.
//!
//! `step CONFIG METHOD PRECISION DROPOUT ROWS LENGTH THREADS`: `CONFIG` is the text of a decoder's `config.json`; `METHOD` is
//! `lora`, `lora_fa`, `dora`, `dora_frozen` (its A), `full`, or `floor`, where the embedding alone trains, so that nothing is kept for any linear
//! map; `PRECISION` is `float32` or `bf16`. It answers each line with one JSON object: `step` with the seconds of a step,
//! `saved` with the bytes that autograd kept in one, `peak` with the most bytes that the process held, less the loaded
//! model.

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use learn::adapters::{Dora, Full, Lora, LoraFa, Method};
use learn::batches::LossRow;
use learn::fused::saved_bytes;
use learn::models::{Model, Task};
use learn::numerics::Numerics;
use learn::objectives::{LanguageModel, Normalize};
use learn::optim::AdamW;
use learn::peft::Saved;
use learn::targets::{Place, Targets};
use learn::train::{Rule, Weights};
use learn::worker::memory::{Peak, keep_freed};
use learn::{Error, Result};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

const RANK: i64 = 16;
const ALPHA: f64 = 32.0;

fn main() -> ExitCode {
    keep_freed();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}\n{}", error.hint().unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}

fn wrong(what: &str) -> Error {
    Error::setting("arguments", format!("{what} is not understood"), "see the first lines of this program")
}

/// The embedding alone trains.
#[derive(Debug)]
struct Floor;

impl Method for Floor {
    fn name(&self) -> &'static str {
        "floor"
    }

    fn trains(&self, name: &str, _of: Option<&Place>) -> bool {
        name.ends_with("embed_tokens.weight")
    }

    fn save(&self, _saved: &Saved, folder: &Path) -> Result<()> {
        Err(Error::file(folder, "there is nothing to save", "it is a measure"))
    }
}

fn method(name: &str, dropout: f64) -> Result<Box<dyn Method>> {
    Ok(match name {
        "lora" => Box::new(Lora::new(RANK, ALPHA, dropout, Targets::AllLinear)?),
        "lora_fa" => Box::new(LoraFa::new(RANK, ALPHA, dropout, Targets::AllLinear)?),
        "dora" => Box::new(Dora::new(RANK, ALPHA, dropout, Targets::AllLinear)?),
        "dora_frozen" => Box::new(Dora::new(RANK, ALPHA, dropout, Targets::AllLinear)?.with_frozen_a()),
        "full" => Box::new(Full),
        "floor" => Box::new(Floor),
        other => return Err(wrong(other)),
    })
}

fn run(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [config, name, precision, dropout, numbers @ ..] = words.as_slice() else { return Err(wrong("too few words")) };
    let config: Value = serde_json::from_str(config).map_err(|_| wrong(config))?;
    let dropout = dropout.parse().map_err(|_| wrong(dropout))?;
    let numbers: Vec<usize> = numbers.iter().filter_map(|word| word.parse().ok()).collect();
    let &[rows, length, threads] = numbers.as_slice() else { return Err(wrong("one of the numbers")) };
    tch::set_num_threads(threads as i32);
    tch::set_num_interop_threads(1);
    let kind = match *precision {
        "float32" => Kind::Float,
        "bf16" => Kind::BFloat16,
        other => return Err(wrong(other)),
    };
    let method = method(name, dropout)?;
    let model =
        Model::random_for(Task::LanguageModel, &config, 1, method.as_ref(), 0, Numerics::all(kind, Device::Cpu))?;
    // A row of n + 1 tokens has n positions.
    let ids = |row: usize| (0..=length).map(|at| (3 + (row * 31 + at * 7) % 90) as i32).collect::<Vec<_>>();
    let row = |row: usize| LossRow::new(row.to_string(), &ids(row), vec![true; length + 1]);
    let examples = LanguageModel::new((0..rows).filter_map(row).collect());
    let optimizer = AdamW { weight_decay: 0.0, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    let rule = Rule { micro: rows, normalize: Normalize::Tokens, dropout_seed: 0, clip: None, optimizer };
    let chosen: Vec<usize> = (0..rows).collect();
    let peak = Peak::begin(Device::Cpu);
    let mut weights = Weights::new(&model)?;
    say(&json!({ "trainable": model.trainable.elements() }))?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| Error::io("read", Path::new("standard input"), error))?;
        let mut step =
            || weights.step(&model, &examples, &chosen, &rule, 1e-4)?.loss.f_double_value(&[]).map_err(Error::from);
        let answer = match line.as_str() {
            "step" => {
                let begun = Instant::now();
                let loss = step()?;
                json!({ "seconds": begun.elapsed().as_secs_f64(), "loss": loss })
            }
            "saved" => {
                let own: Vec<Tensor> = model
                    .trainable
                    .iter()
                    .chain(model.frozen.iter())
                    .map(|(_, tensor)| tensor.shallow_clone())
                    .collect();
                let (loss, bytes) = saved_bytes(&own.iter().collect::<Vec<_>>(), step);
                json!({ "bytes": bytes, "loss": loss? })
            }
            "peak" => json!({ "bytes": peak.bytes() }),
            other => return Err(wrong(other)),
        };
        say(&answer)?;
    }
    Ok(())
}

fn say(answer: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{answer}")
        .and_then(|()| out.flush())
        .map_err(|error| Error::io("write", Path::new("standard output"), error))
}
