//! Where a job's model comes from: a folder in Hugging Face layout, an adapter on the model that it is carried with, or
//! a shape with random weights. Knows files between stages; no layer.

use std::path::PathBuf;

use serde_json::{Value, json};
use spec::job::{Job, JobInput};
use spec::model::{LlamaShape, RandomModel};
use spec::observed::Weights;
use tch::{Device, Kind};
use tensor_files::{Dtype, WeightFiles};

use super::special_ids::SpecialIds;
use crate::adapters::{self, Frozen, Method, saved_method};
use crate::error::{Error, Result};
use crate::models::{Model, Task, read_config};
use crate::numerics::Numerics;
use crate::weights::InMemory;

/// The model of the job's input `model` for a task, to be evaluated. An adapter is merged into it, unless its weights are
/// rounded so that the adapter's small part would be lost, or its method is none that merges: then it stays beside them.
pub fn plain(job: &Job, task: Task, numerics: Numerics) -> Result<Model> {
    let input = input(job)?;
    let opened = open(input, task, numerics)?;
    let adapted = !folder(input).join(spec::files::MODEL_CONFIG).exists();
    let model = if adapted && numerics.base == Kind::Float && opened.merges() { opened.merged()? } else { opened };
    if folder(input).join(spec::files::MODEL_CONFIG).exists() && !model.fresh().is_empty() {
        return Err(Error::file(
            &folder(input),
            format!("the model has no head for {}", task.work()),
            "train it first: what a `train` stage leaves has one",
        ));
    }
    Ok(model)
}

/// The model of the job's input `model` for a task as it is used where nothing is merged: an adapter stands beside its
/// weights, whatever these are kept in. Also, which of the two it is.
pub fn unmerged(job: &Job, task: Task, numerics: Numerics) -> Result<(Model, Weights)> {
    let input = input(job)?;
    let weights = match input.kind.as_str() {
        "merge" => Weights::Merged,
        _ if adapters::is_adapter(&folder(input)) => Weights::Unmerged,
        _ => Weights::Plain,
    };
    Ok((open(input, task, numerics)?, weights))
}

/// The model of the job's input `model` as it was trained, computing in float32: an adapter beside the weights it belongs
/// to, which are kept as `kind`, that of their file. Weights that an earlier adapter is merged into are kept in float32.
pub fn adapted(job: &Job, kind: Kind, device: Device) -> Result<Model> {
    let input = input(job)?;
    let is_whole = |input: &JobInput| folder(input).join(spec::files::MODEL_CONFIG).exists();
    let as_stored = input.carried.as_deref().is_none_or(is_whole);
    let numerics = Numerics { base: if as_stored { kind } else { Kind::Float }, ..device.into() };
    let folder = folder(input);
    let task = if adapters::is_adapter(&folder) { adapters::task(&folder)? } else { Task::LanguageModel };
    open(input, task, numerics)
}

/// The kind of most numbers in the files of the model that the job's input `model` is or belongs to.
pub fn stored_kind(job: &Job) -> Result<Kind> {
    let files = WeightFiles::open(&folder(base(job)?))?;
    let mut counts = [(Kind::Float, 0), (Kind::BFloat16, 0), (Kind::Half, 0)];
    for name in files.names() {
        let Some(stored) = files.holder(name).and_then(|file| file.tensors().get(name)) else { continue };
        let kind = match stored.dtype {
            Dtype::BF16 => Kind::BFloat16,
            Dtype::F16 => Kind::Half,
            Dtype::F32 | Dtype::Other(_) => Kind::Float,
        };
        let count = stored.shape.iter().product::<usize>();
        counts.iter_mut().filter(|(of, _)| *of == kind).for_each(|(_, sum)| *sum += count);
    }
    Ok(counts.into_iter().max_by_key(|(_, count)| *count).map_or(Kind::Float, |(kind, _)| kind))
}

/// The input that left the whole model which the job's input `model` is or belongs to.
pub fn base(job: &Job) -> Result<&JobInput> {
    let mut input = input(job)?;
    while let (false, Some(carried)) = (folder(input).join(spec::files::MODEL_CONFIG).exists(), &input.carried) {
        input = carried;
    }
    Ok(input)
}

/// The `config.json` of the whole model that the job's input `model` is or belongs to.
pub fn base_config(job: &Job) -> Result<Value> {
    read_config(&folder(base(job)?))
}

/// The model of the job's input `model`, with `method` applied. An adapter that is already there is merged first, in
/// float32: what trains now stands on what was learned before.
pub fn with_method(job: &Job, task: Task, method: &dyn Method, seed: u64, numerics: Numerics) -> Result<Model> {
    let input = input(job)?;
    let folder = folder(input);
    if folder.join(spec::files::MODEL_CONFIG).exists() {
        return Model::load_for(task, &folder, method, seed, numerics);
    }
    let (config, tensors) = merged(input, task, numerics.device.into())?.merged_tensors()?;
    Model::build_for(task, &config, &mut InMemory::new(tensors), method, seed, numerics)
}

/// The `config.json` of a new model of this shape with the tokenizer's vocabulary.
pub fn random_config(shape: &RandomModel, ids: &SpecialIds) -> Value {
    let RandomModel::Llama(shape) = shape;
    let LlamaShape {
        hidden_size,
        intermediate_size,
        num_hidden_layers,
        num_attention_heads,
        num_key_value_heads,
        head_dim,
        tie_word_embeddings,
        rope_theta,
        rms_norm_eps,
        max_position_embeddings,
        initializer_range,
    } = shape.clone();
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden_size,
        "intermediate_size": intermediate_size,
        "num_hidden_layers": num_hidden_layers,
        "num_attention_heads": num_attention_heads,
        "num_key_value_heads": num_key_value_heads.unwrap_or(num_attention_heads),
        "head_dim": head_dim.unwrap_or(hidden_size / num_attention_heads.max(1)),
        "hidden_act": "silu",
        "attention_bias": false,
        "mlp_bias": false,
        "tie_word_embeddings": tie_word_embeddings,
        "rope_theta": rope_theta,
        "rms_norm_eps": rms_norm_eps,
        "max_position_embeddings": max_position_embeddings,
        "initializer_range": initializer_range,
        "vocab_size": ids.vocabulary,
        "bos_token_id": ids.bos,
        "eos_token_id": ids.eos,
        "pad_token_id": ids.pad,
        "torch_dtype": "float32",
    })
}

/// Where the config of the job's model is, for messages.
pub fn config_place(job: &Job) -> PathBuf {
    job.input("model").map_or_else(|| job.result.join(spec::files::MODEL_CONFIG), folder)
}

/// What ends a text for the model itself: `eos_token_id` of its `generation_config.json`, else of its config.
pub fn end_ids(job: &Job) -> Result<Vec<i64>> {
    let folder = folder(base(job)?);
    for name in [spec::files::GENERATION_CONFIG, spec::files::MODEL_CONFIG] {
        let path = folder.join(name);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        let config: Value = serde_json::from_slice(&text)
            .map_err(|error| Error::file(&path, format!("is no valid JSON: {error}"), "fetch the file again"))?;
        match config.get("eos_token_id") {
            Some(Value::Array(ids)) => return Ok(ids.iter().filter_map(Value::as_i64).collect()),
            Some(Value::Number(id)) => return Ok(id.as_i64().into_iter().collect()),
            _ => {}
        }
    }
    Ok(Vec::new())
}

fn input(job: &Job) -> Result<&JobInput> {
    job.input("model").ok_or_else(|| Error::setting("model", "the job names no model", "run `engine run` again"))
}

fn merged(input: &JobInput, task: Task, numerics: Numerics) -> Result<Model> {
    let model = open(input, task, numerics)?;
    let whole = folder(input).join(spec::files::MODEL_CONFIG).exists();
    if whole || !model.merges() { Ok(model) } else { model.merged() }
}

fn open(input: &JobInput, task: Task, numerics: Numerics) -> Result<Model> {
    let folder = folder(input);
    if folder.join(spec::files::MODEL_CONFIG).exists() {
        read_config(&folder)?;
        return Model::load_for(task, &folder, &Frozen, 0, numerics);
    }
    if !adapters::is_adapter(&folder) {
        let problem = format!("`{}` left no model here: neither config.json nor adapter_config.json", input.name());
        return Err(Error::file(&folder, problem, "name a stage that downloads or trains a model"));
    }
    let Some(base) = &input.carried else {
        let problem = format!("`{}` left an adapter, and the model that it belongs to is not here", input.name());
        return Err(Error::file(&folder, problem, "run the pipeline again with the stage that left the base model"));
    };
    let (config, tensors) = merged(base, task, numerics)?.merged_tensors()?;
    let method = saved_method(&folder)?;
    let mut model = Model::build_for(task, &config, &mut InMemory::new(tensors), method.as_ref(), 0, numerics)?;
    adapters::load(&folder, &mut model.trainable)?;
    Ok(model)
}

fn folder(input: &JobInput) -> PathBuf {
    match &input.part {
        Some(part) => input.result.join(part),
        None => input.result.clone(),
    }
}
