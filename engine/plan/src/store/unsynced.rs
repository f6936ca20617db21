//! Marks that say which records may not have reached the disk, so that after a power failure these few are read and
//! checked. Knows records only by the time they were finished.
//!
//! A mark is on the disk before the first record of a group is written, and goes when the group has been synced. A mark
//! of an earlier boot means that the machine went down in between.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock},
    time::{SystemTime, UNIX_EPOCH},
};

use super::{Store, absent_is_fine, blobs, list_folder};
use crate::file_error::{FileError, at};

const PREFIX: &str = "unsynced-";
/// How far clocks are trusted when records are compared with a mark, in seconds.
const SLACK: u64 = 60;

/// The mark of this process's open group.
#[derive(Debug, Default)]
pub(super) struct Unsynced(RwLock<Option<PathBuf>>);

impl Unsynced {
    /// Writes a record, after a mark that is on the disk. While it is written the group is not closed.
    pub(super) fn record(&self, root: &Path, write: impl FnOnce() -> Result<(), FileError>) -> Result<(), FileError> {
        loop {
            let mark = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if mark.is_some() {
                return write();
            }
            drop(mark);
            let mut mark = self.0.write().unwrap_or_else(PoisonError::into_inner);
            if mark.is_none() {
                *mark = Some(new_mark(root)?);
            }
        }
    }

    /// Closes the group: the records of these marks have all been written.
    fn close(&self) -> Option<PathBuf> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn new_mark(root: &Path) -> Result<PathBuf, FileError> {
    let path = root.join(format!("{PREFIX}{}.{}", boot(), blobs::unique()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let mut file = blobs::in_folder(&path, || File::create(&path)).map_err(at("write", &path))?;
    file.write_all(now.to_string().as_bytes()).and_then(|()| file.sync_all()).map_err(at("write", &path))?;
    File::open(root).and_then(|folder| folder.sync_all()).map_err(at("sync", root))?;
    Ok(path)
}

/// The marks that lie in a store, with their boot and the process that made them.
fn marks(root: &Path) -> Result<Vec<(PathBuf, String, String)>, FileError> {
    let parse = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_prefix(PREFIX)?;
        let (boot, rest) = name.split_once('.')?;
        let (process, _) = rest.split_once('-')?;
        let (boot, process) = (boot.to_owned(), process.to_owned());
        Some((path, boot, process))
    };
    Ok(list_folder(root)?.into_iter().filter_map(parse).collect())
}

impl Store {
    /// Brings everything that was stored so far to the disk, so that a power failure does not undo it. Costs
    /// milliseconds to seconds: at most once a second, and at the end.
    ///
    /// # Errors
    /// When the disk cannot take it.
    pub fn sync(&self) -> Result<(), FileError> {
        let root = self.root();
        let folder = match File::open(root) {
            Ok(folder) => folder,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(at("open", root)(error)),
        };
        let mut done: Vec<PathBuf> = self.layout.unsynced.close().into_iter().collect();
        let of_the_dead = |process: &str| !Path::new("/proc").join(process).exists();
        let this = boot();
        done.extend(
            marks(root)?
                .into_iter()
                .filter(|(_, boot, process)| *boot == this && of_the_dead(process))
                .map(|(path, ..)| path),
        );
        rustix::fs::syncfs(&folder).map_err(|error| at("sync", root)(error.into()))?;
        for mark in done {
            absent_is_fine(fs::remove_file(&mark)).map_err(at("remove", &mark))?;
        }
        Ok(())
    }

    /// After a power failure: reads what the records of unfinished groups speak of, and forgets what is damaged.
    pub(super) fn recover(&self) -> Result<(), FileError> {
        let this = boot();
        let lost: Vec<_> = marks(self.root())?.into_iter().filter(|(_, boot, _)| *boot != this).collect();
        if lost.is_empty() {
            return Ok(());
        }
        tracing::warn!("the machine went down during a run: what was stored last is checked");
        let since = |(path, ..): &(PathBuf, String, String)| {
            fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        let since = lost.iter().map(since).min().unwrap_or(0).saturating_sub(SLACK);
        for key in self.keys()? {
            let Some(record) = self.record(&key)? else { continue };
            if record.finished >= since && !self.verify(&record).is_empty() {
                self.forget_damaged(&record)?;
            }
        }
        self.sync()?;
        for (mark, ..) in lost {
            absent_is_fine(fs::remove_file(&mark)).map_err(at("remove", &mark))?;
        }
        Ok(())
    }
}
