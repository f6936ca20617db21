//! Snapshots: the weights as they were at some steps, a folder each. They are taken into the folder of the checkpoints,
//! where they outlive a kill, and left with the result in the end. Knows when and where; not how weights are saved.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use spec::files;

use super::settings::Every;
use crate::error::{Error, Result};
use crate::models::Model;

/// Saves what trains of a model.
pub trait Saves: Debug {
    /// Saves it into `folder`, which is made. The bytes depend on the values alone.
    fn save(&self, model: &Model, folder: &Path) -> Result<()>;
}

/// Which snapshots are taken; always before the first step and after the last, too.
#[derive(Debug, Clone, Copy)]
pub struct Snapshots<'a> {
    /// How often.
    pub every: Every,
    /// How one is saved.
    pub saves: &'a dyn Saves,
}

/// The snapshots of a training so far.
#[derive(Debug)]
pub struct Taken<'a> {
    folder: PathBuf,
    interval: u64,
    saves: &'a dyn Saves,
}

impl<'a> Taken<'a> {
    /// Those under `state`, of a training whose epochs have so many steps.
    pub fn open(snapshots: Snapshots<'a>, state: &Path, per_epoch: u64) -> Result<Self> {
        let folder = state.join(files::SNAPSHOTS);
        fs::create_dir_all(&folder).map_err(|error| Error::io("create", &folder, error))?;
        let interval = match snapshots.every {
            Every::Steps(steps) => steps,
            Every::Epochs(epochs) => epochs * per_epoch,
        };
        Ok(Self { folder, interval: interval.max(1), saves: snapshots.saves })
    }

    /// Whether one is to be taken at this step, be it the last or not.
    pub fn is_due(&self, step: u64) -> bool {
        step.is_multiple_of(self.interval)
    }

    /// Whether each is there that a training takes up to this step.
    pub fn has_all_until(&self, step: u64) -> bool {
        (0..=step / self.interval).all(|index| self.path(index * self.interval).is_dir())
    }

    /// Removes what does not belong to the steps up to this one, or everything: they will be done again.
    pub fn forget_after(&self, step: Option<u64>) -> Result<()> {
        for (name, path) in entries(&self.folder)? {
            let belongs = files::snapshot_step(&name).is_some_and(|taken| step.is_some_and(|step| taken <= step));
            if !belongs {
                fs::remove_dir_all(&path).map_err(|error| Error::io("remove", &path, error))?;
            }
        }
        Ok(())
    }

    /// Takes the snapshot of a step. Killed at any instant, this leaves it whole or not at all.
    pub fn take(&self, step: u64, model: &Model) -> Result<()> {
        let path = self.path(step);
        if path.is_dir() {
            return Ok(());
        }
        let new = path.with_added_extension("new");
        self.saves.save(model, &new)?;
        sync(&new)?;
        fs::rename(&new, &path).map_err(|error| Error::io("write", &path, error))?;
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| Error::io("write", &self.folder, error))
    }

    /// Leaves all in `result`. They stay here as well, in case that this attempt is not the last.
    pub fn leave_in(&self, result: &Path) -> Result<()> {
        copy(&self.folder, &result.join(files::SNAPSHOTS))
    }

    fn path(&self, step: u64) -> PathBuf {
        self.folder.join(files::snapshot(step))
    }
}

/// What is in a folder, by name.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let io = |error| Error::io("read", folder, error);
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        entries.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    entries.sort();
    Ok(entries)
}

/// Brings a folder and what is in it to the disk.
fn sync(folder: &Path) -> Result<()> {
    for (_, path) in entries(folder)? {
        if path.is_dir() {
            sync(&path)?;
        } else {
            File::open(&path).and_then(|file| file.sync_all()).map_err(|error| Error::io("write", &path, error))?;
        }
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| Error::io("write", folder, error))
}

/// The same files in another folder, without a second copy of their bytes where the file system can.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(|error| Error::io("create", to, error))?;
    for (name, path) in entries(from)? {
        let target = to.join(name);
        if path.is_dir() {
            copy(&path, &target)?;
            continue;
        }
        match fs::hard_link(&path, &target) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(Error::io("write", &target, error)),
            Err(_) => drop(fs::copy(&path, &target).map_err(|error| Error::io("copy", &path, error))?),
        }
    }
    Ok(())
}
