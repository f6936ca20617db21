//! The Rust half of `scripts/bench_generate.py` and `scripts/bench_evaluate.py`: continues prompts with one model, a question
//! for each line that comes in.
//!
//! `generate MODEL PRECISION THREADS`; `MODEL` is a folder, or the text of a decoder's `config.json` for one with random
//! weights; `PRECISION` is `float32` or `bf16`. A line is one JSON object: `prompts`, token ids;
//! `batch`, rows that go together; `beams`, 1 for greedy search; `new_tokens`. It answers with `seconds` and `texts`.

use std::io::{BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use learn::adapters::Frozen;
use learn::generate::beams::{Beams, Best, EarlyStopping};
use learn::generate::{Decoding, Ends, Prompt, Reader, Search, batches, together};
use learn::models::Model;
use learn::numerics::Numerics;
use learn::worker::memory::keep_freed;
use learn::{Error, Result};
use serde::Deserialize;
use serde_json::json;
use tch::{Device, Kind};

/// A question.
#[derive(Deserialize)]
struct Asked {
    prompts: Vec<Vec<i64>>,
    batch: usize,
    beams: usize,
    new_tokens: usize,
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
    let [named, precision, threads] = arguments else { return Err(wrong("their number")) };
    tch::set_num_threads(threads.parse().map_err(|_| wrong(threads))?);
    let kind = match precision.as_str() {
        "float32" => Kind::Float,
        "bf16" => Kind::BFloat16,
        other => return Err(wrong(other)),
    };
    let device = Device::cuda_if_available();
    let numerics = Numerics::all(kind, device);
    let model = match serde_json::from_str(named) {
        Ok(config) => Model::random(&config, 0, &Frozen, 0, numerics)?,
        Err(_) => Model::load(Path::new(named), &Frozen, 0, numerics)?,
    };
    for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
        let asked: Asked = serde_json::from_str(&line).map_err(|error| wrong(&error.to_string()))?;
        let begun = Instant::now();
        let texts = answers(&model, &asked, device)?;
        let answer = json!({ "seconds": begun.elapsed().as_secs_f64(), "texts": texts });
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")
            .and_then(|()| out.flush())
            .map_err(|error| Error::io("write", Path::new("standard output"), error))?;
    }
    Ok(())
}

fn answers(model: &Model, asked: &Asked, device: Device) -> Result<Vec<Vec<i64>>> {
    let prompts = asked.prompts.iter().enumerate();
    let prompts: Vec<Prompt> = prompts.map(|(at, ids)| Prompt { name: at.to_string(), ids: ids.clone() }).collect();
    let decoding = match asked.beams {
        1 => Decoding::greedy(),
        count => {
            let (candidates, early_stopping) = (Box::new(Best), EarlyStopping::Heuristic);
            let beams = Beams { count, length_penalty: 1.0, early_stopping, candidates };
            Decoding { processors: Vec::new(), search: Search::Beams(beams) }
        }
    };
    let ends = Ends { ids: Vec::new(), max_new_tokens: asked.new_tokens, stop: None };
    let reader = Reader::new(&model.network, device).of_all(prompts.iter().map(|prompt| prompt.ids.as_slice()));
    let mut texts = vec![Vec::new(); prompts.len()];
    for batch in batches(&prompts, asked.batch) {
        let together_asked: Vec<&Prompt> = batch.iter().filter_map(|&at| prompts.get(at)).collect();
        let made = together(&reader, &together_asked, &decoding, &ends, &mut |_| ())?;
        for (at, made) in batch.into_iter().zip(made) {
            if let (Some(text), Some(made)) = (texts.get_mut(at), made.into_iter().next()) {
                *text = made.tokens;
            }
        }
    }
    Ok(texts)
}
