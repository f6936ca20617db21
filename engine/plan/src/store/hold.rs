//! Who may take results out of the store: nobody while a run uses it. Knows the lock alone, not what is taken out.
//!
//! A run holds `lock` shared from its first lookup to its last link, so that what it has looked up stays. Whoever takes
//! results out holds it alone. The operating system lets go of it when a process ends, however it ends. Commands that
//! only look hold nothing: at worst they say that something is not there.

use std::{fs::File, path::Path, time::Duration};

use rustix::fs::{FlockOperation, flock};

use super::{Store, blobs};
use crate::file_error::{FileError, at};

/// The right to use what is stored, until it is dropped.
#[derive(Debug)]
pub struct Hold {
    _lock: Option<File>,
}

/// The right to take results out, until it is dropped.
#[derive(Debug)]
pub struct Alone {
    _lock: File,
}

/// How often it is looked whether the store is free.
const POLL: Duration = Duration::from_millis(50);

impl Store {
    /// The right to use what is stored. While somebody takes results out, calls `waiting` once and waits.
    ///
    /// Where the lock can be neither made nor opened, nothing can be taken out either: then there is nothing to wait for.
    pub fn hold(&self, waiting: impl FnOnce()) -> Hold {
        let path = self.lock_path();
        let Some(file) = open(&path).ok().or_else(|| File::open(&path).ok()) else { return Hold { _lock: None } };
        let is_taken = || flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK);
        if is_taken() {
            waiting();
            while is_taken() {
                std::thread::sleep(POLL);
            }
        }
        Hold { _lock: Some(file) }
    }

    /// The right to take results out; `None` while a run uses them.
    ///
    /// # Errors
    /// When the lock cannot be made or locked.
    pub fn alone(&self) -> Result<Option<Alone>, FileError> {
        let path = self.lock_path();
        let file = open(&path).map_err(at("open", &path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Alone { _lock: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(at("lock", path)(error.into())),
        }
    }

    fn lock_path(&self) -> std::path::PathBuf {
        self.root().join("lock")
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    blobs::in_folder(path, || File::options().read(true).append(true).create(true).open(path))
}
