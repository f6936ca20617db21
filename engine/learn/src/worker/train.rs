//! The `train` stage: settings to plain values, rows with loss, the model, the training, and what it leaves. Knows the
//! words of pipeline files; not how a step is done.

use std::path::Path;
use std::time::Instant;

use data::metrics::meaning;
use serde_json::{Map, Value, json};
use spec::adapter::ChosenSize;
use spec::files;
use spec::job::{Job, JobInput};
use spec::model::ModelSource;
use spec::optimizer::Optimizer;
use spec::schedule::Schedule;
use spec::stage::{Duration, Every, Keep, KeepBest, Objective, Train};
use tch::Device;

use super::examples::{self, Rows};
use super::memory::Peak;
use super::question::Question;
use super::special_ids::SpecialIds;
use super::{adapter_source, device, labels, model_source, sized};
use crate::adapters::Method;
use crate::error::{Error, Result, some_of};
use crate::models::Model;
use crate::numerics::{Memory, Numerics};
use crate::objectives::Examples;
use crate::observer::Observer;
use crate::optim::AdamW;
use crate::peft::Saved;
use crate::schedule::Shape;
use crate::train::{self, Asks, Length, Outcome, Saves, Settings, Training, Validate, Warmup};
use crate::weights::write_json;

/// Does the job.
pub fn run(job: &Job, stage: &Train, device: Device, observer: &mut dyn Observer) -> Result<()> {
    let started = Instant::now();
    let data = data(job)?;
    let ids = SpecialIds::read(data)?;
    let labels = match &stage.objective {
        Objective::Classify(_) => labels::of_data(data)?,
        _ => Vec::new(),
    };
    let rows =
        Rows { data, objective: &stage.objective, ids: &ids, labels: &labels, share_prefix: stage.batch.share_prefix };
    let examples = rows.read(stage.train_split(), observer)?;
    let validation = match &stage.validate {
        Some(validate) => Some(rows.read(&validate.on, observer)?),
        None => None,
    };
    let task = examples::task(&stage.objective, &labels);
    let memory = if stage.gradient_checkpointing { Memory::KeepInputs } else { Memory::KeepActivations };
    let numerics = Numerics { memory, ..device::numerics(stage.precision, device) };
    let (adapter, chosen) = sized::in_numbers(&stage.adapter, task, numerics, || model_source::base_config(job))?;
    if let Some(chosen) = &chosen {
        observer.warning(chosen.to_string());
    }
    let method = adapter_source::of_job(job, &adapter)?;
    let whole = Peak::begin(device);
    let mut model = match &stage.model {
        ModelSource::Stage(_) => model_source::with_method(job, task, method.as_ref(), stage.seed.init, numerics)?,
        ModelSource::Random(shape) => {
            let config = model_source::random_config(shape, &ids);
            Model::random_for(task, &config, stage.seed.init, method.as_ref(), stage.seed.init, numerics)?
        }
    };
    adapter_source::load(job, &stage.adapter, &mut model)?;
    if !model.fresh().is_empty() && !stage.adapter.has_head() {
        let fresh = some_of(model.fresh().iter().map(String::as_str));
        observer.warning(format!("the model has no head for {}: {fresh} are newly made", task.work()));
    }
    if !model.left_out.is_empty() {
        let names = some_of(model.left_out.iter().map(String::as_str));
        observer.warning(format!(
            "{} tensors of the checkpoint are no part of this model and are left out: {names}",
            model.left_out.len()
        ));
    }
    let splits = [Some(stage.train_split()), stage.validate.as_ref().map(|validate| validate.on.as_str())];
    let splits: Vec<_> = splits.into_iter().flatten().map(|split| data.file(&files::split(split))).collect();
    ids.check_model(model.network.vocabulary(), &model_source::config_place(job), &splits)?;
    check_length(&model, examples.as_ref(), observer);
    let model_bytes = whole.bytes();
    let settings = settings(stage);
    let peak = Peak::begin(device);
    let question = stage.validate.as_ref().map(|validate| Question::new(job, stage, validate, &ids, device));
    let question = question.transpose()?.flatten();
    if let Some(question) = &question {
        question.try_out(&model)?;
    }
    if !labels.is_empty() {
        labels::into_config(&mut model.config, &labels);
    }
    let saves = OneByOne(method.as_ref());
    let training = Training {
        model: &model,
        examples: examples.as_ref(),
        validation: validation.as_deref(),
        asks: question.as_ref().map(|question| question as &dyn Asks),
        settings: &settings,
        snapshots: stage
            .snapshots
            .as_ref()
            .map(|snapshots| train::Snapshots { every: every(&snapshots.every), saves: &saves }),
        state: &job.state,
    };
    let outcome = training.run(&job.result.join(files::HISTORY), observer)?;
    let measured = json!({
        "seconds": outcome.seconds,
        "load_seconds": (started.elapsed().as_secs_f64() - outcome.seconds).max(0.0),
        "step_seconds": outcome.step_seconds,
        "part_seconds": outcome.times.of_training(outcome.steps),
        "timed_steps": outcome.times.steps,
        "tokens_per_second": outcome.tokens as f64 / outcome.step_seconds.max(1e-9),
        "peak_memory_bytes": peak.bytes(),
        "model_memory_bytes": model_bytes,
        "device": device::name(device),
        "libtorch": device::libtorch(),
        "threads": job.threads,
        "resumed_from": outcome.resumed_from,
    });
    if !labels.is_empty() {
        labels::write(&labels, &job.result)?;
    }
    method.save(&Saved::of(&model, None), &job.result)?;
    if !stage.adapter.is_adapter() {
        complete_folder(data, &ids, &job.result)?;
    }
    write_json(&job.result.join(files::SUMMARY), &summary(&model, examples.as_ref(), &outcome, chosen.as_ref()))?;
    write_json(&job.observed.join(files::MEASURED), &measured)
}

/// The rows' stage.
pub fn data(job: &Job) -> Result<&JobInput> {
    job.input("data").ok_or_else(|| Error::setting("data", "the job names no data", "run `engine run` again"))
}

fn check_length(model: &Model, examples: &dyn Examples, observer: &mut dyn Observer) {
    let rows = (0..examples.len()).filter_map(|row| examples.row(row));
    let added = model.added_positions().unsigned_abs();
    let longest = rows.map(|row| row.inputs()).max().unwrap_or(0) as u64 + added;
    let with = if added == 0 { String::new() } else { format!(", {added} of them the adapter's") };
    match model.config.get("max_position_embeddings").and_then(Value::as_u64) {
        Some(limit) if longest > limit => observer.warning(format!(
            "the longest row has {longest} tokens{with}, the model was made for {limit}: it may not have learned such positions"
        )),
        _ => {}
    }
}

/// The settings of the training itself.
pub fn settings(stage: &Train) -> Settings {
    let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let Optimizer::AdamW(adamw) = &stage.optimizer;
    Settings {
        length: match (stage.epochs, stage.steps) {
            (_, Some(steps)) => Length::Steps(steps),
            (epochs, None) => Length::Epochs(epochs.unwrap_or(1)),
        },
        batch: size(stage.batch.size),
        micro: size(stage.micro_batch()),
        optimizer: AdamW {
            weight_decay: adamw.weight_decay,
            beta1: adamw.beta1,
            beta2: adamw.beta2,
            epsilon: adamw.epsilon,
        },
        learning_rate: adamw.learning_rate,
        shape: match stage.schedule {
            Schedule::Linear(_) => Shape::Linear,
            Schedule::Cosine(_) => Shape::Cosine,
            Schedule::Constant(_) => Shape::Constant,
        },
        warmup: match stage.schedule.warmup() {
            None => Warmup::Steps(0),
            Some(Duration::Steps(steps)) => Warmup::Steps(*steps),
            Some(Duration::Ratio(ratio)) => Warmup::Ratio(*ratio),
        },
        clip: stage.clip,
        data_seed: stage.seed.data,
        dropout_seed: stage.seed.dropout,
        normalize: examples::normalize(&stage.objective),
        validate: match &stage.validate {
            None => {
                Validate { every: train::Every::Epochs(1), best: train::Best::Loss, keep_best: false, patience: None }
            }
            Some(validate) => Validate {
                every: every(&validate.every),
                best: match validate.best() {
                    KeepBest::Loss => train::Best::Loss,
                    KeepBest::Figure(name) => train::Best::Figure {
                        more_is_better: meaning(name).is_none_or(|meaning| meaning.more_is_better),
                        name: name.clone(),
                    },
                },
                keep_best: matches!(validate.keep, Keep::Best(_)),
                patience: validate.patience,
            },
        },
        checkpoint: stage.checkpoint.steps,
    }
}

fn every(every: &Every) -> train::Every {
    match every {
        Every::Steps(steps) => train::Every::Steps(*steps),
        Every::Epochs(epochs) => train::Every::Epochs(*epochs),
    }
}

/// Snapshots in the files that the method leaves in the end.
#[derive(Debug)]
struct OneByOne<'a>(&'a dyn Method);

impl Saves for OneByOne<'_> {
    fn save(&self, model: &Model, folder: &Path) -> Result<()> {
        self.0.save(&Saved::of(model, None), folder)
    }
}

/// What else a model's folder needs for other programs: the tokenizer, its special ids, and what ends a text.
fn complete_folder(data: &JobInput, ids: &SpecialIds, folder: &Path) -> Result<()> {
    for name in [files::TOKENIZER, files::SPECIAL_IDS] {
        let (from, to) = (data.file(name), folder.join(name));
        std::fs::copy(&from, &to).map_err(|error| Error::io("copy", &from, error))?;
    }
    let generation = json!({ "bos_token_id": ids.bos, "eos_token_id": ids.eos, "pad_token_id": ids.pad });
    write_json(&folder.join(files::GENERATION_CONFIG), &generation)
}

fn summary(model: &Model, examples: &dyn Examples, outcome: &Outcome, chosen: Option<&ChosenSize>) -> Value {
    let trainable = model.trainable.elements();
    let validation_loss = outcome.validation.as_ref().map(|kept| kept.loss);
    let mut headline = Map::from_iter([("loss".to_owned(), json!(validation_loss.unwrap_or(outcome.training_loss)))]);
    let figures = outcome.validation.iter().flat_map(|kept| &kept.figures);
    headline.extend(figures.map(|(name, value)| (name.clone(), json!(value))));
    let mut summary = json!({
        "headline": headline,
        "training_loss": outcome.training_loss,
        "validation_loss": validation_loss,
        "trainable_parameters": trainable,
        "total_parameters": trainable + model.frozen.elements(),
        "rows": examples.len(),
        "steps": outcome.steps,
        "epochs": outcome.epochs,
        "tokens": outcome.tokens,
        "loss_tokens": outcome.loss_tokens,
        "best_step": outcome.best_step,
        "kept_step": outcome.kept_step,
        "stopped_early": outcome.stopped_early,
    });
    if let (Some(skipped), Some(summary)) = (outcome.skipped_steps, summary.as_object_mut()) {
        summary.insert("skipped_steps".to_owned(), json!(skipped));
    }
    if let (Some(chosen), Some(summary)) = (chosen, summary.as_object_mut()) {
        summary.insert("chosen_size".to_owned(), json!(chosen));
    }
    summary
}
