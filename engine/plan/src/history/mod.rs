//! What runs did: one file a run in the store, written when it begins to do something and when it is over. Knows members
//! by name and what happened to them; does not know how they are done.
//!
//! ```text
//! outputs/.store/v1/runs/
//!   20261122T192745.000123Z-4711-1.json
//!                                  one run; its time of modification is when its results were last found up to date
//!   <variant>.last                 the last run of a variant, and a digest of the keys that it found or made
//! ```
//!
//! A run that finds everything up to date, just as the last one left it, is no new entry: it marks that one as used.
//! Nothing depends on the history being there.

mod journal;
mod secrets;
mod time;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use serde::{Deserialize, Serialize};

pub use self::{
    journal::{Asked, Journal},
    secrets::shown,
    time::{clock, utc},
};
use crate::{
    digest::Digest,
    file_error::{FileError, at},
    key::Difference,
    store::{Owner, Store},
};

const FORMAT: u32 = 1;

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The layout's version.
    pub format: u32,
    /// What it is called: the time it began, and its process.
    pub id: String,
    /// The pipeline's name, with its profile or variant.
    pub variant: String,
    /// What was asked of it.
    pub asked: Asked,
    /// When it began, in seconds since 1970.
    pub begun: u64,
    /// How long it took, once it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// How it ended.
    pub outcome: Outcome,
    /// Whose run it is: tells one that still goes on from one that was killed.
    pub process: Owner,
    /// The engine's version.
    pub engine: String,
    /// The digest of the engine's sources.
    pub build: String,
    /// The machine.
    pub machine: Machine,
    /// The project's revision, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<Revision>,
    /// Its members, in the order of the graph; those that it did not reach are left out.
    pub members: Vec<Member>,
    /// How many members were needed and never begun; not known of a run that goes on or was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untried: Option<usize>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It goes on, or was killed.
    Open,
    /// All that was wanted is there.
    Done,
    /// A member failed.
    Failed,
    /// The user stopped it.
    Interrupted,
}

/// The machine of a run. Its name is nobody's business.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The processor's model.
    pub processor: String,
    /// Cores that the engine may use.
    pub cores: usize,
    /// Memory in bytes.
    pub memory: u64,
    /// The operating system and its version.
    pub system: String,
    /// The numeric classes of what was done: devices, and versions of libraries.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub classes: BTreeSet<String>,
}

/// A revision in git.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revision {
    /// The commit.
    pub commit: String,
    /// Whether files that can decide a result differed from it; not known where git could not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dirty: Option<bool>,
}

/// What became of one member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// What became of it.
    pub state: MemberState,
    /// Its key, where it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Digest>,
    /// How long doing it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// What differed from the key that the lock named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<Difference>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// What became of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// It was up to date.
    Cached,
    /// It was begun.
    Started,
    /// It was done.
    Done,
    /// It failed.
    Failed,
    /// It was not tried, because one that it reads failed.
    Skipped,
}

impl Run {
    /// Whether it goes on; a run that was killed does not.
    pub fn goes_on(&self) -> bool {
        self.outcome == Outcome::Open && !self.process.is_dead()
    }

    /// How many members were not tried, as far as is known.
    pub fn not_tried(&self) -> usize {
        self.untried.unwrap_or_else(|| self.count(MemberState::Skipped))
    }

    /// How many members are in a state.
    pub fn count(&self, state: MemberState) -> usize {
        self.members.iter().filter(|member| member.state == state).count()
    }
}

impl Machine {
    /// What of this machine is in the key of a stage that measures time: what it computes with, whatever else runs on it or
    /// what its system is.
    pub fn of_key() -> BTreeMap<String, String> {
        static HERE: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| {
            let here = Machine::here();
            let mut parts = BTreeMap::from([
                ("cores".to_owned(), here.cores.to_string()),
                ("processor".to_owned(), here.processor),
            ]);
            let gpus = gpus();
            if !gpus.is_empty() {
                parts.insert("gpus".to_owned(), gpus.join(", "));
            }
            parts
        });
        HERE.clone()
    }

    /// This machine.
    pub fn here() -> Self {
        let first = |path: &str, field: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(field)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = first("/proc/meminfo", "MemTotal");
        let memory = memory.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024;
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processor: first("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory,
            system: format!("{} {} {}", std::env::consts::OS, release.trim(), std::env::consts::ARCH),
            classes: BTreeSet::new(),
        }
    }
}

/// The models of the NVIDIA devices that the driver tells of, sorted.
fn gpus() -> Vec<String> {
    let model = |folder: PathBuf| {
        let text = fs::read_to_string(folder.join("information")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Model:"));
        line.unwrap_or("unknown").trim().to_owned()
    };
    let folders = fs::read_dir("/proc/driver/nvidia/gpus").into_iter().flatten().flatten();
    let mut models: Vec<String> = folders.map(|folder| model(folder.path())).collect();
    models.sort_unstable();
    models
}

/// A run of the history, with when its results were last found up to date, in seconds since 1970.
#[derive(Debug, Clone)]
pub struct Kept {
    /// The run.
    pub run: Run,
    /// When its results were last made or found.
    pub used: u64,
    /// Its file.
    pub path: PathBuf,
}

fn folder(store: &Store) -> PathBuf {
    store.root().join("runs")
}

/// All runs, the latest first. A file that cannot be read as a run is left out.
///
/// # Errors
/// When the folder cannot be listed.
pub fn runs(store: &Store) -> Result<Vec<Kept>, FileError> {
    let mut runs: Vec<Kept> = files(store)?.into_iter().filter_map(|path| read(&path)).collect();
    runs.sort_by(|a, b| (b.run.begun, &b.run.id).cmp(&(a.run.begun, &a.run.id)));
    Ok(runs)
}

/// The files of runs, and files that were on their way to be one.
fn files(store: &Store) -> Result<Vec<PathBuf>, FileError> {
    let folder = folder(store);
    match fs::read_dir(&folder) {
        Ok(items) => items.map(|item| item.map(|item| item.path()).map_err(at("list", &folder))).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(at("list", folder)(error)),
    }
}

fn read(path: &Path) -> Option<Kept> {
    if path.extension().is_none_or(|ending| ending != "json") {
        return None;
    }
    let run: Run = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let used = fs::metadata(path).map_or(run.begun, |found| u64::try_from(found.mtime()).unwrap_or(run.begun));
    (run.format == FORMAT).then(|| Kept { used: used.max(run.begun), run, path: path.to_owned() })
}

/// The most runs that are kept when the store is swept, and the most bytes that they may have.
const MOST: usize = 1000;
const MOST_BYTES: u64 = 64 << 20;

/// The files that a sweep removes: all but the latest runs, and what is no run. While nobody runs.
///
/// # Errors
/// When the folder cannot be listed.
pub fn outlived(store: &Store) -> Result<Vec<PathBuf>, FileError> {
    let runs = runs(store)?.into_iter().map(|kept| {
        let bytes = fs::metadata(&kept.path).map_or(0, |found| found.len());
        (kept.path, bytes)
    });
    let kept = latest(runs, MOST, MOST_BYTES);
    let is_mark = |path: &PathBuf| path.extension().is_some_and(|ending| ending == journal::LAST);
    Ok(files(store)?.into_iter().filter(|path| !kept.contains(path) && !is_mark(path)).collect())
}

/// The first files, as many as fit; the very first in any case.
fn latest(files: impl Iterator<Item = (PathBuf, u64)>, most: usize, most_bytes: u64) -> BTreeSet<PathBuf> {
    let mut sum = 0_u64;
    let fits = files.take(most).enumerate().take_while(|(place, (_, bytes))| {
        sum = sum.saturating_add(*bytes);
        *place == 0 || sum <= most_bytes
    });
    fits.map(|(_, (path, _))| path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_tried_is_what_the_run_itself_counted() {
        let member = |name: &str, state: &str| serde_json::json!({"name": name, "state": state, "why": []});
        let mut run = serde_json::json!({
            "format": FORMAT, "id": "a", "variant": "p", "asked": {"file": "p.yaml"}, "begun": 0, "outcome": "failed",
            "process": Owner::me("p"), "engine": "0", "build": "0",
            "machine": {"processor": "", "cores": 1, "memory": 0, "system": ""},
            "members": [member("first", "failed"), member("second", "skipped")],
        });
        let read = |run: &serde_json::Value| serde_json::from_value::<Run>(run.clone()).unwrap().not_tried();
        assert_eq!(read(&run), 1, "a run that was killed counted nothing: what was skipped by then");
        // Two more were never looked at, since the run ended at the first failure.
        run["untried"] = 3.into();
        assert_eq!(read(&run), 3);
    }

    #[test]
    fn the_latest_runs_are_kept_within_number_and_size() {
        let files = |sizes: &[u64]| {
            let sizes = sizes.to_vec();
            sizes.into_iter().enumerate().map(|(place, bytes)| (PathBuf::from(place.to_string()), bytes))
        };
        let kept = |sizes: &[u64], most, bytes| latest(files(sizes), most, bytes).len();
        assert_eq!(kept(&[1, 1, 1, 1], 3, 100), 3);
        assert_eq!(kept(&[1, 1, 1, 1], 9, 2), 2);
        assert_eq!(kept(&[1, 5, 1], 9, 4), 1, "what is older than one that does not fit goes, too");
        assert_eq!(kept(&[9], 9, 4), 1);
        assert_eq!(kept(&[], 9, 4), 0);
    }
}
