//! The content-addressed store: what every finished stage left, found again by its key. Knows keys as digests and
//! results as files; knows nothing of stages' meaning, of the graph, or of who waits for what.
//!
//! ```text
//! outputs/.store/v1/
//!   blobs/ab/<digest>          a file's contents, read-only; `<digest>.x` where executable
//!   trees/ab/<tree digest>/…   a folder of hard links to blobs (copies where there are none): what stages read
//!                              and people open
//!   records/ab/<key>.json      the action record: key, tree, headline figures; written last, atomically
//!   observed/ab/<key>/…        what was observed while it was made: measured.json, run.json, log.txt; never digested
//!   work/<key>/                the private folder of a running attempt: result/ observed/ state/ start/ home/
//!   work/<key>.lock            held while the attempt runs; the stage's program holds it, too
//!   work/<key>.owner           whose attempt it is: the engine, and the process group of the stage
//!   work/scratch-…             a folder on its way in or out
//!   unsynced-<boot>.…          there while records may not have reached the disk
//!   remembered                 digests of the project's own files
//!   runs/<time>-<process>.json what each run did, and why
//!   lock                       held by every run; by whoever takes results out, alone
//! ```
//!
//! Kill the engine or the machine at any instant: a record is there only after everything that it speaks of.

mod attempts;
mod blobs;
mod fence;
mod hold;
mod records;
mod sweep;
mod trees;
mod unsynced;
mod usage;

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rayon::prelude::*;

pub(crate) use self::blobs::unique;
use self::{attempts::Spares, unsynced::Unsynced};
pub use self::{
    attempts::{Attempt, Begun, Durability, Made},
    fence::Owner,
    hold::{Alone, Hold},
    records::{FORMAT, Record, numeric_class},
    sweep::{Dropped, Garbage, Needs},
    trees::{Entry, SINGLE_FILE, Tree},
};
use crate::{
    digest::Digest,
    file_error::{FileError, at},
};

/// The store below one outputs folder. Clones are the same store.
#[derive(Debug, Clone)]
pub struct Store {
    layout: Arc<Layout>,
}

/// Where things lie.
#[derive(Debug)]
struct Layout {
    root: PathBuf,
    spares: Spares,
    unsynced: Unsynced,
}

impl Layout {
    fn sharded(&self, kind: &str, digest: &Digest, suffix: &str) -> PathBuf {
        let mut hex = digest.hex();
        hex.push_str(suffix);
        let mut path = PathBuf::with_capacity(self.root.as_os_str().len() + 96);
        path.push(&self.root);
        path.push(kind);
        path.push(hex.get(..2).unwrap_or_default());
        path.push(&hex);
        path
    }

    fn blob(&self, entry: &Entry) -> PathBuf {
        self.sharded("blobs", &entry.digest, if entry.executable { ".x" } else { "" })
    }

    fn tree(&self, tree: &Digest) -> PathBuf {
        self.sharded("trees", tree, "")
    }

    fn record(&self, key: &Digest) -> PathBuf {
        self.sharded("records", key, ".json")
    }

    fn observed(&self, key: &Digest) -> PathBuf {
        self.sharded("observed", key, "")
    }

    fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    fn scratch(&self) -> PathBuf {
        self.work().join(format!("scratch-{}", blobs::unique()))
    }
}

/// A stage that was begun and is not recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfinished {
    /// Another run is doing it.
    Running,
    /// It failed or was killed; its log.
    Failed(PathBuf),
}

impl Store {
    /// The store below an outputs folder: `outputs/.store`. Nothing is made before something is stored. After a power
    /// failure, what was stored last is read and checked.
    pub fn open(outputs: &Path) -> Self {
        let root = outputs.join(".store").join("v1");
        let layout = Layout { root, spares: Spares::default(), unsynced: Unsynced::default() };
        let store = Self { layout: Arc::new(layout) };
        if let Err(error) = store.recover() {
            tracing::warn!("what was stored before the machine went down cannot be checked: {error}");
        }
        store
    }

    /// The folder of this version of the store.
    pub fn root(&self) -> &Path {
        &self.layout.root
    }

    /// What this key left, if it is all here and nobody touched it. Reads no contents unless a file bears marks of
    /// having been touched; a folder that lost or gained files is made again from the blobs.
    ///
    /// # Errors
    /// When the record is there and cannot be read.
    pub fn lookup(&self, key: &Digest) -> Result<Option<Record>, FileError> {
        let Some(record) = Record::read(&self.layout.record(key), key)? else { return Ok(None) };
        let folder = self.tree_folder(&record);
        if blobs::is_sound_folder(&folder, &record.tree) || self.restore(&record, &folder) {
            return Ok(Some(record));
        }
        tracing::warn!("stored files of {} were changed or removed; it is done again", record.name);
        Ok(None)
    }

    /// What these keys left, looked up on all cores: what is asked for soon. Where something is damaged or absent, that is
    /// left to [`Self::lookup`]: nothing is said, and nothing mended, of a key that may never be asked for.
    pub fn look_ahead(&self, keys: &[Digest]) -> HashMap<Digest, Record> {
        let found = |key: &Digest| {
            let record = Record::if_sound(&self.layout.record(key), key)?;
            blobs::is_sound_folder(&self.tree_folder(&record), &record.tree).then_some((*key, record))
        };
        // Few are looked up in less time than it takes to share them out.
        keys.par_iter().with_min_len(32).filter_map(found).collect()
    }

    /// What this key left according to its record, whether or not the files are still there: to explain a rerun.
    ///
    /// # Errors
    /// When the record is there and cannot be read.
    pub fn record(&self, key: &Digest) -> Result<Option<Record>, FileError> {
        Record::read(&self.layout.record(key), key)
    }

    /// The key of a record as it can be read; nothing where the record is absent or damaged.
    ///
    /// # Errors
    /// When the record is there and cannot be read.
    pub fn key_parts(&self, key: &Digest) -> Result<Option<serde_json::Value>, FileError> {
        records::parts(&self.layout.record(key))
    }

    /// The folder with the files that a stage left: what other stages read and people open.
    pub fn tree_folder(&self, record: &Record) -> PathBuf {
        self.layout.tree(&record.tree.digest())
    }

    /// The folder with what was observed while a key's stage ran; may be absent.
    pub fn observed_folder(&self, key: &Digest) -> PathBuf {
        self.layout.observed(key)
    }

    /// Hashes the files that a record speaks of, as the stages that read them see them. The damaged and absent ones
    /// are returned.
    pub fn verify(&self, record: &Record) -> Vec<PathBuf> {
        let folder = self.tree_folder(record);
        let damaged = |entry: &Entry| {
            let path = folder.join(&entry.path);
            (!blobs::has_contents(&path, entry)).then_some(path)
        };
        record.tree.entries().par_iter().filter_map(damaged).collect()
    }

    /// Takes what is damaged of a record's files out of the store, so that the next `lookup` makes them again from
    /// sound blobs or says that the stage must run. Returns whether all could be made again.
    ///
    /// # Errors
    /// When a damaged file cannot be removed.
    pub fn forget_damaged(&self, record: &Record) -> Result<bool, FileError> {
        let folder = self.tree_folder(record);
        for entry in record.tree.entries() {
            let blob = self.layout.blob(entry);
            if !blobs::has_contents(&blob, entry) {
                absent_is_fine(fs::remove_file(&blob)).map_err(at("remove", &blob))?;
            }
        }
        absent_is_fine(fs::remove_dir_all(&folder)).map_err(at("remove", &folder))?;
        Ok(self.lookup(&record.key)?.is_some())
    }

    /// What became of a key's stage that is not recorded: another run is doing it, or it failed. Reads no contents.
    pub fn unfinished(&self, key: &Digest) -> Option<Unfinished> {
        let folder = self.layout.work().join(key.hex());
        let lock = fs::File::open(folder.with_extension("lock")).ok();
        if lock.is_some_and(|lock| rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockShared).is_err())
        {
            return Some(Unfinished::Running);
        }
        let log = folder.join("observed").join("log.txt");
        log.exists().then_some(Unfinished::Failed(log))
    }

    /// The keys of all records.
    ///
    /// # Errors
    /// When a folder of records cannot be listed.
    pub fn keys(&self) -> Result<BTreeSet<Digest>, FileError> {
        let mut keys = BTreeSet::new();
        let records = self.layout.root.join("records");
        for shard in list_folder(&records)? {
            for path in list_folder(&shard)? {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                keys.extend(name.strip_suffix(".json").and_then(|hex| hex.parse::<Digest>().ok()));
            }
        }
        Ok(keys)
    }

    fn restore(&self, record: &Record, folder: &Path) -> bool {
        let new = self.layout.scratch();
        let restored = blobs::folder_from_blobs(&self.layout, &new, &record.tree).and_then(|done| match done {
            Some(()) => blobs::replace_folder(&self.layout, &new, folder).map(|()| true),
            None => Ok(false),
        });
        match restored {
            Ok(true) => {
                tracing::info!("the files of {} were made again from the store's blobs", record.name);
                true
            }
            Ok(false) | Err(_) => {
                if let Err(error) = absent_is_fine(fs::remove_dir_all(&new)) {
                    tracing::debug!("{} is left behind: {error}", new.display());
                }
                false
            }
        }
    }
}

fn list_folder(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    match fs::read_dir(folder) {
        Ok(items) => items.map(|item| item.map(|item| item.path()).map_err(at("list", folder))).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(at("list", folder)(error)),
    }
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
