//! Forecasts for `engine estimate`: settings to plain values, the rows that are there or the most that they may be, and
//! the answers. Knows the words of pipeline files; not how a training is forecast.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use spec::adapter::{AdapterSource, ChosenSize};
use spec::files;
use spec::forecast::{Answer, Assumed, Figures, Question, Questions, Shape, Trained};
use spec::job::Failure;
use spec::model::ModelSource;
use spec::stage::{Objective, Train};
use tch::Device;

use super::examples::{self, Rows};
use super::special_ids::SpecialIds;
use super::{adapter_source, device, labels, model_source, sized, train};
use crate::batches;
use crate::error::{Error, Result};
use crate::forecast::{self, Keeping, Micro, Outline, Speed, Work};
use crate::models::read_config;
use crate::numerics::{Memory, Numerics};
use crate::objectives::Examples;
use crate::observer::Unobserved;

/// The most micro-batches whose work is looked at.
const LOOKED_AT: usize = 64;
/// The largest micro-batches whose memory is looked at, by each measure.
const LARGEST: usize = 4;

/// Answers the questions on standard input, a line each on standard output. Returns whether they could be read.
pub fn estimate() -> bool {
    let mut text = String::new();
    let questions = match std::io::stdin().read_to_string(&mut text).map(|_| serde_json::from_str::<Questions>(&text)) {
        Ok(Ok(questions)) => questions,
        Ok(Err(error)) => return refuse(&error.to_string()),
        Err(error) => return refuse(&error.to_string()),
    };
    tch::set_num_interop_threads(1);
    let (device, mut speeds) = match (questions.products_per_second, questions.device) {
        (Some(told), spec::job::Device::Cuda(number)) => (Device::Cuda(number), Speeds::Told(Speed::told(told))),
        (told, wanted) => match device::choose(wanted) {
            Ok(device) => (device, told.map_or_else(Speeds::default, |told| Speeds::Told(Speed::told(told)))),
            Err(error) => return refuse(&error.to_string()),
        },
    };
    for question in &questions.questions {
        let outcome = answer(question, device, &mut speeds).map_err(|error| super::failure(&error));
        say(&Answer { name: question.name.clone(), outcome });
    }
    true
}

fn refuse(problem: &str) -> bool {
    let failure = Failure {
        message: format!("the questions cannot be answered: {problem}"),
        place: None,
        hint: Some("`engine estimate` asks them; engine and worker must be of the same build".into()),
    };
    say(&Answer { name: String::new(), outcome: Err(failure) });
    false
}

fn say(answer: &Answer) {
    if let Ok(line) = serde_json::to_string(answer) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

/// How fast the device is.
enum Speeds {
    /// As the user says.
    Told(Speed),
    /// What was measured of this machine so far, by threads, kind of numbers and sizes.
    Measured(BTreeMap<(usize, u64, [i64; 3]), Speed>),
}

impl Default for Speeds {
    fn default() -> Self {
        Self::Measured(BTreeMap::new())
    }
}

/// What `--estimate` asks of a process of its own: the memory of a training on the CPU.
#[derive(Serialize, Deserialize)]
struct MemoryQuestion {
    question: Question,
    micros: Vec<Micro>,
    keeping: Keeping,
}

/// The memory of a training on the CPU, from a process that has not used its heap for another forecast yet.
fn in_own_process(question: &Question, micros: Vec<Micro>, keeping: Keeping) -> Result<forecast::Memory> {
    let failed = |problem: String| {
        Error::setting("memory", format!("cannot be forecast: {problem}"), "`engine doctor` looks what is wrong here")
    };
    let program = std::env::current_exe().map_err(|error| failed(error.to_string()))?;
    let asked = MemoryQuestion { question: question.clone(), micros, keeping };
    let text = serde_json::to_vec(&asked).map_err(|error| failed(error.to_string()))?;
    let mut child = Command::new(program)
        .arg("--estimate-memory")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(&text).map_err(|error| failed(error.to_string()))?;
    }
    let said = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    serde_json::from_slice(&said.stdout).map_err(|_| failed(format!("its process ended with {}", said.status)))
}

/// Answers [`in_own_process`] on standard output. Returns whether it could.
pub fn estimate_memory() -> bool {
    let Ok(asked) = serde_json::from_reader::<_, MemoryQuestion>(std::io::stdin().lock()) else { return false };
    let memory = || {
        let read = read(&asked.question, Device::Cpu)?;
        forecast::memory(&read.outline, &asked.micros, asked.keeping)
    };
    let Ok(memory) = memory() else { return false };
    serde_json::to_writer(std::io::stdout().lock(), &memory).is_ok()
}

/// A question in this crate's own values.
struct Read {
    stage: Train,
    labels: Vec<String>,
    ids: SpecialIds,
    outline: Outline,
    chosen: Option<ChosenSize>,
}

fn read(question: &Question, device: Device) -> Result<Read> {
    let stage: Train = serde_json::from_value(question.settings.clone()).map_err(|error| {
        Error::setting("settings", error.to_string(), "engine and worker must be of the same build")
    })?;
    let labels = match (&question.data, &stage.objective) {
        (Some(data), Objective::Classify(_)) => labels::of_data(data)?,
        _ => (0..question.assumed.labels).map(|label| label.to_string()).collect(),
    };
    let ids = match &question.data {
        Some(data) => SpecialIds::read(data)?,
        None => SpecialIds { bos: None, eos: Vec::new(), pad: 0, vocabulary: question.assumed.vocabulary as i64 },
    };
    let (outline, chosen) = outline(question, &stage, &labels, &ids, device)?;
    Ok(Read { stage, labels, ids, outline, chosen })
}

fn answer(question: &Question, device: Device, speeds: &mut Speeds) -> Result<Figures> {
    let Read { stage, labels, ids, outline, chosen } = read(question, device)?;
    let rows = match &question.data {
        Some(data) => {
            let rows = Rows {
                data,
                objective: &stage.objective,
                ids: &ids,
                labels: &labels,
                share_prefix: stage.batch.share_prefix,
            };
            Seen::in_rows(rows.read(stage.train_split(), &mut Unobserved)?.as_ref(), &stage)
        }
        None => Seen::assumed(&question.assumed, &stage),
    };
    let keeping = Keeping { best: train::settings(&stage).validate.keep_best && stage.validate.is_some() };
    let memory = match device {
        Device::Cpu => in_own_process(question, rows.largest(), keeping)?,
        _ => forecast::memory(&outline, &rows.largest(), keeping)?,
    };
    let micros = rows.some();
    let mut work = Work::default();
    for micro in &micros {
        work = work.plus(forecast::work(&outline, *micro)?);
    }
    let per_step = rows.micros.len() as f64 / rows.batches as f64;
    let work = work.times(per_step / micros.len().max(1) as f64).plus(forecast::update(&outline));
    let positions = micros.iter().map(|micro| micro.rows * (micro.length + micro.answer)).sum::<u64>();
    let positions = i64::try_from(positions / (micros.len() as u64).max(1)).unwrap_or(i64::MAX);
    let speed = speed(question.threads, positions, &outline, device, speeds)?;
    Ok(Figures {
        trainable_parameters: outline.trainable,
        chosen_size: chosen,
        total_parameters: outline.trainable + outline.frozen,
        weights: memory.weights,
        gradients: memory.gradients,
        optimizer: memory.optimizer,
        activations: memory.activations,
        runtime: memory.runtime,
        peak: memory.peak(),
        longest: rows.micros.iter().map(|micro| micro.length).max().unwrap_or(0),
        rows_known: question.data.is_some(),
        steps: rows.steps,
        step_seconds: speed.seconds(work),
        step_products: work.products,
        products_per_second: speed.products,
        speed_measured: matches!(speeds, Speeds::Measured(_)),
        device: device::name(device),
    })
}

/// The outline of the model as the stage would train it, and the size of its method where that is chosen by a count.
fn outline(
    question: &Question,
    stage: &Train,
    labels: &[String],
    ids: &SpecialIds,
    device: Device,
) -> Result<(Outline, Option<ChosenSize>)> {
    let (config, folder) = match &question.model {
        Shape::Folder(folder) => (read_config(folder)?, Some(folder.as_path())),
        Shape::Random(model) => match serde_json::from_value(model.clone()) {
            Ok(ModelSource::Random(shape)) => (model_source::random_config(&shape, ids), None),
            _ => {
                return Err(Error::setting("model", "is no shape", "engine and worker must be of the same build"));
            }
        },
    };
    let weights = |name: &str| folder.is_some_and(|folder| folder.join(name).exists());
    let folder = folder.filter(|_| weights(files::MODEL_WEIGHTS) || weights(files::MODEL_INDEX));
    let memory = if stage.gradient_checkpointing { Memory::KeepInputs } else { Memory::KeepActivations };
    let numerics = Numerics { memory, ..device::numerics(stage.precision, device) };
    let tokenized = |text: &str| match &question.data {
        Some(data) => super::tokenized(data, text),
        // Some token: what it is changes no size.
        None => Ok(vec![0]),
    };
    let task = examples::task(&stage.objective, labels);
    let new = |source: &AdapterSource| {
        let (source, chosen) = sized::in_numbers(source, task, numerics, || Ok(config.clone()))?;
        Ok::<_, Error>((adapter_source::new(&source, &tokenized)?, chosen))
    };
    let (method, chosen) = match &question.adapter {
        None => new(&stage.adapter)?,
        Some(Trained::Folder(folder)) => (adapter_source::saved(folder)?, None),
        Some(Trained::Settings(settings)) => match serde_json::from_value::<AdapterSource>(settings.clone()) {
            Ok(source) => new(&source)?,
            Err(error) => {
                let hint = "engine and worker must be of the same build";
                return Err(Error::setting("adapter", format!("is no adapter: {error}"), hint));
            }
        },
    };
    Ok((Outline::new(task, &config, folder, method.as_ref(), numerics)?, chosen))
}

fn speed(threads: usize, positions: i64, outline: &Outline, device: Device, speeds: &mut Speeds) -> Result<Speed> {
    let measured = match speeds {
        Speeds::Told(speed) => return Ok(*speed),
        Speeds::Measured(measured) => measured,
    };
    let [outputs, inputs] = outline.typical();
    // Alike is as fast.
    let positions = positions.max(1).unsigned_abs().next_power_of_two().min(2048) as i64;
    let key = (threads, outline.compute(), [positions, outputs, inputs]);
    if let Some(known) = measured.get(&key) {
        return Ok(*known);
    }
    tch::set_num_threads(i32::try_from(threads.max(1)).unwrap_or(i32::MAX));
    let speed = Speed::measure(positions, [outputs, inputs], outline.numerics.compute, device)?;
    measured.insert(key, speed);
    Ok(speed)
}

/// The micro-batches of an epoch.
struct Seen {
    micros: Vec<Micro>,
    batches: u64,
    steps: Option<u64>,
}

impl Seen {
    fn in_rows(examples: &dyn Examples, stage: &Train) -> Self {
        let settings = train::settings(stage);
        let batches = examples.epoch(settings.data_seed, 0, settings.batch);
        let answers = matches!(stage.objective, Objective::Seq2Seq(_));
        let micro = |part: &[usize]| {
            let part = || part.iter().filter_map(|&row| examples.row(row));
            let losses = |row: &dyn batches::Row| if answers { row.losses() } else { 0 };
            Micro {
                rows: part().count() as u64,
                length: part().map(|row| row.inputs() - losses(row)).max().unwrap_or(0) as u64,
                answer: part().map(losses).max().unwrap_or(0) as u64,
                targets: part().map(|row| row.losses() as u64).sum(),
            }
        };
        let micros: Vec<Micro> =
            batches.iter().flat_map(|batch| batch.chunks(settings.micro.max(1)).map(micro)).collect();
        let per_epoch = batches::per_epoch(examples.len(), settings.batch).max(1);
        Self { micros, batches: per_epoch, steps: Some(settings.steps(per_epoch)) }
    }

    fn assumed(assumed: &Assumed, stage: &Train) -> Self {
        let settings = train::settings(stage);
        let Assumed { length, answer, .. } = *assumed;
        let micro = |rows: u64| match &stage.objective {
            Objective::Seq2Seq(_) => Micro { rows, length, answer, targets: rows * answer },
            Objective::LanguageModel(model) if model.loss_on == spec::stage::LossOn::Completion => {
                Micro { rows, length: length.saturating_sub(1), answer: 0, targets: rows * answer.min(length) }
            }
            Objective::LanguageModel(_) => {
                let length = length.saturating_sub(1);
                Micro { rows, length, answer: 0, targets: rows * length }
            }
            _ => Micro { rows, length, answer: 0, targets: rows },
        };
        let rows: Vec<usize> = (0..settings.batch).collect();
        let micros = rows.chunks(settings.micro.max(1)).map(|part| micro(part.len() as u64)).collect();
        let epoch = |rows| batches::per_epoch(usize::try_from(rows).unwrap_or(usize::MAX), settings.batch).max(1);
        let steps = stage.steps.or_else(|| assumed.rows.map(|rows| settings.steps(epoch(rows))));
        Self { micros, batches: 1, steps }
    }

    /// The micro-batches that may need the most memory.
    fn largest(&self) -> Vec<Micro> {
        let different: BTreeSet<Micro> = self.micros.iter().copied().collect();
        let mut different: Vec<Micro> = different.into_iter().collect();
        let mut largest = BTreeSet::new();
        let measures: [fn(&Micro) -> u64; 3] = [
            |micro| micro.rows * (micro.length + micro.answer),
            |micro| micro.targets,
            |micro| micro.rows * micro.length * micro.length,
        ];
        for measure in measures {
            different.sort_by_key(|micro| std::cmp::Reverse(measure(micro)));
            largest.extend(different.iter().take(LARGEST).copied());
        }
        largest.into_iter().collect()
    }

    /// Micro-batches of all lengths there are.
    fn some(&self) -> Vec<Micro> {
        let every = self.micros.len().div_ceil(LOOKED_AT).max(1);
        let mut sorted = self.micros.clone();
        sorted.sort_unstable_by_key(|micro| (micro.length, *micro));
        sorted.into_iter().skip(every / 2).step_by(every).collect()
    }
}
