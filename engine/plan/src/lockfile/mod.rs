//! The lock file `pipelines/<name>.lock.yaml`: small, sorted, in git. Knows its format; knows neither the store nor
//! how a pipeline runs.
//!
//! ```yaml
//! format: 1
//! pins:                        # what was downloaded: an input
//!   squad:
//!     source: rajpurkar/squad_v2
//!     revision: 3ffb306f725f7d2ce8394bc1873b24868140c412
//!     digest: 6437b3ac…        # of all its files
//! results:                     # what each member left: to compare with
//!   tuned[method=dora,seed=0]:
//!     key: 1f0c…
//!     result: 9a2b…
//!     headline:
//!       loss: 1.25
//! ...
//! ```
//!
//! The last line, YAML's own mark for the end of a document, tells a whole file from one that was cut between entries.

mod salvage;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

pub use self::salvage::{Salvaged, salvage};
use crate::{
    digest::Digest,
    file_error::{FileError, at},
};

const FORMAT: u32 = 1;
const HEAD: &str = "# Written by `engine run`. Commit it: pins say what was downloaded, results what came of it.\n";
const END: &str = "...\n";

/// What a lock file says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockFile {
    format: u32,
    /// What was downloaded, by member.
    #[serde(default)]
    pub pins: BTreeMap<String, Pin>,
    /// What came of each member.
    #[serde(default)]
    pub results: BTreeMap<String, LockedResult>,
}

/// What was downloaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// Where it came from, as the stage says: when that changes, the pin no longer holds.
    pub source: String,
    /// The exact revision, where the source has revisions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The digest of all its files.
    pub digest: Digest,
}

/// What came of one member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedResult {
    /// Its key.
    pub key: Digest,
    /// The digest of what it left; nothing for a report, which shows times and memory and so differs each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Digest>,
    /// Its headline figures.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headline: BTreeMap<String, f64>,
}

/// Why a lock file cannot be used. The first two are mended by writing it anew from the store.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It holds both sides of a merge.
    #[error("{}:{line}: the lock file holds both sides of a merge", path.display())]
    Merged {
        /// The file.
        path: PathBuf,
        /// Where the first mark stands.
        line: usize,
    },
    /// It is cut, or not a lock file.
    #[error("{}: the lock file is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, with line and column where known.
        why: String,
    },
    /// It was written by a later engine.
    #[error("{}: the lock file has format {format}, this engine knows {FORMAT}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl LockError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Merged { .. } | Self::Damaged { .. } => {
                "it is written anew from the store by `engine run`; or take one side: git checkout --ours FILE"
                    .to_owned()
            }
            Self::Format { .. } => "use the engine that wrote it, or remove the file and run again".to_owned(),
            Self::File(error) => error.hint(),
        }
    }
}

impl Default for LockFile {
    fn default() -> Self {
        Self { format: FORMAT, pins: BTreeMap::new(), results: BTreeMap::new() }
    }
}

impl LockFile {
    /// Reads a lock file; an absent one is an empty one.
    ///
    /// # Errors
    /// When it is damaged, half-merged, of a later format, or cannot be read.
    pub fn read(path: &Path) -> Result<Self, LockError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(at("read", path)(error).into()),
        };
        Self::parse(path, bytes)
    }

    /// The lock file in these bytes; its path is for messages.
    ///
    /// # Errors
    /// When it is damaged, half-merged, or of a later format.
    pub fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self, LockError> {
        let damaged = |why: String| LockError::Damaged { path: path.to_owned(), why };
        let text = String::from_utf8(bytes).map_err(|_| damaged("it is not UTF-8 text".to_owned()))?;
        if let Some(line) = text.lines().position(is_merge_mark) {
            return Err(LockError::Merged { path: path.to_owned(), line: line + 1 });
        }
        let format = text.lines().find_map(|line| line.strip_prefix("format:")?.trim().parse::<u32>().ok());
        if let Some(format) = format.filter(|format| *format != FORMAT) {
            return Err(LockError::Format { path: path.to_owned(), format });
        }
        let read = serde_yaml::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        if !text.lines().any(|line| line.trim_end() == END.trim_end()) {
            return Err(damaged(format!("its last line, `{}`, is missing: the end was cut", END.trim_end())));
        }
        Ok(read)
    }

    /// The lock file as it is written; its path is for messages.
    ///
    /// # Errors
    /// When something in it has no YAML form.
    pub fn text(&self, path: &Path) -> Result<String, LockError> {
        let body = serde_yaml::to_string(self)
            .map_err(|error| LockError::Damaged { path: path.to_owned(), why: error.to_string() })?;
        Ok([HEAD, &body, END].concat())
    }

    /// Writes the lock file, whole or not at all, unless it already says the same. Returns whether it was written.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<bool, LockError> {
        let text = self.text(path)?;
        if fs::read(path).is_ok_and(|found| found == text.as_bytes()) {
            return Ok(false);
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(at("make", folder))?;
        remove_litter(folder, path)?;
        let new = beside(folder, path, &format!("{}", std::process::id()));
        let mode = fs::metadata(path).map_or_else(|_| readable_by_all(), |found| found.permissions());
        let write = || {
            let mut file = fs::File::create(&new)?;
            io::Write::write_all(&mut file, text.as_bytes())?;
            file.set_permissions(mode)?;
            file.sync_all()
        };
        write().and_then(|()| fs::rename(&new, path)).map_err(|error| {
            // What counts is why the lock could not be written.
            let _ = fs::remove_file(&new);
            at("write", path)(error)
        })?;
        Ok(true)
    }
}

/// Where a lock is written before it takes its place: `.<lock's name>.<process>.new`.
fn beside(folder: &Path, path: &Path, process: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    folder.join(format!(".{name}.{process}.new"))
}

/// Removes what engines that were killed while they wrote this lock have left beside it.
fn remove_litter(folder: &Path, path: &Path) -> Result<(), FileError> {
    for item in fs::read_dir(folder).map_err(at("list", folder))?.filter_map(Result::ok) {
        let name = item.file_name();
        let process = name.to_str().and_then(|name| name.strip_suffix(".new")?.rsplit_once('.')).map(|(_, id)| id);
        let Some(process) = process.filter(|id| item.path() == beside(folder, path, id)) else { continue };
        if !Path::new("/proc").join(process).exists() {
            fs::remove_file(item.path()).map_err(at("remove", item.path()))?;
        }
    }
    Ok(())
}

fn readable_by_all() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o644)
}

fn is_merge_mark(line: &str) -> bool {
    ["<<<<<<<", "=======", ">>>>>>>", "|||||||"].iter().any(|mark| line.starts_with(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock() -> LockFile {
        let digest = |text: &str| Digest::of(text.as_bytes());
        let result = |seed: u32| LockedResult {
            key: digest("key"),
            result: Some(digest("result")),
            headline: BTreeMap::from([("exact".to_owned(), 61.0 + f64::from(seed)), ("tiny".to_owned(), 1e-7)]),
        };
        LockFile {
            pins: BTreeMap::from([(
                "squad".to_owned(),
                Pin { source: "a: b # c".to_owned(), revision: Some("0123".to_owned()), digest: digest("pin") },
            )]),
            results: BTreeMap::from([
                ("tuned[method=dora,seed=1]".to_owned(), result(1)),
                ("tuned[method=dora,seed=0]".to_owned(), result(0)),
            ]),
            ..LockFile::default()
        }
    }

    #[test]
    fn is_read_back_and_written_only_when_it_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipelines/a.lock.yaml");
        assert_eq!(LockFile::read(&path).unwrap(), LockFile::default());
        assert!(lock().write(&path).unwrap());
        assert_eq!(LockFile::read(&path).unwrap(), lock());
        assert!(!lock().write(&path).unwrap());
        let text = fs::read_to_string(&path).unwrap();
        let (first, second) = (text.find("seed=0").unwrap(), text.find("seed=1").unwrap());
        assert!(first < second);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn every_cut_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock.yaml");
        lock().write(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        let needed = whole.len() - "\n".len();
        for length in 0..needed {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(matches!(LockFile::read(&path), Err(LockError::Damaged { .. })), "cut at {length}");
        }
        fs::write(&path, &whole[..needed]).unwrap();
        assert_eq!(LockFile::read(&path).unwrap(), lock(), "an editor took the last line break");
        fs::write(&path, [&b"\xff"[..], &whole].concat()).unwrap();
        assert!(matches!(LockFile::read(&path), Err(LockError::Damaged { .. })));
    }

    #[test]
    fn both_sides_of_a_merge_are_said_with_their_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock.yaml");
        fs::write(&path, "format: 1\npins: {}\n<<<<<<< HEAD\nresults: {}\n=======\n>>>>>>> other\n").unwrap();
        let error = LockFile::read(&path).unwrap_err();
        assert!(error.to_string().ends_with("a.lock.yaml:3: the lock file holds both sides of a merge"), "{error}");
        assert!(error.hint().contains("engine run"));
        fs::write(&path, "format: 2\nnews: {}\n").unwrap();
        assert!(matches!(LockFile::read(&path), Err(LockError::Format { format: 2, .. })));
    }
}
