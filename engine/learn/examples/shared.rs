//! The Rust half of `scripts/bench_shared.py`: trains one decoder with random weights on rows of `QUESTIONS` questions for
//! each context, a step for each line that comes in, with shared beginnings or without.
//!
//! `shared CONFIG LAYOUT PRECISION CONTEXTS QUESTIONS CONTEXT QUESTION ANSWER THREADS`: `CONFIG` is the text of a decoder's
//! `config.json`; `LAYOUT` is `shared` or `apart`; then how many contexts a batch has, and how many tokens a context, a question and
//! an answer have. LoRA of rank 16 on all linear maps trains. It answers each line with one JSON object: the seconds of a
//! step and its loss; `peak` with the most bytes that the process held, less the loaded model.

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use learn::adapters::Lora;
use learn::batches::LossRow;
use learn::models::{Model, Task};
use learn::numerics::Numerics;
use learn::objectives::{Examples, LanguageModel, Normalize, SharedPrefix};
use learn::optim::AdamW;
use learn::targets::Targets;
use learn::train::{Rule, Weights};
use learn::worker::memory::{Peak, keep_freed};
use learn::{Error, Result};
use serde_json::{Value, json};
use tch::{Device, Kind};

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
    let [config, layout, precision, numbers @ ..] = words.as_slice() else { return Err(wrong("too few words")) };
    let config: Value = serde_json::from_str(config).map_err(|_| wrong(config))?;
    let numbers: Vec<usize> = numbers.iter().filter_map(|word| word.parse().ok()).collect();
    let &[contexts, questions, context, question, answer, threads] = numbers.as_slice() else {
        return Err(wrong("one of the numbers"));
    };
    tch::set_num_threads(threads as i32);
    tch::set_num_interop_threads(1);
    let kind = match *precision {
        "float32" => Kind::Float,
        "bf16" => Kind::BFloat16,
        other => return Err(wrong(other)),
    };
    let method = Lora::new(16, 32.0, 0.0, Targets::AllLinear)?;
    let model = Model::random_for(Task::LanguageModel, &config, 1, &method, 0, Numerics::all(kind, Device::Cpu))?;
    let part =
        |seed: usize, count: usize| (0..count).map(move |at| (3 + (seed * 977 + at * 31 + at * at) % 9000) as i32);
    let row = |number: usize| {
        let (of, asked) = (number / questions, number % questions);
        let ids: Vec<i32> =
            part(of, context).chain(part(1000 + number, question)).chain(part(5000 + asked, answer)).collect();
        LossRow::new(number.to_string(), &ids, (0..ids.len()).map(|at| at >= context + question))
    };
    let rows: Vec<LossRow> = (0..contexts * questions).filter_map(row).collect();
    let chosen: Vec<usize> = (0..rows.len()).collect();
    let examples: Box<dyn Examples> = match *layout {
        "shared" => Box::new(SharedPrefix::new(rows)),
        "apart" => Box::new(LanguageModel::new(rows, 0)),
        other => return Err(wrong(other)),
    };
    let optimizer = AdamW { weight_decay: 0.0, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    let rule = Rule { micro: chosen.len(), normalize: Normalize::Tokens, dropout_seed: 0, clip: None, optimizer };
    let peak = Peak::begin(Device::Cpu);
    let mut weights = Weights::new(&model)?;
    say(&json!({ "rows": chosen.len() }))?;
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|error| Error::io("read", Path::new("standard input"), error))?;
        let answer = match line.as_str() {
            "step" => {
                let begun = Instant::now();
                let loss = weights.step(&model, examples.as_ref(), &chosen, &rule, 1e-4)?.loss.f_double_value(&[])?;
                json!({ "seconds": begun.elapsed().as_secs_f64(), "loss": loss })
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
