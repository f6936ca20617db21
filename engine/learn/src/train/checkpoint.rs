//! Checkpoints on the disk: `step-<n>.safetensors` with tensors and, in its header, the state as JSON; beside it the
//! file's digest, written last. The two newest are kept. Knows files; not what the tensors mean.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tch::Tensor;

use crate::error::{Error, Result};
use crate::weights::{SafetensorsFile, write_tensors_with};

const KEPT: usize = 2;
const STATE: &str = "state";

/// A folder of checkpoints.
#[derive(Debug)]
pub struct Checkpoints {
    folder: PathBuf,
}

/// A checkpoint whose digest was right.
#[derive(Debug)]
pub struct Checkpoint<S> {
    /// The state.
    pub state: S,
    /// The tensors.
    pub tensors: SafetensorsFile,
}

impl Checkpoints {
    /// The checkpoints in `folder`, which is created.
    pub fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, error))?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Writes a checkpoint. Killed at any instant, this leaves the older ones as they were.
    pub fn save(&self, step: u64, state: &impl Serialize, tensors: &[(String, Tensor)]) -> Result<()> {
        let (path, digest_path) = self.paths(step);
        let state = serde_json::to_string(state).map_err(|error| Error::io("write", &path, error.into()))?;
        let metadata = HashMap::from([(STATE.to_owned(), state)]);
        replace(&path, |new| write_tensors_with(new, tensors, metadata))?;
        let digest = digest(&path)?;
        replace(&digest_path, |new| fs::write(new, &digest).map_err(|error| Error::io("write", new, error)))?;
        for old in self.steps()?.into_iter().rev().skip(KEPT) {
            let (path, digest_path) = self.paths(old);
            // The digest first: without it, the other file is no checkpoint.
            for path in [digest_path, path] {
                fs::remove_file(&path).map_err(|error| Error::io("remove", &path, error))?;
            }
        }
        Ok(())
    }

    /// The steps that have a checkpoint, rising.
    pub fn steps(&self) -> Result<Vec<u64>> {
        let io = |error| Error::io("read", &self.folder, error);
        let mut steps = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            let step = name.to_str().and_then(|name| name.strip_prefix("step-")?.strip_suffix(".blake3"));
            steps.extend(step.and_then(|step| step.parse::<u64>().ok()));
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// Opens the checkpoint of a step and checks its digest.
    pub fn load<S: DeserializeOwned>(&self, step: u64) -> Result<Checkpoint<S>> {
        let (path, digest_path) = self.paths(step);
        let written = fs::read_to_string(&digest_path).map_err(|error| Error::io("read", &digest_path, error))?;
        let damaged = |problem: &str| Error::file(&path, problem, "remove it");
        if digest(&path)? != written {
            return Err(damaged("its digest is not the one that was written"));
        }
        let tensors = SafetensorsFile::open(&path)?;
        let state = tensors.metadata().remove(STATE).ok_or_else(|| damaged("it holds no state"))?;
        let state = serde_json::from_str(&state).map_err(|_| damaged("its state is that of another version"))?;
        Ok(Checkpoint { state, tensors })
    }

    fn paths(&self, step: u64) -> (PathBuf, PathBuf) {
        let stem = format!("step-{step:09}");
        (self.folder.join(format!("{stem}.safetensors")), self.folder.join(format!("{stem}.blake3")))
    }
}

/// Puts a whole file at `path` at once: written beside it, brought to the disk, renamed.
fn replace(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let new = path.with_added_extension("new");
    let io = |error| Error::io("write", path, error);
    write(&new)?;
    File::open(&new).and_then(|file| file.sync_all()).map_err(io)?;
    fs::rename(&new, path).map_err(io)?;
    match path.parent() {
        Some(folder) => File::open(folder).and_then(|folder| folder.sync_all()).map_err(io),
        None => Ok(()),
    }
}

fn digest(path: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let read = File::open(path).and_then(|file| hasher.update_reader(file).map(drop));
    read.map_err(|error| Error::io("read", path, error))?;
    Ok(hasher.finalize().to_hex().to_string())
}
