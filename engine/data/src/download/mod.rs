//! The `download` stage: files from a local path, from an address or from the Hugging Face Hub, archives unpacked. Knows
//! where files come from, not what they hold.

mod address;
mod archive;
mod hub;
mod local;
mod transfer;

use std::{collections::BTreeMap, fs, path::Path};

use spec::{
    job::Job,
    stage::{Download, Source},
};

pub use self::hub::{Access, HubAnswer, access};
use crate::{
    Error,
    job::{Events, settings},
};

/// Does a `download` stage: leaves the files under their own names, what is in an archive in its place, and nothing else.
/// Beside what it observed it leaves the revisions that it brought, in the words in which the lock hands them back.
///
/// # Errors
/// When a file cannot be had, is not what its digest says, or cannot be written.
pub fn run(job: &Job, events: Events<'_>) -> Result<(), Error> {
    let settings: Download = settings(job)?;
    let pinned = job.revision.as_deref();
    let revision = match &settings.from.0 {
        Source::Parts(parts) => {
            let pinned = pinned.map(by_part).unwrap_or_default();
            let mut revisions = BTreeMap::new();
            for (name, part) in parts {
                let (state, result) = (job.state.join(name), job.result.join(name));
                fs::create_dir_all(&result).map_err(|error| Error::io("write", &result, &error))?;
                let role = format!("from.parts.{name}");
                let place = Place { role: &role, state: &state, result: &result };
                let revision = bring(job, &part.0, place, pinned.get(name.as_str()).copied(), events)?;
                revisions.extend(revision.map(|revision| (name.as_str(), revision)));
            }
            let each: Vec<String> = revisions.iter().map(|(name, revision)| format!("{name}: {revision}")).collect();
            Some(each.join(", ")).filter(|text| !text.is_empty())
        }
        source => bring(job, source, Place { role: "from", state: &job.state, result: &job.result }, pinned, events)?,
    };
    let path = job.observed.join(spec::files::REVISION);
    match revision {
        Some(revision) => fs::write(&path, format!("{revision}\n")).map_err(|error| Error::io("write", &path, &error)),
        None => Ok(()),
    }
}

/// The revisions of parts: `test: 3ffb…, train: 77a0…`.
fn by_part(text: &str) -> BTreeMap<&str, &str> {
    text.split(", ").filter_map(|part| part.split_once(": ")).collect()
}

/// Where one source's setting stands, and where its files go.
#[derive(Clone, Copy)]
struct Place<'a> {
    role: &'a str,
    /// A folder that outlives a killed attempt.
    state: &'a Path,
    result: &'a Path,
}

/// Brings what a source names; returns the revision that it brought, where it has any.
fn bring(
    job: &Job,
    source: &Source,
    place: Place<'_>,
    pinned: Option<&str>,
    events: Events<'_>,
) -> Result<Option<String>, Error> {
    let Place { role, state, result } = place;
    match source {
        Source::Path(path) => {
            let from = job
                .local_file(&format!("{role}.path"))
                .ok_or_else(|| Error::new(format!("the job lacks the path of `{path}`")).at(&job.name))?;
            match archive::Kind::of(from).filter(|_| from.is_file()) {
                Some(kind) => archive::unpack(from, kind, result, events),
                None => local::bring(from, result, events),
            }?;
            Ok(None)
        }
        Source::Url(url) => {
            let file = address::bring(url, state, result, events)?;
            if let Some(kind) = archive::Kind::of(&file) {
                archive::unpack_in_place(&file, kind, result, events)?;
            }
            Ok(None)
        }
        Source::Hub(hub) => hub::bring(hub, pinned, result, events).map(Some),
        Source::Parts(_) => Err(Error::new("parts within a part").at(role)),
    }
}
