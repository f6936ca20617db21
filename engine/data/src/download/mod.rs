//! The `download` stage: files from a local path or from an address, archives unpacked. Knows where files come from, not
//! what they hold.

mod address;
mod archive;
mod local;

use spec::{
    job::Job,
    stage::{Download, Source},
};

use crate::{
    Error,
    job::{Events, settings},
};

/// Does a `download` stage: leaves the files under their own names, what is in an archive in its place, and nothing else.
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
            match archive::Kind::of(from).filter(|_| from.is_file()) {
                Some(kind) => archive::unpack(from, kind, &job.result, events),
                None => local::bring(from, &job.result, events),
            }
        }
        Source::Url(url) => {
            let file = address::bring(url, &job.state, &job.result, events)?;
            match archive::Kind::of(&file) {
                Some(kind) => archive::unpack_in_place(&file, kind, &job.result, events),
                None => Ok(()),
            }
        }
    }
}
