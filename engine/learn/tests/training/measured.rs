//! One training of a model's shape with random weights: what it was forecast to need, and what it needed. For a process of
//! its own: what the whole process holds is measured.

use std::path::Path;
use std::time::Instant;

use learn::adapters::{
    Bottleneck, Dora, First, Full, Ia3, LinearBottleneck, Lora, Method, Norms, Prefix, Prompt, Size, Start, Style, Vera,
};
use learn::batches::LossRow;
use learn::forecast::{self, Keeping, Micro, Outline, Speed};
use learn::layers::Activation;
use learn::models::{Model, Network, Task};
use learn::numerics::{Memory, Numerics};
use learn::objectives::{
    AnsweredRow, Classify, Examples, Labelled, LanguageModel, Normalize, Seq2Seq, Span, TextExamples, TextRow,
};
use learn::optim::AdamW;
use learn::sublayers;
use learn::targets::{Role, Targets};
use learn::train::{Rule, Weights};
use learn::weights::{Init, Source};
use learn::worker::memory::Peak;
use learn::{Error, Result};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

/// Small numbers in the order of memory, made fast.
struct Quick;

impl Source for Quick {
    fn tensor(&mut self, _name: &str, shape: &[i64], init: Init, kind: Kind) -> Result<Tensor> {
        Ok(match init {
            Init::Constant(value) => Tensor::f_full(shape, value, (kind, Device::Cpu))?,
            _ => {
                let tensor = Tensor::f_empty(shape, (kind, Device::Cpu))?;
                let mut tensor = tensor;
                tensor.f_normal_(0.0, 0.02)?
            }
        })
    }

    fn extra(&mut self, _name: &str, _kind: Kind) -> Result<Option<Tensor>> {
        Ok(None)
    }

    fn holds(&self, _name: &str) -> bool {
        true
    }

    fn leave_out(&mut self, _prefix: &str) -> Vec<String> {
        Vec::new()
    }

    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

fn wrong(what: &str) -> Error {
    Error::setting("arguments", format!("{what} is not understood"), "see the first lines of `run`")
}

/// Trains as the words say, and tells what was forecast and what was measured.
///
/// `CONFIG METHOD PRECISION MEMORY TASK ROWS LENGTH ANSWER [STEPS [THREADS]]`: `CONFIG` is the path of a `config.json`, or
/// its text; `METHOD` is `full`, `lora`, `dora`, or one of these two without dropout, `plain_lora` or `plain_dora`, `whole_lora` (all linear maps), or
/// these with a frozen A, `dora_frozen` and `plain_dora_frozen`, or `prompt`, `prefix`, `ia3`, `vera`, `series`, `houlsby`, `pfeiffer`, `parallel`;
/// `PRECISION` is `float32` or `bf16`; `MEMORY` is `kept` or `recomputed`; `TASK` is `text`, `classify` or `span`. Of a
/// decoder's row of `LENGTH` tokens, all carry loss where `ANSWER` is 0, else its last `ANSWER`.
pub fn run(arguments: &[String]) -> Result<Value> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [config, method, precision, memory, task, numbers @ ..] = words.as_slice() else {
        return Err(wrong("too few words"));
    };
    let path = Path::new(config);
    let text = match config.starts_with('{') {
        true => config.as_bytes().to_vec(),
        false => std::fs::read(path).map_err(|error| Error::io("read", path, error))?,
    };
    let config: Value =
        serde_json::from_slice(&text).map_err(|error| Error::file(path, error.to_string(), "give a config.json"))?;
    let number = |at: usize, otherwise: u64| numbers.get(at).and_then(|text| text.parse().ok()).unwrap_or(otherwise);
    let (rows, length, answer, steps, threads) =
        (number(0, 4), number(1, 64), number(2, 0), number(3, 3), number(4, 2));
    tch::set_num_threads(threads as i32);
    tch::set_num_interop_threads(1);
    let targets =
        Targets::Roles(vec![Role::AttentionQ, Role::AttentionK, Role::AttentionV, Role::MlpUp, Role::MlpDown]);
    let method: Box<dyn Method> = match *method {
        "full" => Box::new(Full),
        "lora" => Box::new(Lora::new(16, 32.0, 0.05, targets)?),
        "plain_lora" => Box::new(Lora::new(16, 32.0, 0.0, targets)?),
        "whole_lora" => Box::new(Lora::new(16, 32.0, 0.0, Targets::AllLinear)?),
        "dora" => Box::new(Dora::new(16, 32.0, 0.05, targets)?),
        "dora_frozen" => Box::new(Dora::new(16, 32.0, 0.05, targets)?.with_frozen_a()),
        "plain_dora_frozen" => Box::new(Dora::new(16, 32.0, 0.0, targets)?.with_frozen_a()),
        "plain_dora" => Box::new(Dora::new(16, 32.0, 0.0, targets)?),
        "prompt" => Box::new(Prompt::new(20, Start::Vocabulary)?),
        "prefix" => Box::new(Prefix::new(20, None)?),
        "ia3" => Box::new(Ia3::new(targets, None)),
        "vera" => Box::new(Vera::new(64, 0.1, 0.1, 0, targets)?),
        "series" => Box::new(LinearBottleneck::series(32, Activation::Tanh, 1.0, 0.1, targets)?),
        "houlsby" => Box::new(bottleneck(Style::Houlsby)),
        "pfeiffer" => Box::new(bottleneck(Style::Pfeiffer)),
        "parallel" => Box::new(bottleneck(Style::Parallel)),
        other => return Err(wrong(other)),
    };
    let kind = match *precision {
        "float32" => Kind::Float,
        "bf16" => Kind::BFloat16,
        other => return Err(wrong(other)),
    };
    let memory = match *memory {
        "kept" => Memory::KeepActivations,
        "recomputed" => Memory::KeepInputs,
        other => return Err(wrong(other)),
    };
    let numerics = Numerics { memory, ..Numerics::all(kind, Device::Cpu) };
    let task = match *task {
        "text" => Task::LanguageModel,
        "classify" => Task::SequenceClassification { labels: 2 },
        "span" => Task::QuestionAnswering,
        other => return Err(wrong(other)),
    };
    let begun = Instant::now();
    let outline = Outline::new(task, &config, None, method.as_ref(), numerics)?;
    let seq2seq = config["model_type"] == "t5";
    let micro = match (task, seq2seq) {
        (Task::LanguageModel, true) => Micro { rows, length, answer, targets: rows * answer },
        (Task::LanguageModel, false) if answer > 0 => {
            Micro { rows, length: length - 1, answer: 0, targets: rows * answer }
        }
        (Task::LanguageModel, false) => Micro { rows, length: length - 1, answer: 0, targets: rows * (length - 1) },
        _ => Micro { rows, length, answer: 0, targets: rows },
    };
    let forecast = forecast::memory(&outline, &[micro], Keeping::default())?;
    let work = forecast::work(&outline, micro)?.plus(forecast::update(&outline));
    let outlined = begun.elapsed().as_secs_f64();
    let whole = Peak::begin(Device::Cpu);
    let begun = Instant::now();
    let model = Model::build_for(task, &config, &mut Quick, method.as_ref(), 0, numerics)?;
    let (load_seconds, model_bytes) = (begun.elapsed().as_secs_f64(), whole.bytes());
    let examples = examples(&model, rows, length, answer);
    let rule = Rule {
        micro: rows as usize,
        normalize: Normalize::Tokens,
        dropout_seed: 0,
        clip: None,
        optimizer: AdamW { weight_decay: 0.0, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
    };
    let chosen: Vec<usize> = (0..rows as usize).collect();
    let peak = Peak::begin(Device::Cpu);
    let mut weights = Weights::new(&model)?;
    let mut seconds = Vec::new();
    let mut losses = Vec::new();
    for _ in 0..steps {
        let begun = Instant::now();
        let done = weights.step(&model, examples.as_ref(), &chosen, &rule, 1e-4)?;
        losses.push(done.loss.f_double_value(&[])?);
        seconds.push(begun.elapsed().as_secs_f64());
    }
    let measured = peak.bytes();
    drop(weights);
    let positions = (micro.rows * (micro.length + micro.answer)) as i64;
    let speed = Speed::measure(positions, outline.typical(), kind, Device::Cpu)?;
    let counted =
        model.trainable.elements() as u64 == outline.trainable && model.frozen.elements() as u64 == outline.frozen;
    let mib = |bytes: u64| (bytes as f64 / 1048576.0 * 10.0).round() / 10.0;
    Ok(json!({
        "trainable": outline.trainable, "total": outline.trainable + outline.frozen, "counted": counted,
        "weights": mib(forecast.weights), "gradients": mib(forecast.gradients), "optimizer": mib(forecast.optimizer),
        "activations": mib(forecast.activations), "forecast_peak": mib(forecast.peak()),
        "measured_peak": measured.map(mib), "measured_model": model_bytes.map(mib),
        "ratio": measured.map(|measured| (forecast.peak() as f64 / measured as f64 * 1000.0).round() / 1000.0),
        "forecast_seconds": outlined, "load_seconds": load_seconds,
        "step_seconds": seconds, "forecast_step_seconds": speed.seconds(work), "losses": losses,
    }))
}

fn bottleneck(style: Style) -> Bottleneck {
    Bottleneck {
        style,
        size: Size::Units(32),
        activation: Activation::Silu,
        scale: 2.0,
        dropout: 0.1,
        norms: Norms { before: true, after: false },
        first: First::Bert,
        sublayers: vec![sublayers::Role::Attention, sublayers::Role::Mlp],
        leave_out: Vec::new(),
        output_head: false,
    }
}

fn examples(model: &Model, rows: u64, length: u64, answer: u64) -> Box<dyn Examples> {
    let id = |at: u64| (3 + at * 7 % 90) as i32;
    let ids = |row: u64, length: u64| (0..length).map(|at| id(at + row)).collect::<Vec<i32>>();
    let text = |row: u64| TextRow { id: row.to_string(), ids: ids(row, length), types: Vec::new() };
    match &model.network {
        Network::CausalLm(_) => {
            let targets = |at: u64| answer == 0 || at + answer >= length;
            let row = |row: u64| LossRow::new(row.to_string(), &ids(row, length), (0..length).map(targets));
            Box::new(LanguageModel::new((0..rows).filter_map(row).collect()))
        }
        Network::Seq2SeqLm(_) => {
            let row = |row: u64| AnsweredRow { text: text(row), answer: ids(row, answer) };
            Box::new(Seq2Seq::new((0..rows).map(row).collect(), 0))
        }
        Network::SequenceClassifier(_) => {
            let row = |row: u64| Labelled { text: text(row), target: (row % 2) as i64 };
            Box::new(TextExamples::<Classify>::new((0..rows).map(row).collect(), 0))
        }
        Network::TokenClassifier(_) => {
            let row = |row: u64| Labelled { text: text(row), target: (1, 2) };
            Box::new(TextExamples::<Span>::new((0..rows).map(row).collect(), 0))
        }
    }
}
