//! Digests of the project's own files and folders, remembered so that doing nothing reads no contents. Knows paths and
//! digests; knows nothing of stages.
//!
//! A digest is believed while device, inode, size, time of modification and time of change are what they were, and
//! only if the file had been left alone for two seconds when it was read: a later write within the same tick of the
//! clock would not show. Nothing depends on the memory being there: damaged or lost, files are read again.

use std::{
    collections::HashMap,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use rayon::prelude::*;

use crate::{
    digest::Digest,
    file_error::{FileError, at},
    store::{Entry, SINGLE_FILE, Store, Tree},
};

/// What is compared to say that a file is the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: i128,
    changed: i128,
}

const NANO: i128 = 1_000_000_000;
/// How long a file must have been left alone before it was read.
const QUIET: i128 = 2 * NANO;

impl Identity {
    fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.len(),
            modified: i128::from(found.mtime()) * NANO + i128::from(found.mtime_nsec()),
            changed: i128::from(found.ctime()) * NANO + i128::from(found.ctime_nsec()),
        }
    }

    fn was_quiet(&self, now: i128) -> bool {
        now - self.modified.max(self.changed) > QUIET
    }
}

fn now() -> i128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| i128::try_from(time.as_nanos()).unwrap_or(0))
}

/// The memory of digests. Shared by threads.
#[derive(Debug)]
pub struct Remembered {
    file: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    digests: HashMap<Identity, Digest>,
    new: bool,
}

impl Remembered {
    /// The memory of a store.
    pub fn open(store: &Store) -> Self {
        Self::at(store.root().join("remembered"))
    }

    fn at(file: PathBuf) -> Self {
        let digests = fs::read(&file).ok().and_then(|bytes| decode(&bytes)).unwrap_or_default();
        Self { file, known: Mutex::new(Known { digests, new: false }) }
    }

    /// The digests of a file, as a tree whose only entry is `.`, or of the files below a folder. Symbolic links are
    /// followed: what counts is what a stage reads through them.
    ///
    /// # Errors
    /// When something cannot be read, is neither file nor folder, changes while it is read, or leads in a circle.
    pub fn digest_path(&self, path: &Path) -> Result<Tree, FileError> {
        let files = walk(path)?;
        let entries: Result<Vec<Entry>, FileError> = if files.len() < 64 {
            files.into_iter().map(|file| self.entry(file)).collect()
        } else {
            files.into_par_iter().map(|file| self.entry(file)).collect()
        };
        Ok(Tree::new(entries?))
    }

    /// Whether a path still holds what it held when `before` was made of it; for inputs after a stage has run.
    ///
    /// # Errors
    /// As [`Remembered::digest_path`]; a path that is gone is not the same, which is no error.
    pub fn still_same(&self, path: &Path, before: &Tree) -> Result<bool, FileError> {
        match self.digest_path(path) {
            Ok(now) => Ok(now == *before),
            Err(FileError::Changed(_)) => Ok(false),
            Err(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes the memory down if there is something new in it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self) -> Result<(), FileError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.new {
            return Ok(());
        }
        let folder = self.file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(at("make", folder))?;
        let new = self.file.with_extension(format!("{}.new", std::process::id()));
        fs::write(&new, encode(&known.digests)).map_err(at("write", &new))?;
        fs::rename(&new, &self.file).map_err(at("write", &self.file))?;
        known.new = false;
        Ok(())
    }

    /// Forgets the files that are not at or below these paths as they are now. Returns how many.
    pub fn keep_only(&self, paths: &[PathBuf]) -> usize {
        let found = paths.iter().flat_map(|path| walk(path).unwrap_or_default());
        let here: std::collections::HashSet<Identity> = found.map(|file| Identity::of(&file.metadata)).collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.digests.len();
        known.digests.retain(|identity, _| here.contains(identity));
        let forgotten = before - known.digests.len();
        known.new |= forgotten > 0;
        forgotten
    }

    fn entry(&self, file: Found) -> Result<Entry, FileError> {
        let Found { relative, path, metadata } = file;
        let identity = Identity::of(&metadata);
        let executable = metadata.mode() & 0o111 != 0;
        let remembered = self.known.lock().unwrap_or_else(PoisonError::into_inner).digests.get(&identity).copied();
        if let Some(digest) = remembered {
            return Ok(Entry { path: relative, digest, size: identity.size, executable });
        }
        let begun = now();
        let (digest, size) = Digest::of_file(&path).map_err(at("read", &path))?;
        let after = fs::metadata(&path).map_err(at("look at", &path))?;
        if Identity::of(&after) != identity || size != identity.size {
            return Err(FileError::Changed(path));
        }
        if identity.was_quiet(begun) {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.digests.insert(identity, digest);
            known.new = true;
        }
        Ok(Entry { path: relative, digest, size, executable })
    }
}

struct Found {
    relative: String,
    path: PathBuf,
    metadata: Metadata,
}

fn walk(path: &Path) -> Result<Vec<Found>, FileError> {
    let metadata = fs::metadata(path).map_err(at("read", path))?;
    if metadata.is_file() {
        return Ok(vec![Found { relative: SINGLE_FILE.to_owned(), path: path.to_owned(), metadata }]);
    }
    let mut files = Vec::new();
    // Each open folder with the identities of the folders that lead to it, its own last.
    let mut open = vec![(path.to_owned(), String::new(), vec![(metadata.dev(), metadata.ino())])];
    while let Some((folder, below, above)) = open.pop() {
        for item in fs::read_dir(&folder).map_err(at("list", &folder))? {
            let item = item.map_err(at("list", &folder))?;
            let path = item.path();
            let name = item.file_name();
            let Some(name) = name.to_str() else { return Err(FileError::Name { path, why: "it is not UTF-8" }) };
            let relative = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
            let metadata = fs::metadata(&path).map_err(at("read", &path))?;
            if metadata.is_dir() {
                let identity = (metadata.dev(), metadata.ino());
                if above.contains(&identity) {
                    return Err(FileError::Circle(path));
                }
                open.push((path, relative, above.iter().copied().chain([identity]).collect()));
            } else if metadata.is_file() {
                files.push(Found { relative, path, metadata });
            } else {
                return Err(FileError::NotReadable(path));
            }
        }
    }
    Ok(files)
}

const MAGIC: &[u8] = b"remembered digests 1\n";
const WIDTH: usize = 88;
/// More than this is forgotten as a whole: files that change daily would fill it.
const MOST: usize = 1_000_000;

/// Head, entries of a fixed width, and a digest over all that.
fn encode(digests: &HashMap<Identity, Digest>) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for (identity, digest) in digests.iter().take(MOST) {
        bytes.extend(identity.device.to_le_bytes());
        bytes.extend(identity.inode.to_le_bytes());
        bytes.extend(identity.size.to_le_bytes());
        bytes.extend(identity.modified.to_le_bytes());
        bytes.extend(identity.changed.to_le_bytes());
        bytes.extend(digest.as_bytes());
    }
    let digest = Digest::of(&bytes);
    bytes.extend(digest.as_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<HashMap<Identity, Digest>> {
    let (body, digest) = bytes.split_last_chunk::<32>()?;
    if Digest::of(body) != Digest::from_bytes(*digest) {
        return None;
    }
    let entries = body.strip_prefix(MAGIC)?.chunks_exact(WIDTH);
    entries.map(decode_entry).collect()
}

fn decode_entry(mut entry: &[u8]) -> Option<(Identity, Digest)> {
    fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
        let (head, rest) = bytes.split_first_chunk::<N>()?;
        *bytes = rest;
        Some(*head)
    }
    let identity = Identity {
        device: u64::from_le_bytes(take(&mut entry)?),
        inode: u64::from_le_bytes(take(&mut entry)?),
        size: u64::from_le_bytes(take(&mut entry)?),
        modified: i128::from_le_bytes(take(&mut entry)?),
        changed: i128::from_le_bytes(take(&mut entry)?),
    };
    Some((identity, Digest::from_bytes(take(&mut entry)?)))
}

#[cfg(test)]
mod tests {
    use std::{fs::FileTimes, os::unix::fs::symlink, time::Duration};

    use super::*;

    fn quiet() {
        std::thread::sleep(Duration::from_millis(2100));
    }

    #[test]
    fn a_quiet_file_is_remembered_and_every_change_is_seen() {
        let space = tempfile::tempdir().unwrap();
        let file = space.path().join("data");
        fs::write(&file, "one").unwrap();
        quiet();
        let memory = Remembered::at(space.path().join("memory"));
        let before = memory.digest_path(&file).unwrap();
        assert_eq!(before.get(".").unwrap().digest, Digest::of(b"one"));
        memory.save().unwrap();
        let memory = Remembered::at(space.path().join("memory"));
        assert_eq!(memory.known.lock().unwrap().digests.len(), 1);
        assert!(memory.still_same(&file, &before).unwrap());
        // Same size, same inode, and the time of modification put back: the time of change tells.
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, "two").unwrap();
        let times = FileTimes::new().set_modified(time);
        fs::File::options().append(true).open(&file).unwrap().set_times(times).unwrap();
        assert_eq!(memory.digest_path(&file).unwrap().get(".").unwrap().digest, Digest::of(b"two"));
        assert!(!memory.still_same(&file, &before).unwrap());
        fs::remove_file(&file).unwrap();
        assert!(!memory.still_same(&file, &before).unwrap());
    }

    #[test]
    fn a_file_that_was_just_written_is_not_remembered() {
        let space = tempfile::tempdir().unwrap();
        let file = space.path().join("data");
        fs::write(&file, "one").unwrap();
        let memory = Remembered::at(space.path().join("memory"));
        memory.digest_path(&file).unwrap();
        assert!(memory.known.lock().unwrap().digests.is_empty());
        memory.save().unwrap();
        assert!(!space.path().join("memory").exists());
    }

    #[test]
    fn a_damaged_memory_is_an_empty_one() {
        let identity = Identity { device: 1, inode: 2, size: 3, modified: -4, changed: 5 };
        let digests = HashMap::from([(identity, Digest::of(b"x"))]);
        let bytes = encode(&digests);
        assert_eq!(decode(&bytes), Some(digests));
        for length in 0..bytes.len() {
            assert_eq!(decode(&bytes[..length]), None);
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            assert_eq!(decode(&flipped), None);
        }
    }

    #[test]
    fn folders_follow_links_but_not_in_circles() {
        let space = tempfile::tempdir().unwrap();
        let folder = space.path().join("model");
        fs::create_dir_all(folder.join("deep")).unwrap();
        fs::write(space.path().join("blob"), "weights").unwrap();
        symlink("../../blob", folder.join("deep/weights")).unwrap();
        let memory = Remembered::at(space.path().join("memory"));
        let tree = memory.digest_path(&folder).unwrap();
        assert_eq!(tree.get("deep/weights").unwrap().digest, Digest::of(b"weights"));
        symlink("..", folder.join("deep/up")).unwrap();
        assert!(matches!(memory.digest_path(&folder), Err(FileError::Circle(_))));
        fs::remove_file(folder.join("deep/up")).unwrap();
        symlink("nowhere", folder.join("broken")).unwrap();
        assert!(matches!(memory.digest_path(&folder), Err(FileError::Io { path, .. }) if path.ends_with("broken")));
    }
}
