//! The `merge` stage: an adapter becomes part of its model's weights, and how exactly is measured. Knows the files between
//! stages; not how a method merges.

use std::time::Instant;

use serde_json::{Value, json};
use spec::files;
use spec::job::{Job, JobInput};
use spec::stage::Merge;
use tch::{Device, Kind, Tensor};

use super::memory::Peak;
use super::{device, labels, model_source};
use crate::adapters::Frozen;
use crate::error::{Error, Result};
use crate::models::Model;
use crate::weights::{InMemory, write_json, write_model};

/// Does the job.
pub fn run(job: &Job, stage: &Merge, device: Device) -> Result<()> {
    let started = Instant::now();
    let peak = Peak::begin(device);
    let kind = model_source::stored_kind(job)?;
    // Each map is merged in float32 and rounded once.
    let adapted = model_source::adapted(job, kind, device)?;
    let (mut config, tensors) = adapted.merged_tensors()?;
    if let Some(known) = labels::of_file(&model_source::config_place(job).join(files::LABELS))? {
        labels::into_config(&mut config, &known);
        labels::write(&known, &job.result)?;
    }
    let tensors = tensors
        .into_iter()
        .map(|(name, tensor)| Ok((name, tensor.f_to_kind(kind)?)))
        .collect::<Result<Vec<(String, Tensor)>>>()?;
    let error = difference(&adapted, &config, &tensors)?;
    let bound = stage.max_error.unwrap_or_else(|| usual_bound(kind));
    if error.is_nan() || error > bound {
        let problem =
            format!("the merged model's logits are off by {error:.1e} of the largest; at most {bound:.1e} may be");
        let hint = "look at the adapter's values and at the model's kind of numbers; `max_error` moves the bound";
        return Err(Error::stopped(problem, None, hint));
    }
    write_model(&job.result, &config, &tensors)?;
    copy_tokenizer(model_source::base(job)?, job)?;
    let measured = json!({
        "seconds": started.elapsed().as_secs_f64(),
        "merge_error": error,
        "merge_error_bound": bound,
        "stored_as": name(kind),
        "peak_memory_bytes": peak.bytes(),
        "device": device::name(device),
        "threads": job.threads,
    });
    write_json(&job.observed.join(files::MEASURED), &measured)
}

/// How far logits may be off, relative to the largest: what rounding every weight of a model once does to them, with room.
fn usual_bound(kind: Kind) -> f64 {
    match kind {
        Kind::BFloat16 => 5e-2,
        Kind::Half => 1e-2,
        _ => 1e-3,
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::BFloat16 => "bfloat16",
        Kind::Half => "float16",
        _ => "float32",
    }
}

/// The largest difference of what the adapted model and the one of `tensors` give for four rows of sixteen tokens, relative
/// to the largest. Both compute in float32.
fn difference(adapted: &Model, config: &Value, tensors: &[(String, Tensor)]) -> Result<f64> {
    let _guard = tch::no_grad_guard();
    let shared = tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone()));
    let mut source = InMemory::new(shared);
    let merged = Model::build_for(adapted.task, config, &mut source, &Frozen, 0, adapted.numerics)?;
    let vocabulary = adapted.network.vocabulary();
    // Spread over the vocabulary, and the same each time.
    let tokens = Tensor::f_arange(64, (Kind::Int64, adapted.device))?;
    let tokens = tokens.f_mul_scalar(7919)?.f_remainder(vocabulary)?.f_view([4, 16])?;
    let (expected, found) = (adapted.network.outputs(&tokens)?, merged.network.outputs(&tokens)?);
    let largest = |tensor: &Tensor| -> Result<f64> { Ok(tensor.f_abs()?.f_max()?.f_double_value(&[])?) };
    Ok(largest(&found.f_sub(&expected)?)? / largest(&expected)?.max(f64::MIN_POSITIVE))
}

/// Copies what says how text becomes ids from the model's folder, as far as it is there.
fn copy_tokenizer(base: &JobInput, job: &Job) -> Result<()> {
    for name in files::TOKENIZER_FILES {
        let (from, to) = (base.file(name), job.result.join(name));
        match std::fs::copy(&from, &to) {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("copy", &from, error)),
        }
    }
    Ok(())
}
