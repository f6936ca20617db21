//! What a train stage trains: methods by their settings, or the adapter of another stage. Knows the words of pipeline
//! files and the files between stages; not what a method does.

use std::path::{Path, PathBuf};

use spec::adapter::{AdapterSource, Continued, Head};
use spec::files;
use spec::job::Job;

use super::method::{Tokenized, method};
use super::train::data;
use crate::adapters::{self, Combined, Method, saved_method};
use crate::error::{Error, Result};
use crate::models::Model;

/// The role of the stage that left the adapter.
const ROLE: &str = "adapter.from";

/// The method, or the methods together, that the job trains.
///
/// Sizes in `source` are numbers: [`in_numbers`](super::sized::in_numbers).
pub fn of_job(job: &Job, source: &AdapterSource) -> Result<Box<dyn Method>> {
    match source {
        AdapterSource::New(_) => new(source, &|text| super::tokenized(data(job)?, text)),
        AdapterSource::Stage(continued) => saved(&left(job, continued)?),
    }
}

/// The same by settings, and what gives the tokens of a text.
pub fn new(source: &AdapterSource, tokenized: Tokenized<'_>) -> Result<Box<dyn Method>> {
    match source {
        AdapterSource::New(methods) => match methods.as_slice() {
            [one] => method(one, tokenized),
            several => {
                let methods = several.iter().map(|one| method(one, tokenized)).collect::<Result<_>>()?;
                Ok(Box::new(Combined::new(methods)?))
            }
        },
        AdapterSource::Stage(continued) => {
            let problem = format!("the adapter of `{}` is not here", continued.from);
            Err(Error::setting("adapter.from", problem, "run the stage that leaves it first"))
        }
    }
}

/// The method of the adapter in `folder`.
pub fn saved(folder: &Path) -> Result<Box<dyn Method>> {
    if folder.join(files::MODEL_CONFIG).exists() {
        let problem = "holds a whole model, not an adapter";
        return Err(Error::file(folder, problem, "name that stage as `model`, and the method under `adapter`"));
    }
    saved_method(folder)
}

/// Gives the model the values that the adapter has so far, where it is one that is trained on.
pub fn load(job: &Job, source: &AdapterSource, model: &mut Model) -> Result<()> {
    let AdapterSource::Stage(continued) = source else { return Ok(()) };
    let folder = left(job, continued)?;
    match continued.head {
        Head::Kept => adapters::load(&folder, &mut model.trainable),
        Head::Fresh => adapters::load_without_head(&folder, model),
    }
}

/// The folder of the adapter that is trained on.
fn left(job: &Job, continued: &Continued) -> Result<PathBuf> {
    let hint = "run `engine run` again";
    let input = job
        .input(ROLE)
        .ok_or_else(|| Error::setting(ROLE, format!("the job has nothing that `{}` left", continued.from), hint))?;
    Ok(match &input.part {
        Some(part) => input.result.join(part),
        None => input.result.clone(),
    })
}
