//! The cache of Hugging Face's own tools, one repository of it: contents by their digest, commits as links to them, the
//! commit of each branch. Several programs may use it at once. Knows files; asks nobody.
//!
//! ```text
//! models--owner--name/
//!   blobs/<digest>                  contents; <digest>.incomplete while they come
//!   snapshots/<commit>/<path>       a link to contents
//!   refs/<revision>                 its commit when it was last looked at
//!   listings/<commit>.json          all files of the commit, also those that are not here; other tools leave it alone
//! .locks/models--owner--name/<digest>.lock
//! ```

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use spec::stage::{Repository, RepositoryKind};

use super::listing::{Entry, Listing, is_commit};
use crate::{Error, download::transfer::sha256};

/// A repository's place in the cache.
pub(super) struct Cached {
    folder: PathBuf,
    locks: PathBuf,
    repo: CacheRepo,
}

/// What there is of a file's contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contents {
    /// All, with the size and digest that they must have.
    Whole,
    /// Nothing.
    Absent,
    /// Something else.
    Damaged,
}

impl Cached {
    /// The place of a repository in the cache's folder.
    pub(super) fn new(cache: &Path, repository: Repository<'_>) -> Self {
        let kind = match repository.kind {
            RepositoryKind::Model => RepoType::Model,
            RepositoryKind::Dataset => RepoType::Dataset,
        };
        let repo = Repo::new(repository.name.to_owned(), kind);
        let name = repo.folder_name();
        Self {
            folder: cache.join(&name),
            locks: cache.join(".locks").join(&name),
            repo: Cache::new(cache.to_owned()).repo(repo),
        }
    }

    /// The folder, which may not be there yet.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a file of a commit is linked.
    pub(super) fn at(&self, commit: &str, path: &str) -> PathBuf {
        self.repo.pointer_path(commit).join(path)
    }

    /// Where contents lie.
    pub(super) fn blob(&self, entry: &Entry) -> PathBuf {
        self.folder.join("blobs").join(&entry.id)
    }

    /// Where contents lie while they come.
    pub(super) fn incomplete(&self, entry: &Entry) -> PathBuf {
        self.folder.join("blobs").join(format!("{}.incomplete", entry.id))
    }

    /// The commit that a revision was when it was last looked at.
    pub(super) fn commit_of(&self, revision: &str) -> Option<String> {
        let text = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|text| is_commit(text))
    }

    /// Notes the commit of a revision.
    pub(super) fn note(&self, revision: &str, commit: &str) -> Result<(), Error> {
        if revision == commit || self.commit_of(revision).as_deref() == Some(commit) {
            return Ok(());
        }
        write(&self.folder.join("refs").join(revision), commit.as_bytes())
    }

    /// All files of a commit: as they were listed when it was downloaded, else those that are here.
    pub(super) fn listing(&self, commit: &str) -> Option<Listing> {
        let text = fs::read(self.listing_path(commit)).ok()?;
        let listing: Listing = serde_json::from_slice(&text).ok()?;
        Some(listing).filter(|listing| listing.commit == commit && listing.is_sound())
    }

    /// Keeps the list of all files of a commit.
    pub(super) fn keep_listing(&self, listing: &Listing) -> Result<(), Error> {
        let path = self.listing_path(&listing.commit);
        let text = serde_json::to_vec(listing).map_err(|error| Error::io("write", &path, &error.into()))?;
        write(&path, &text)
    }

    fn listing_path(&self, commit: &str) -> PathBuf {
        self.folder.join("listings").join(format!("{commit}.json"))
    }

    /// The files of a commit that are here, as another tool has left them.
    pub(super) fn found(&self, commit: &str) -> Option<Listing> {
        let root = self.repo.pointer_path(commit);
        let blobs = fs::canonicalize(self.folder.join("blobs")).ok()?;
        let mut listing = Listing { commit: commit.to_owned(), files: Default::default() };
        let mut open = vec![root.clone()];
        while let Some(folder) = open.pop() {
            for item in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = item.path();
                if path.is_dir() {
                    open.push(path);
                    continue;
                }
                let (Ok(target), Ok(about)) = (fs::canonicalize(&path), path.metadata()) else { continue };
                if target.parent() != Some(&blobs) {
                    continue;
                }
                let id = target.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
                let name = path.strip_prefix(&root).ok().and_then(Path::to_str).unwrap_or_default().to_owned();
                listing.files.insert(name, Entry { size: about.len(), id });
            }
        }
        Some(listing).filter(|listing| !listing.files.is_empty() && listing.is_sound())
    }

    /// Compares contents with what they must be.
    pub(super) fn contents(path: &Path, entry: &Entry) -> Result<Contents, Error> {
        let about = match path.metadata() {
            Ok(about) => about,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contents::Absent),
            Err(error) => return Err(Error::io("read", path, &error)),
        };
        if !about.is_file() || about.len() != entry.size {
            return Ok(Contents::Damaged);
        }
        match entry.sha256() {
            Some(digest) if sha256(path)? != digest => Ok(Contents::Damaged),
            _ => Ok(Contents::Whole),
        }
    }

    /// Links contents that are here under a commit.
    pub(super) fn link(&self, commit: &str, path: &str, entry: &Entry) -> Result<PathBuf, Error> {
        let at = self.at(commit, path);
        let up = "../".repeat(path.split('/').count() + 1);
        let target = PathBuf::from(format!("{up}blobs/{}", entry.id));
        make_folder(&at)?;
        match std::os::unix::fs::symlink(&target, &at) {
            Ok(()) => Ok(at),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if fs::read_link(&at).is_ok_and(|there| there == target) {
                    return Ok(at);
                }
                let beside = beside(&at);
                let replaced = std::os::unix::fs::symlink(&target, &beside).and_then(|()| fs::rename(&beside, &at));
                replaced.map_err(|error| Error::io("link", &at, &error)).map(|()| at)
            }
            Err(error) => Err(Error::io("link", &at, &error)),
        }
    }

    /// The sole right to bring contents, as the other tools take it; `waiting` is called once while another program has it.
    pub(super) fn lock(&self, entry: &Entry, waiting: impl FnOnce()) -> Result<File, Error> {
        let path = self.locks.join(format!("{}.lock", entry.id));
        make_folder(&path)?;
        let open = File::options().create(true).append(true).open(&path);
        let file = open.map_err(|error| Error::io("write", &path, &error))?;
        let mut waiting = Some(waiting);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => {
                    if let Some(waiting) = waiting.take() {
                        waiting();
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path, &error)),
            }
        }
    }
}

/// Makes the folder that a file is to lie in.
fn make_folder(path: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|error| Error::io("make this folder of the Hub's cache", folder, &error))
}

/// A name beside a file, of this process and thread alone.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}

/// Writes a small file, whole or not at all.
fn write(path: &Path, text: &[u8]) -> Result<(), Error> {
    make_folder(path)?;
    let new = beside(path);
    fs::write(&new, text).and_then(|()| fs::rename(&new, path)).map_err(|error| Error::io("write", path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
    /// `printf abc | sha256sum`
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn lies_where_other_tools_look() {
        let folder = tempfile::tempdir().unwrap();
        let cached = Cached::new(folder.path(), Repository { kind: RepositoryKind::Dataset, name: "nyu-mll/glue" });
        let entry = Entry { size: 3, id: ABC.to_owned() };
        let blob = folder.path().join(format!("datasets--nyu-mll--glue/blobs/{ABC}"));
        assert_eq!(cached.blob(&entry), blob);
        assert_eq!(Cached::contents(&blob, &entry).unwrap(), Contents::Absent);
        fs::create_dir_all(blob.parent().unwrap()).unwrap();
        fs::write(&blob, "abd").unwrap();
        assert_eq!(Cached::contents(&blob, &entry).unwrap(), Contents::Damaged);
        fs::write(&blob, "abc").unwrap();
        assert_eq!(Cached::contents(&blob, &entry).unwrap(), Contents::Whole);
        let at = cached.link(COMMIT, "deep/er/a.txt", &entry).unwrap();
        assert_eq!(at, folder.path().join(format!("datasets--nyu-mll--glue/snapshots/{COMMIT}/deep/er/a.txt")));
        assert_eq!(fs::read_to_string(&at).unwrap(), "abc");
        // A link that another program has left broken is made again.
        fs::remove_file(&at).unwrap();
        std::os::unix::fs::symlink("nowhere", &at).unwrap();
        cached.link(COMMIT, "deep/er/a.txt", &entry).unwrap();
        assert_eq!(fs::read_to_string(&at).unwrap(), "abc");
        cached.note("refs/pr/5", COMMIT).unwrap();
        assert_eq!(cached.commit_of("refs/pr/5").as_deref(), Some(COMMIT));
        assert_eq!(cached.commit_of("main"), None);
        let listing = Listing { commit: COMMIT.to_owned(), files: [("deep/er/a.txt".to_owned(), entry)].into() };
        assert_eq!(cached.found(COMMIT), Some(listing.clone()));
        assert_eq!(cached.listing(COMMIT), None);
        cached.keep_listing(&listing).unwrap();
        assert_eq!(cached.listing(COMMIT), Some(listing));
    }
}
