//! The `merge` stage: an adapter becomes part of its model's weights, and how exactly is measured. Knows the files between
//! stages; not how a method merges.

use std::time::Instant;

use serde_json::json;
use spec::files;
use spec::job::{Job, JobInput};
use tch::{Device, Kind, Tensor};

use super::memory::Peak;
use super::{device, labels, model_source};
use crate::adapters::{Frozen, Method};
use crate::error::{Error, Result};
use crate::models::Model;
use crate::observer::Observer;
use crate::peft::Saved;
use crate::weights::write_json;

/// Logits that are further off than this, relative to the largest, are warned of.
const TOLERANCE: f64 = 1e-3;

/// Does the job.
pub fn run(job: &Job, device: Device, observer: &mut dyn Observer) -> Result<()> {
    let started = Instant::now();
    let peak = Peak::begin(device);
    let adapted = model_source::adapted(job, device)?;
    let mut merged = adapted.merged()?;
    if let Some(known) = labels::of_file(&model_source::config_place(job).join(files::LABELS))? {
        labels::into_config(&mut merged.config, &known);
        labels::write(&known, &job.result)?;
    }
    let error = difference(&adapted, &merged)?;
    if error > TOLERANCE {
        observer.warning(format!("the merged model's logits are off by {error:.1e} of the largest"));
    }
    Frozen.save(&Saved::of(&merged, None), &job.result)?;
    copy_tokenizer(model_source::base(job)?, job)?;
    let measured = json!({
        "seconds": started.elapsed().as_secs_f64(),
        "merge_error": error,
        "peak_memory_bytes": peak.bytes(),
        "device": device::name(device),
        "threads": job.threads,
    });
    write_json(&job.observed.join(files::MEASURED), &measured)
}

/// The largest difference of what the two models give for four rows of sixteen tokens, relative to the largest.
fn difference(adapted: &Model, merged: &Model) -> Result<f64> {
    let _guard = tch::no_grad_guard();
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
