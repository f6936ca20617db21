//! A job, done: its settings unpacked, its inputs opened, its results written, and what happens on the way told as
//! events. Knows the words of pipeline files and the files between stages; the mathematics is elsewhere.

mod adapter_source;
mod bottleneck;
mod decoding;
mod device;
mod estimate;
mod evaluate;
mod events;
mod examples;
mod failure;
mod inspect;
mod labels;
pub mod memory;
mod merge;
mod method;
mod model_source;
mod question;
mod sized;
mod special_ids;
mod train;
mod trial;

use std::path::Path;

use spec::files;
use spec::job::{Event, Failure, Job, JobInput};
use spec::stage::Stage;
use tokenizers::Tokenizer;

use events::Events;

pub use device::{describe, open_cuda};
pub use estimate::{estimate, estimate_memory};
pub use failure::failure;
pub use trial::trial;

/// Reads the job at `path`, does it, and says on standard output how it goes, the last event being `Finished` or
/// `Failed`. Returns whether it finished.
pub fn run(path: &Path) -> bool {
    let mut events = Events::default();
    let outcome = read(path).and_then(|job| {
        let stage = settings(&job)?;
        work(&job, &stage, &mut events).map_err(|error| failure(&error))
    });
    let finished = outcome.is_ok();
    events.emit(&match outcome {
        Ok(()) => Event::Finished,
        Err(failure) => Event::Failed(failure),
    });
    finished
}

fn work(job: &Job, stage: &Stage, events: &mut Events) -> crate::Result<()> {
    tch::set_num_threads(i32::try_from(job.threads.max(1)).unwrap_or(i32::MAX));
    tch::set_num_interop_threads(1);
    let device = device::choose(job.device)?;
    match stage {
        Stage::Train(settings) => {
            events.catch_signals();
            train::run(job, settings, device, events)
        }
        Stage::Merge(settings) => merge::run(job, settings, device),
        Stage::Evaluate(settings) => evaluate::run(job, settings, device, events),
        Stage::Inspect(settings) => inspect::run(job, settings, events),
        other => Err(crate::Error::setting(
            "kind",
            format!("a worker does not do `{}`", other.kind()),
            "this job belongs to `engine` itself",
        )),
    }
}

/// The tokenizer of a data input.
fn tokenizer(data: &JobInput) -> crate::Result<Tokenizer> {
    let path = data.file(files::TOKENIZER);
    Tokenizer::from_file(&path).map_err(|error| {
        crate::Error::file(&path, format!("is no readable tokenizer: {error}"), "tokenize the rows again")
    })
}

/// The tokens of a text by the tokenizer of a data input, with the special ones that it puts around every text.
fn tokenized(data: &JobInput, text: &str) -> crate::Result<Vec<i64>> {
    let mut tokenizer = tokenizer(data)?;
    let plain = tokenizer.with_padding(None).with_truncation(None).map(|tokenizer| tokenizer.encode(text, true));
    let encoded = plain.and_then(|encoded| encoded).map_err(|error| {
        let problem = format!("cannot make tokens of \"{text}\": {error}");
        crate::Error::file(&data.file(files::TOKENIZER), problem, "tokenize the rows again")
    })?;
    Ok(encoded.get_ids().iter().map(|&id| i64::from(id)).collect())
}

fn read(path: &Path) -> std::result::Result<Job, Failure> {
    let fault = |problem: String| Failure {
        message: problem,
        place: Some(path.display().to_string()),
        hint: Some("jobs are written by `engine run`; engine and worker must be of the same build".into()),
    };
    let text = std::fs::read(path).map_err(|error| fault(format!("cannot read the job: {error}")))?;
    let mut json = serde_json::Deserializer::from_slice(&text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| fault(format!("the job is not valid: {error}")))
}

fn settings(job: &Job) -> std::result::Result<Stage, Failure> {
    let fault = |problem: String| Failure {
        message: problem,
        place: Some(job.name.clone()),
        hint: Some("engine and worker must be of the same build".into()),
    };
    match Stage::deserialize(&job.kind, &job.settings) {
        Some(Ok(stage)) => Ok(stage),
        Some(Err(error)) => Err(fault(format!("the stage's settings are not valid: {error}"))),
        None => Err(fault(format!("there is no stage kind `{}`", job.kind))),
    }
}
