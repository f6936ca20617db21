//! The Rust half of `scripts/bench_rows.py`: trains one model with random weights on rows of many lengths, a step for each line
//! that comes in.
//!
//! `rows CONFIG ROWS LAYOUT PRECISION BATCH THREADS`: `CONFIG` is the text of a model's `config.json`; `ROWS` a file of JSON
//! lines, `ids` with the number of a prompt's tokens as `prompt`, or with a class as `label`; `LAYOUT` is `apart` or `shared`
//! for rows of a decoder, whose beginnings are computed once or not, and `texts` for those of an encoder. LoRA trains, of rank
//! 16 on all linear maps of a decoder, of rank 8 on queries and values of an encoder. It answers each line with one JSON
//! object: `step` with the seconds of a step, its rows and its loss; `peak` with the most bytes that the process held, less
//! the loaded model.

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use learn::adapters::Lora;
use learn::batches::LossRow;
use learn::models::{Model, Task};
use learn::numerics::Numerics;
use learn::objectives::{Classify, Examples, Labelled, LanguageModel, Normalize, SharedPrefix, TextExamples, TextRow};
use learn::optim::AdamW;
use learn::targets::{Role, Targets};
use learn::train::{Rule, Weights};
use learn::worker::memory::{Peak, keep_freed};
use learn::{Error, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use tch::{Device, Kind};

/// A line of the file.
#[derive(Deserialize)]
struct Line {
    ids: Vec<i32>,
    prompt: Option<usize>,
    label: Option<i64>,
}

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

fn run(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let &[config, rows, layout, precision, batch, threads] = words.as_slice() else { return Err(wrong("a word")) };
    let config: Value = serde_json::from_str(config).map_err(|_| wrong(config))?;
    let number = |word: &str| word.parse::<usize>().map_err(|_| wrong(word));
    let (batch, threads) = (number(batch)?, number(threads)?);
    tch::set_num_threads(threads as i32);
    tch::set_num_interop_threads(1);
    let kind = match precision {
        "float32" => Kind::Float,
        "bf16" => Kind::BFloat16,
        other => return Err(wrong(other)),
    };
    let device = Device::cuda_if_available();
    let examples = examples(layout, Path::new(rows))?;
    let (task, method) = match layout {
        "texts" => {
            let targets = Targets::Roles(vec![Role::AttentionQ, Role::AttentionV]);
            (Task::SequenceClassification { labels: 2 }, Lora::new(8, 16.0, 0.0, targets)?)
        }
        _ => (Task::LanguageModel, Lora::new(16, 32.0, 0.0, Targets::AllLinear)?),
    };
    let model = Model::random_for(task, &config, 1, &method, 0, Numerics::all(kind, device))?;
    let optimizer = AdamW { weight_decay: 0.0, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    let normalize = if layout == "texts" { Normalize::Rows } else { Normalize::Tokens };
    let rule = Rule { micro: batch, normalize, dropout_seed: 0, clip: Some(1.0), optimizer };
    let peak = Peak::begin(device);
    let mut weights = Weights::new(&model)?;
    let (mut epoch, mut batches) = (0, Vec::new().into_iter());
    say(&json!({ "rows": examples.len() }))?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| Error::io("read", Path::new("standard input"), error))?;
        let answer = match line.as_str() {
            "step" => {
                let begun = Instant::now();
                let rows = match batches.next() {
                    Some(rows) => rows,
                    None => {
                        batches = examples.epoch(0, epoch, batch).into_iter();
                        epoch += 1;
                        batches.next().ok_or_else(|| wrong("no row"))?
                    }
                };
                let done = weights.step(&model, examples.as_ref(), &rows, &rule, 1e-4)?;
                let loss = done.loss.f_double_value(&[])?;
                json!({ "seconds": begun.elapsed().as_secs_f64(), "rows": rows.len(), "loss": loss })
            }
            "peak" => json!({ "bytes": peak.bytes() }),
            other => return Err(wrong(other)),
        };
        say(&answer)?;
    }
    Ok(())
}

fn examples(layout: &str, path: &Path) -> Result<Box<dyn Examples>> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::io("read", path, error))?;
    let lines = text.lines().map(|line| serde_json::from_str::<Line>(line).map_err(|_| wrong(line)));
    let lines = lines.collect::<Result<Vec<_>>>()?;
    let row = |(number, line): (usize, &Line)| {
        LossRow::new(number.to_string(), &line.ids, (0..line.ids.len()).map(|at| line.prompt.is_some_and(|p| at >= p)))
    };
    let rows = || lines.iter().enumerate().filter_map(row).collect();
    let labelled = |(number, line): (usize, &Line)| {
        let text = TextRow { id: number.to_string(), ids: line.ids.clone(), types: Vec::new() };
        Some(Labelled { text, target: line.label? })
    };
    Ok(match layout {
        "apart" => Box::new(LanguageModel::new(rows())),
        "shared" => Box::new(SharedPrefix::new(rows())),
        "texts" => Box::new(TextExamples::<Classify>::new(lines.iter().enumerate().filter_map(labelled).collect(), 0)),
        other => return Err(wrong(other)),
    })
}

fn say(answer: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{answer}")
        .and_then(|()| out.flush())
        .map_err(|error| Error::io("write", Path::new("standard output"), error))
}
