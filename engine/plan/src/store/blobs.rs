//! Files at rest: how a file is put to rest in the store, how it is seen that nobody touched it, and how folders of
//! stored files are made of blobs. Knows neither keys nor records.
//!
//! A file at rest is read-only and bears one fixed time of modification, folders too. So one `stat` tells whether
//! anybody wrote to it, added to it or took from it; only then are contents hashed.

use std::{
    fs::{self, Metadata, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::{
    Layout,
    trees::{Entry, Tree},
};
use crate::{
    digest::Digest,
    file_error::{FileError, at},
};

/// The time of modification of everything at rest: 2000-01-01, in seconds since 1970.
const SETTLED: i64 = 946_684_800;

/// The longest path below a stage's folder that is kept.
const LONGEST_PATH: usize = 1024;

/// Marks a file or folder as being at rest.
pub(super) fn settle(path: &Path, mode: u32) -> Result<(), FileError> {
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(at("make read-only", path))?;
    let time = Timespec { tv_sec: SETTLED, tv_nsec: 0 };
    utimensat(CWD, path, &Timestamps { last_access: time, last_modification: time }, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|error| at("set the time of", path)(error.into()))
}

fn file_mode(executable: bool) -> u32 {
    if executable { 0o555 } else { 0o444 }
}

const FOLDER_MODE: u32 = 0o755;

fn is_settled(metadata: &Metadata) -> bool {
    metadata.mtime() == SETTLED && metadata.mtime_nsec() == 0
}

/// Whether the file is there with these contents. Contents are hashed only if somebody touched it.
fn is_sound(path: &Path, entry: &Entry) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else { return false };
    if !metadata.is_file() || metadata.len() != entry.size {
        return false;
    }
    is_settled(&metadata) || (has_contents(path, entry) && settle(path, file_mode(entry.executable)).is_ok())
}

/// Whether the file has these contents; reads them.
pub(super) fn has_contents(path: &Path, entry: &Entry) -> bool {
    Digest::of_file(path).is_ok_and(|(digest, size)| digest == entry.digest && size == entry.size)
}

/// Whether a folder holds exactly the files of `tree`, as they were put to rest.
pub(super) fn is_sound_folder(folder: &Path, tree: &Tree) -> bool {
    let entries = tree.entries();
    entries.iter().all(|entry| is_sound(&folder.join(&entry.path), entry)) && holds_nothing_else(folder, tree)
}

/// Whether nothing was added to the folders; they are listed only if somebody touched them.
fn holds_nothing_else(folder: &Path, tree: &Tree) -> bool {
    let untouched = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() && is_settled(&found));
    let folders = tree.folders();
    if untouched(folder) && folders.iter().all(|below| untouched(&folder.join(below))) {
        return true;
    }
    let Ok(found) = list(folder) else { return false };
    found.len() == tree.entries().len()
        && std::iter::once("").chain(folders).all(|below| settle(&folder.join(below), FOLDER_MODE).is_ok())
}

/// A regular file below a folder.
pub(super) struct Found {
    /// Relative, with `/`.
    pub path: String,
    pub metadata: Metadata,
}

/// The files below a folder, sorted. Whatever is neither a regular file nor a folder is an error that names it.
pub(super) fn list(folder: &Path) -> Result<Vec<Found>, FileError> {
    let mut found = Vec::new();
    let mut open = vec![String::new()];
    while let Some(below) = open.pop() {
        let path = folder.join(&below);
        for item in fs::read_dir(&path).map_err(at("list", &path))? {
            let item = item.map_err(at("list", &path))?;
            let name = item.file_name();
            let relative = match name.to_str() {
                None => return Err(bad_name(item.path(), "it is not UTF-8")),
                Some(name) if name.chars().any(char::is_control) => {
                    return Err(bad_name(item.path(), "it holds a control character"));
                }
                Some(name) if below.is_empty() => name.to_owned(),
                Some(name) => format!("{below}/{name}"),
            };
            if relative.len() > LONGEST_PATH {
                return Err(bad_name(item.path(), "its path is longer than 1,024 bytes"));
            }
            let metadata = item.metadata().map_err(at("look at", item.path()))?;
            if metadata.is_dir() {
                open.push(relative);
            } else if metadata.is_file() {
                found.push(Found { path: relative, metadata });
            } else {
                let what = if metadata.is_symlink() { "a symbolic link" } else { "a socket, pipe or device" };
                return Err(FileError::NotAFile { what, path: item.path() });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn bad_name(path: PathBuf, why: &'static str) -> FileError {
    FileError::Name { path, why }
}

/// Puts the files of a stage's folder to rest: hashes them, keeps each as a blob, and leaves the folder as it is to
/// stand among the trees.
pub(super) fn put_to_rest(layout: &Layout, folder: &Path) -> Result<Tree, FileError> {
    let found = list(folder)?;
    let entry = |file: Found| {
        let path = folder.join(&file.path);
        let (digest, size) = Digest::of_file(&path).map_err(at("read", &path))?;
        let executable = file.metadata.mode() & 0o111 != 0;
        let entry = Entry { path: file.path, digest, size, executable };
        keep_blob(layout, &path, file.metadata.nlink(), &entry)?;
        Ok(entry)
    };
    let entries: Result<Vec<Entry>, FileError> = if found.len() < 4 {
        found.into_iter().map(entry).collect()
    } else {
        found.into_par_iter().map(entry).collect()
    };
    let tree = Tree::new(entries?);
    drop_empty_folders(folder, &tree)?;
    settle_folders(folder, &tree)?;
    Ok(tree)
}

/// Whether the folder at `place` already holds what `new` holds: the very same files, or files with the same bytes.
pub(super) fn is_same_folder(place: &Path, new: &Path, tree: &Tree) -> bool {
    let same = |entry: &Entry| {
        let (Ok(there), Ok(here)) =
            (fs::symlink_metadata(place.join(&entry.path)), fs::symlink_metadata(new.join(&entry.path)))
        else {
            return false;
        };
        (there.ino() == here.ino() && there.dev() == here.dev()) || has_contents(&place.join(&entry.path), entry)
    };
    is_sound_folder(place, tree) && tree.entries().iter().all(same)
}

/// Makes one file a blob, or a link to the blob with the same contents.
fn keep_blob(layout: &Layout, path: &Path, links: u64, entry: &Entry) -> Result<(), FileError> {
    let mode = file_mode(entry.executable);
    if links > 1 {
        // Another name of this file lies where the store cannot see it: break the link.
        let copy = layout.scratch();
        fs::copy(path, &copy).map_err(at("copy", path))?;
        fs::rename(&copy, path).map_err(at("move", &copy))?;
    }
    settle(path, mode)?;
    let blob = layout.blob(entry);
    match fs::symlink_metadata(&blob) {
        Ok(_) if has_contents(&blob, entry) => {
            settle(&blob, mode)?;
            let link = layout.scratch();
            if fs::hard_link(&blob, &link).is_ok() {
                fs::rename(&link, path).map_err(at("move", &link))?;
            }
            return Ok(());
        }
        Ok(_) => fs::remove_file(&blob).map_err(at("remove", &blob))?,
        Err(_) => {}
    }
    link_or_copy(path, &blob, mode)
}

/// A hard link where the file system can, else a copy that appears whole.
fn link_or_copy(from: &Path, to: &Path, mode: u32) -> Result<(), FileError> {
    match in_folder(to, || fs::hard_link(from, to)) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) if cannot_link(&error) => {
            let mut new = to.as_os_str().to_owned();
            new.push(format!(".{}.new", unique()));
            let new = PathBuf::from(new);
            in_folder(&new, || reflink_copy::reflink_or_copy(from, &new)).map_err(at("copy to", &new))?;
            settle(&new, mode)?;
            fs::rename(&new, to).map_err(at("move to", to))
        }
        Err(error) => Err(at("link", to)(error)),
    }
}

/// Whether a hard link is refused because this file system has none, or none left for this file.
fn cannot_link(error: &io::Error) -> bool {
    use io::ErrorKind::{CrossesDevices, PermissionDenied, TooManyLinks, Unsupported};
    matches!(error.kind(), CrossesDevices | PermissionDenied | TooManyLinks | Unsupported)
}

/// A folder of stored files made again from blobs; `None` when a blob is absent or damaged.
pub(super) fn folder_from_blobs(layout: &Layout, folder: &Path, tree: &Tree) -> Result<Option<()>, FileError> {
    fs::create_dir_all(folder).map_err(at("make", folder))?;
    for below in tree.folders() {
        let path = folder.join(below);
        fs::create_dir_all(&path).map_err(at("make", &path))?;
    }
    for entry in tree.entries() {
        let blob = layout.blob(entry);
        if !is_sound(&blob, entry) {
            return Ok(None);
        }
        link_or_copy(&blob, &folder.join(&entry.path), file_mode(entry.executable))?;
    }
    settle_folders(folder, tree)?;
    Ok(Some(()))
}

/// Moves a folder to where another one may stand, which then is removed.
pub(super) fn replace_folder(layout: &Layout, new: &Path, place: &Path) -> Result<(), FileError> {
    for _ in 0..8 {
        match in_folder(place, || fs::rename(new, place)) {
            Ok(()) => return Ok(()),
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
                let old = layout.scratch();
                match in_folder(&old, || fs::rename(place, &old)) {
                    Ok(()) => fs::remove_dir_all(&old).map_err(at("remove", &old))?,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(at("move", place)(error)),
                }
            }
            Err(error) => return Err(at("move to", place)(error)),
        }
    }
    Err(at("replace", place)(io::ErrorKind::AlreadyExists.into()))
}

/// Does something in a folder that is made first if it is not there.
pub(super) fn in_folder<T>(path: &Path, act: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match act() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().ok_or(error)?;
            fs::create_dir_all(parent)?;
            act()
        }
        done => done,
    }
}

fn settle_folders(folder: &Path, tree: &Tree) -> Result<(), FileError> {
    for below in tree.folders().into_iter().rev() {
        settle(&folder.join(below), FOLDER_MODE)?;
    }
    settle(folder, FOLDER_MODE)
}

fn drop_empty_folders(folder: &Path, tree: &Tree) -> Result<(), FileError> {
    let kept = tree.folders();
    let mut open = vec![String::new()];
    while let Some(below) = open.pop() {
        let path = folder.join(&below);
        for item in fs::read_dir(&path).map_err(at("list", &path))? {
            let item = item.map_err(at("list", &path))?;
            if !item.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let name = item.file_name().to_string_lossy().into_owned();
            let relative = if below.is_empty() { name } else { format!("{below}/{name}") };
            if kept.binary_search(&relative.as_str()).is_ok() {
                open.push(relative);
            } else {
                fs::remove_dir_all(item.path()).map_err(at("remove", item.path()))?;
            }
        }
    }
    Ok(())
}

/// A word that no other thread or process uses at the same time.
pub(crate) fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}
