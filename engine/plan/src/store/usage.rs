//! What the store holds on the disk, by what it belongs to, and how many bytes would be free without some of it. A file
//! with several names in the store counts once. Knows no reason to drop anything.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{Layout, list_folder, records::Record};
use crate::{
    digest::Digest,
    file_error::{FileError, at},
};

/// A file's contents on the disk, by device and inode.
type Body = (u64, u64);

/// A file or folder with all that lies below it.
#[derive(Debug)]
pub(super) struct Thing {
    pub path: PathBuf,
    files: Vec<(Body, u64)>,
    /// When anything in it was last modified, in seconds since 1970.
    pub modified: i64,
}

impl Thing {
    /// What lies at a path; nothing where it vanished meanwhile.
    pub fn at(path: PathBuf) -> Result<Option<Self>, FileError> {
        let mut thing = Self::absent(path.clone());
        let mut open = vec![path];
        while let Some(path) = open.pop() {
            let metadata = match fs::symlink_metadata(&path) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(at("look at", path)(error)),
            };
            thing.modified = thing.modified.max(metadata.mtime());
            if metadata.is_dir() {
                open.extend(list_folder(&path)?);
            } else {
                thing.files.push(body(&metadata));
            }
        }
        Ok((thing.modified > i64::MIN).then_some(thing))
    }

    /// Nothing, at this path.
    pub fn absent(path: PathBuf) -> Self {
        Self { path, files: Vec::new(), modified: i64::MIN }
    }
}

fn body(metadata: &Metadata) -> (Body, u64) {
    ((metadata.dev(), metadata.ino()), metadata.blocks() * 512)
}

/// A blob's name: the digest of its contents, and whether it can be executed.
pub(super) type BlobName = (Digest, bool);

/// Everything that the store holds.
#[derive(Debug)]
pub(super) struct Inventory {
    pub records: BTreeMap<Digest, (Record, Thing)>,
    pub observed: BTreeMap<Digest, Thing>,
    pub trees: BTreeMap<Digest, Thing>,
    pub blobs: BTreeMap<BlobName, Thing>,
    /// Records that cannot be believed, and files that were on their way in.
    pub leftovers: Vec<Thing>,
}

impl Inventory {
    /// Looks at everything.
    pub fn take(layout: &Layout) -> Result<Self, FileError> {
        let mut all = Self {
            records: BTreeMap::new(),
            observed: BTreeMap::new(),
            trees: BTreeMap::new(),
            blobs: BTreeMap::new(),
            leftovers: Vec::new(),
        };
        for (name, thing) in sharded(&layout.root, "records")? {
            let key = name.strip_suffix(".json").and_then(|hex| hex.parse().ok());
            match key.map(|key| Ok((key, Record::read(&thing.path, &key)?))).transpose()? {
                Some((key, Some(record))) => {
                    all.records.insert(key, (record, thing));
                }
                Some((_, None)) => all.leftovers.push(thing),
                None if name.ends_with(".new") => all.leftovers.push(thing),
                None => {}
            }
        }
        for (kind, things) in [("observed", &mut all.observed), ("trees", &mut all.trees)] {
            for (name, thing) in sharded(&layout.root, kind)? {
                if let Ok(digest) = name.parse() {
                    things.insert(digest, thing);
                }
            }
        }
        for (name, thing) in sharded(&layout.root, "blobs")? {
            let (hex, executable) = name.strip_suffix(".x").map_or((name.as_str(), false), |hex| (hex, true));
            match hex.parse() {
                Ok(digest) => {
                    all.blobs.insert((digest, executable), thing);
                }
                Err(_) if name.ends_with(".new") => all.leftovers.push(thing),
                Err(_) => {}
            }
        }
        for path in list_folder(&layout.root)? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with("remembered.") && name.ends_with(".new") {
                all.leftovers.extend(Thing::at(path)?);
            }
        }
        Ok(all)
    }
}

/// What lies in the shards of a folder, with its name.
fn sharded(root: &Path, kind: &str) -> Result<Vec<(String, Thing)>, FileError> {
    let mut found = Vec::new();
    for shard in list_folder(&root.join(kind))? {
        for path in list_folder(&shard)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found.extend(Thing::at(path)?.map(|thing| (name, thing)));
        }
    }
    Ok(found)
}

/// How many bytes a set of things takes, each file once.
#[derive(Debug, Default)]
pub(super) struct Usage {
    names: HashMap<Body, (u64, usize)>,
    pub bytes: u64,
}

impl Usage {
    pub fn add(&mut self, thing: &Thing) {
        for (body, bytes) in &thing.files {
            let (_, names) = self.names.entry(*body).or_insert((*bytes, 0));
            if *names == 0 {
                self.bytes += bytes;
            }
            *names += 1;
        }
    }

    pub fn take(&mut self, thing: &Thing) {
        for (body, bytes) in &thing.files {
            if let Some((_, names)) = self.names.get_mut(body)
                && *names > 0
            {
                *names -= 1;
                if *names == 0 {
                    self.bytes -= bytes;
                }
            }
        }
    }
}
