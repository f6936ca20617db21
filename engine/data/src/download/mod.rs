//! The `download` stage: files from a local path or from an address, archives unpacked. Knows where files come from, not
//! what they hold.

mod address;
mod archive;
mod local;

use std::{fs, path::Path};

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
    bring(job, &settings.from, "from", &job.state, &job.result, events)
}

/// Brings what a source names into a folder; `role` is where the setting stands.
fn bring(job: &Job, source: &Source, role: &str, state: &Path, result: &Path, events: Events<'_>) -> Result<(), Error> {
    match source {
        Source::Path(path) => {
            let from = job
                .local_file(&format!("{role}.path"))
                .ok_or_else(|| Error::new(format!("the job lacks the path of `{path}`")).at(&job.name))?;
            match archive::Kind::of(from).filter(|_| from.is_file()) {
                Some(kind) => archive::unpack(from, kind, result, events),
                None => local::bring(from, result, events),
            }
        }
        Source::Url(url) => {
            let file = address::bring(url, state, result, events)?;
            match archive::Kind::of(&file) {
                Some(kind) => archive::unpack_in_place(&file, kind, result, events),
                None => Ok(()),
            }
        }
        Source::Parts(parts) => {
            for (name, part) in parts {
                let (state, result) = (state.join(name), result.join(name));
                fs::create_dir_all(&result).map_err(|error| Error::io("write", &result, &error))?;
                bring(job, part, &format!("{role}.parts.{name}"), &state, &result, events)?;
            }
            Ok(())
        }
    }
}
