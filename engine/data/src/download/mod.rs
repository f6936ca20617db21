//! The `download` stage: files from a local path or from an address. Knows where files come from, not what they hold.

mod address;
mod local;

use spec::{
    job::Job,
    stage::{Download, Source},
};

use crate::{
    Error,
    job::{Events, settings},
};

/// Does a `download` stage: leaves the files under their own names, and nothing else.
///
/// # Errors
/// When a file cannot be had, is not what its digest says, or cannot be written.
pub fn run(job: &Job, events: Events<'_>) -> Result<(), Error> {
    let settings: Download = settings(job)?;
    match &settings.from {
        Source::Path(path) => {
            let from = job
                .local_file("from.path")
                .ok_or_else(|| Error::new(format!("the job lacks the path of `{path}`")).at(&job.name))?;
            local::bring(from, &job.result, events)
        }
        Source::Url(url) => address::bring(url, &job.state, &job.result, events),
    }
}
