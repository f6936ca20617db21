//! Which function does which kind of stage, one line each. Knows neither how a job comes nor where events go.

use spec::{
    job::{Event, Failure, Job},
    stage::Stage,
};

use crate::{Error, download, preprocess, report, select, tokenize};

/// Where a stage's events go; may be called from any thread.
pub type Events<'a> = &'a (dyn Fn(Event) + Sync);

/// Does a stage with the job's number of threads and leaves its files in `job.result`.
///
/// # Errors
/// When the stage fails, or when its kind is done by another program.
pub fn run(job: &Job, events: Events<'_>) -> Result<(), Failure> {
    let misfit = |message: String| Failure::from(Error::new(message).at(&job.name));
    let stage = Stage::deserialize(&job.kind, &job.settings)
        .ok_or_else(|| misfit(format!("no kind of stage is named `{}`", job.kind)))?
        .map_err(|error| misfit(format!("the settings of this job do not fit: {error}")))?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(job.threads.max(1))
        .build()
        .map_err(|error| Error::new(format!("cannot start {} threads: {error}", job.threads)))?;
    pool.install(|| match stage {
        Stage::Download(_) => Ok(download::run(job, events)?),
        Stage::Preprocess(_) => Ok(preprocess::run(job, events)?),
        Stage::Tokenize(_) => Ok(tokenize::run(job, events)?),
        Stage::Select(settings) => select::run(job, &settings),
        Stage::Report(settings) => report::run(job, &settings),
        Stage::Train(_) | Stage::Evaluate(_) | Stage::Merge(_) | Stage::Inspect(_) | Stage::Command(_) => {
            Err(misfit(format!("a `{}` stage is not done by this program", job.kind)))
        }
    })
}

/// The settings of the job's kind.
pub(crate) fn settings<T: serde::de::DeserializeOwned>(job: &Job) -> Result<T, Error> {
    serde_json::from_value(job.settings.clone())
        .map_err(|error| Error::new(format!("the settings of this job do not fit: {error}")).at(&job.name))
}

/// The only member of the input that has this role.
pub(crate) fn input<'a>(job: &'a Job, role: &str) -> Result<&'a spec::job::JobInput, Error> {
    job.input(role).ok_or_else(|| Error::new(format!("the job lacks its input `{role}`")).at(&job.name))
}
