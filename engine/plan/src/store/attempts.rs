//! One attempt to do a stage: the right to it, its private folder, and what happens when it succeeds or fails. Knows
//! nothing of how a stage is done.

use std::{
    fs::{self, File},
    io,
    ops::ControlFlow,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Mutex,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::fs::{FlockOperation, flock};

use super::{
    Store, absent_is_fine, blobs,
    fence::{self, Owner, Process},
    records::{self, FORMAT, Record},
    trees::Tree,
};
use crate::{
    digest::Digest,
    file_error::{FileError, at},
};

/// What came of asking for an attempt.
pub enum Begun {
    /// The right to do the stage.
    Attempt(Attempt),
    /// It is done: by another run, since it was looked up.
    Done(Box<Record>),
    /// Another run is doing it.
    Busy(Option<Owner>),
}

/// What is recorded of a stage that was done.
#[derive(Debug, Clone)]
pub struct Made {
    /// The stage's kind.
    pub kind: String,
    /// The key as it can be read.
    pub parts: serde_json::Value,
    /// The keys of what it read.
    pub inputs: Vec<Digest>,
    /// How long it took.
    pub seconds: f64,
    /// The engine's version.
    pub engine: String,
    /// The numeric class of the machine.
    pub machine: String,
    /// What else was observed, written as `run.json` beside the log.
    pub run: serde_json::Value,
}

/// When a result must have reached the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// With the next [`Store::sync`].
    Grouped,
    /// Before its record is written: what took long to make.
    AtOnce,
}

/// The right to do one stage, with its private folder. Dropped, it is given up as by [`Attempt::abandon`].
pub struct Attempt {
    store: Store,
    key: Digest,
    name: String,
    folder: PathBuf,
    lock: File,
    owner: Owner,
    owner_file: File,
    /// What it left, once that lies among the blobs.
    settled: Option<Tree>,
    open: bool,
}

/// The least length of the note of an owner, so that a later one covers an earlier one.
const OWNER_SIZE: usize = 1024;

/// How often it is looked whether another run is done.
const POLL: Duration = Duration::from_millis(20);

impl Store {
    /// Asks for the right to do the stage of a key, without waiting. What a killed run left behind of it is ended and
    /// cleared away; its `state` stays.
    ///
    /// # Errors
    /// When the work folder cannot be prepared, or an orphan cannot be ended.
    pub fn try_begin(&self, key: &Digest, name: &str) -> Result<Begun, FileError> {
        self.try_unless(key, name, |store| store.lookup(key))
    }

    /// Asks for the right to do the stage of a key, as long as it is not done: while another run is doing it, waits.
    /// `waiting` is called again and again meanwhile, and may break off.
    ///
    /// # Errors
    /// As [`Store::try_begin`]; also when the waiting was broken off.
    pub fn begin(
        &self,
        key: &Digest,
        name: &str,
        waiting: impl FnMut(Option<&Owner>) -> ControlFlow<()>,
    ) -> Result<Begun, FileError> {
        wait_for(name, waiting, || self.try_begin(key, name))
    }

    /// Asks for the right to do the stage of a key though it is done; what it left stays recorded until it is done
    /// again. Waits as [`Store::begin`] does.
    ///
    /// # Errors
    /// As [`Store::begin`].
    pub fn begin_again(
        &self,
        key: &Digest,
        name: &str,
        waiting: impl FnMut(Option<&Owner>) -> ControlFlow<()>,
    ) -> Result<Begun, FileError> {
        wait_for(name, waiting, || self.try_unless(key, name, |_| Ok(None)))
    }

    /// The right to do the stage, unless somebody has it or `done` gives a record.
    fn try_unless(
        &self,
        key: &Digest,
        name: &str,
        done: impl Fn(&Self) -> Result<Option<Record>, FileError>,
    ) -> Result<Begun, FileError> {
        let folder = self.layout.work().join(key.hex());
        let lock_path = folder.with_extension("lock");
        let owner_path = folder.with_extension("owner");
        let Some(lock) = acquire(&lock_path)? else {
            let owner = Owner::read(&owner_path);
            if owner.as_ref().is_some_and(Owner::is_dead) {
                let is_his = || Owner::read(&owner_path) == owner;
                fence::fence(owner.as_ref(), &absolute(&folder)?, &absolute(&lock_path)?, is_his)?;
            }
            return Ok(Begun::Busy(owner));
        };
        if owner_path.exists() {
            let owner = Owner::read(&owner_path);
            fence::fence(owner.as_ref(), &absolute(&folder)?, &absolute(&lock_path)?, || true)?;
        }
        let owner_file = File::create(&owner_path).map_err(at("write", &owner_path))?;
        let mut attempt = Attempt {
            store: self.clone(),
            key: *key,
            name: name.to_owned(),
            folder,
            lock,
            owner: Owner::me(name),
            owner_file,
            settled: None,
            open: true,
        };
        if let Some(record) = done(self)? {
            attempt.close(Keep::Nothing);
            return Ok(Begun::Done(Box::new(record)));
        }
        attempt.write_owner()?;
        attempt.prepare()?;
        Ok(Begun::Attempt(attempt))
    }
}

/// Tries until nobody else has the right.
fn wait_for(
    name: &str,
    mut waiting: impl FnMut(Option<&Owner>) -> ControlFlow<()>,
    ask: impl Fn() -> Result<Begun, FileError>,
) -> Result<Begun, FileError> {
    loop {
        match ask()? {
            Begun::Busy(owner) => {
                if waiting(owner.as_ref()).is_break() {
                    return Err(FileError::Interrupted(name.to_owned()));
                }
                std::thread::sleep(POLL);
            }
            begun => return Ok(begun),
        }
    }
}

/// The lock, or `None` while somebody else holds it.
pub(super) fn acquire(path: &Path) -> Result<Option<File>, FileError> {
    loop {
        let open = || File::options().read(true).append(true).create(true).open(path);
        let file = blobs::in_folder(path, open).map_err(at("open", path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(at("lock", path)(error.into())),
        }
        // Whoever held it may have removed it meanwhile: then this is a lock that nobody else will see.
        let mine = file.metadata().map_err(at("look at", path))?;
        match fs::metadata(path) {
            Ok(there) if there.ino() == mine.ino() && there.dev() == mine.dev() => return Ok(Some(file)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(at("look at", path)(error)),
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, FileError> {
    let parent = path.parent().unwrap_or(path);
    let parent = fs::canonicalize(parent).map_err(at("find", parent))?;
    Ok(path.file_name().map_or_else(|| parent.clone(), |name| parent.join(name)))
}

impl Attempt {
    /// The key's digest.
    pub fn key(&self) -> &Digest {
        &self.key
    }

    /// The private folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// An empty folder for what the stage leaves.
    pub fn result(&self) -> PathBuf {
        self.folder.join("result")
    }

    /// A folder for what is observed: `log.txt`, `measured.json`.
    pub fn observed(&self) -> PathBuf {
        self.folder.join("observed")
    }

    /// A folder that outlives a killed or failed attempt at the same key: checkpoints.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// An empty folder for a program to start in.
    pub fn start(&self) -> PathBuf {
        self.folder.join("start")
    }

    /// An empty folder to be a program's `HOME`.
    pub fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// The lock, to be the standard input of the stage's program: an empty file. So the lock is held as long as the
    /// program lives, even when this engine does not.
    ///
    /// # Errors
    /// When there is no file descriptor left.
    pub fn stdin(&self) -> Result<Stdio, FileError> {
        let lock = self.lock.try_clone().map_err(at("open", &self.folder))?;
        Ok(Stdio::from(lock))
    }

    /// Notes the stage's program, which must lead its own process group, so that it can be ended if this engine dies.
    ///
    /// # Errors
    /// When the note cannot be written.
    pub fn note_program(&mut self, id: u32) -> Result<(), FileError> {
        self.owner.group = Process::of(id);
        self.write_owner()
    }

    /// Puts what the stage left among the blobs, so that its digests are known before it is recorded.
    ///
    /// # Errors
    /// As [`Attempt::commit`].
    pub fn settle(&mut self) -> Result<Tree, FileError> {
        let tree = blobs::put_to_rest(&self.store.layout, &self.result())?;
        self.settled = Some(tree.clone());
        Ok(tree)
    }

    /// As [`Attempt::commit`], under another key than the one that the attempt was begun with: for what only the result
    /// itself tells.
    ///
    /// # Errors
    /// As [`Attempt::commit`].
    pub fn commit_under(mut self, key: Digest, made: Made, durability: Durability) -> Result<Record, FileError> {
        self.key = key;
        self.commit(made, durability)
    }

    /// Stores what the stage left and records it; returns the record.
    ///
    /// # Errors
    /// When the stage left something other than regular files with plain names, or the store cannot be written to.
    /// Nothing is recorded then.
    pub fn commit(mut self, made: Made, durability: Durability) -> Result<Record, FileError> {
        let layout = self.store.layout.clone();
        let result = self.result();
        let headline = records::headline(&result);
        let tree = match self.settled.take() {
            Some(tree) => tree,
            None => blobs::put_to_rest(&layout, &result)?,
        };
        let place = layout.tree(&tree.digest());
        if !blobs::is_same_folder(&place, &result, &tree) {
            blobs::replace_folder(&layout, &result, &place)?;
        }
        let record = Record {
            format: FORMAT,
            key: self.key,
            name: self.name.clone(),
            kind: made.kind,
            inputs: made.inputs,
            tree,
            headline,
            seconds: made.seconds,
            finished: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
            engine: made.engine,
            machine: made.machine,
        };
        let run = self.observed().join("run.json");
        let text = serde_json::to_vec_pretty(&made.run).map_err(|error| at("write", &run)(error.into()))?;
        fs::write(&run, text).map_err(at("write", &run))?;
        blobs::replace_folder(&layout, &self.observed(), &layout.observed(&self.key))?;
        if durability == Durability::AtOnce {
            self.store.sync()?;
        }
        layout.unsynced.record(self.store.root(), || self.write_record(&record, &made.parts))?;
        if durability == Durability::AtOnce {
            self.store.sync()?;
        }
        self.close(Keep::Nothing);
        Ok(record)
    }

    /// Gives up: what the stage left is dropped, its `state` and log stay for the next attempt and for people. Returns
    /// where the log is.
    pub fn abandon(mut self) -> PathBuf {
        let log = self.observed().join("log.txt");
        self.close(Keep::StateAndLog);
        log
    }

    fn write_record(&self, record: &Record, parts: &serde_json::Value) -> Result<(), FileError> {
        let path = self.store.layout.record(&self.key);
        let new = path.with_extension("json.new");
        let bytes = record.encode(parts).map_err(at("write", &path))?;
        blobs::in_folder(&new, || fs::write(&new, &bytes)).map_err(at("write", &new))?;
        fs::rename(&new, &path).map_err(at("write", &path))
    }

    fn write_owner(&mut self) -> Result<(), FileError> {
        let path = self.folder.with_extension("owner");
        let mut bytes = serde_json::to_vec(&self.owner).map_err(|error| at("write", &path)(error.into()))?;
        // Padded, not cut: some file systems bring a file that was cut and rewritten to the disk when it is closed.
        bytes.resize(bytes.len().max(OWNER_SIZE), b' ');
        self.owner_file.write_all_at(&bytes, 0).map_err(at("write", path))
    }

    /// Makes the private folder, with empty `result`, `observed`, `start` and `home`; a `state` that is there stays.
    fn prepare(&self) -> Result<(), FileError> {
        if !self.folder.exists() {
            self.store.layout.spares.take(&self.folder).map_err(at("make", &self.folder))?;
        }
        for folder in [self.result(), self.observed(), self.start(), self.home()] {
            make_empty(&folder).map_err(at("empty", &folder))?;
        }
        let state = self.state();
        already_is_fine(fs::create_dir(&state)).map_err(at("make", state))
    }

    /// Clears the private folder away and gives the right back. What cannot be removed is left for the next attempt.
    fn close(&mut self, keep: Keep) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let cleared = match keep {
            Keep::Nothing if !self.folder.exists() => Ok(()),
            Keep::Nothing => self.store.layout.spares.give(&self.folder, &self.store.layout.scratch()),
            Keep::StateAndLog if self.folder.exists() => {
                [self.result(), self.start(), self.home()].iter().try_for_each(|folder| make_empty(folder))
            }
            Keep::StateAndLog => Ok(()),
        };
        let cleared = cleared
            .and_then(|()| absent_is_fine(fs::remove_file(self.folder.with_extension("owner"))))
            .and_then(|()| absent_is_fine(fs::remove_file(self.folder.with_extension("lock"))));
        if let Err(error) = cleared {
            tracing::debug!("{} is left behind: {error}", self.folder.display());
        }
        // Explicitly: a program that was handed the lock as its input would hold it on otherwise.
        if let Err(error) = flock(&self.lock, FlockOperation::Unlock) {
            tracing::debug!("cannot unlock {}: {error}", self.folder.display());
        }
    }
}

/// Private folders that have served, kept for the next attempts of this process: making and removing folders is what
/// costs most of a short stage.
#[derive(Debug, Default)]
pub(super) struct Spares(Mutex<Vec<PathBuf>>);

impl Spares {
    /// A spare folder, or a new one, at this place.
    fn take(&self, place: &Path) -> io::Result<()> {
        let spare = self.0.lock().ok().and_then(|mut spares| spares.pop());
        match spare.map(|spare| fs::rename(spare, place)) {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => fs::create_dir_all(place),
        }
    }

    /// Clears a folder of everything but its own empty folders, and keeps it under another name.
    fn give(&self, folder: &Path, name: &Path) -> io::Result<()> {
        for item in fs::read_dir(folder)? {
            let item = item?;
            if item.file_type()?.is_dir() {
                make_empty(&item.path())?;
            } else {
                fs::remove_file(item.path())?;
            }
        }
        fs::rename(folder, name)?;
        if let Ok(mut spares) = self.0.lock() {
            spares.push(name.to_owned());
        }
        Ok(())
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        let spares = self.0.get_mut().map(std::mem::take).unwrap_or_default();
        for spare in spares {
            if let Err(error) = fs::remove_dir_all(&spare) {
                tracing::debug!("{} is left behind: {error}", spare.display());
            }
        }
    }
}

/// An empty folder at this place; one that is there is emptied.
fn make_empty(folder: &Path) -> io::Result<()> {
    match fs::read_dir(folder) {
        Ok(items) => items.into_iter().try_for_each(|item| {
            let item = item?;
            if item.file_type()?.is_dir() { fs::remove_dir_all(item.path()) } else { fs::remove_file(item.path()) }
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir(folder),
        Err(_) => fs::remove_file(folder).and_then(|()| fs::create_dir(folder)),
    }
}

fn already_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// What stays of a private folder.
enum Keep {
    Nothing,
    StateAndLog,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.close(Keep::StateAndLog);
    }
}
