//! A tree: the files that a stage left or a path holds, by name, digest and size. Knows no folder of the store.

use std::sync::OnceLock;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Digest, Framed};

/// One file of a tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Where it is, relative, with `/`; `.` when the tree is a single file.
    pub path: String,
    /// The digest of its contents.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Whether it can be executed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub executable: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Files sorted by path. Folders are there by the files in them; an empty folder is not kept.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    entries: Vec<Entry>,
    /// Computed when it is first asked for: whoever looks up a result asks several times.
    digest: OnceLock<Digest>,
}

impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Eq for Tree {}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.entries.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { entries: Vec::deserialize(deserializer)?, digest: OnceLock::new() })
    }
}

/// The path of the only entry of a tree that is a single file.
pub const SINGLE_FILE: &str = ".";

impl Tree {
    /// A tree of these files.
    pub fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort();
        Self { entries, digest: OnceLock::new() }
    }

    /// The files, sorted by path.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The file of that path.
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.binary_search_by(|entry| entry.path.as_str().cmp(path)).ok().and_then(|at| self.entries.get(at))
    }

    /// The bytes of all files.
    pub fn size(&self) -> u64 {
        self.entries.iter().map(|entry| entry.size).sum()
    }

    /// The digest of every file's path, contents, size and executable bit.
    pub fn digest(&self) -> Digest {
        *self.digest.get_or_init(|| digest_entries(self.entries.iter()))
    }

    /// The digest of the named files and folders alone, of all where none is named. A name that is not there counts
    /// as absent: when it appears, the digest changes. The order of the names does not count.
    pub fn digest_of(&self, names: &[String]) -> Digest {
        if names.is_empty() {
            return self.digest();
        }
        let mut names: Vec<&str> = names.iter().map(|name| name.trim_end_matches('/')).collect();
        names.sort_unstable();
        names.dedup();
        let mut framed = Framed::new("part of a tree", 1);
        for name in names {
            let found: Vec<&Entry> = self.entries.iter().filter(|entry| is_under(&entry.path, name)).collect();
            framed.field("name", name).number("files", found.len() as u64);
            framed.digest("contents", &digest_entries(found.into_iter()));
        }
        framed.finish()
    }

    /// The folders that hold the files, without the tree's own: `a` and `a/b` for `a/b/c`. Parents first.
    pub fn folders(&self) -> Vec<&str> {
        let mut folders: Vec<&str> = self
            .entries
            .iter()
            .flat_map(|entry| entry.path.match_indices('/').filter_map(|(at, _)| entry.path.get(..at)))
            .collect();
        folders.sort_unstable();
        folders.dedup();
        folders
    }
}

fn is_under(path: &str, name: &str) -> bool {
    path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn digest_entries<'a>(entries: impl ExactSizeIterator<Item = &'a Entry>) -> Digest {
    let mut framed = Framed::new("tree", 1);
    framed.number("files", entries.len() as u64);
    for entry in entries {
        framed
            .field("path", &entry.path)
            .digest("contents", &entry.digest)
            .number("size", entry.size)
            .number("executable", entry.executable.into());
    }
    framed.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        Tree::new(
            files
                .iter()
                .map(|(path, text)| Entry {
                    path: (*path).to_owned(),
                    digest: Digest::of(text.as_bytes()),
                    size: text.len() as u64,
                    executable: false,
                })
                .collect(),
        )
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn order_of_listing_does_not_count_but_every_file_does() {
        let a = tree(&[("x", "1"), ("y", "2")]);
        assert_eq!(a.digest(), tree(&[("y", "2"), ("x", "1")]).digest());
        assert_ne!(a.digest(), tree(&[("x", "2"), ("y", "1")]).digest());
        assert_ne!(a.digest(), tree(&[("x", "1")]).digest());
        assert_eq!(a.get("y").unwrap().digest, Digest::of(b"2"));
    }

    #[test]
    fn a_part_depends_on_its_files_alone() {
        let a = tree(&[("dev.parquet", "1"), ("test.parquet", "2"), ("maps/a", "3")]);
        let b = tree(&[("dev.parquet", "1"), ("test.parquet", "other"), ("maps/a", "3")]);
        let dev = names(&["dev.parquet", "tokenizer.json"]);
        assert_eq!(a.digest_of(&dev), b.digest_of(&dev));
        assert_ne!(a.digest_of(&names(&["test.parquet"])), b.digest_of(&names(&["test.parquet"])));
        assert_eq!(a.digest_of(&[]), a.digest());
        let appeared = tree(&[("dev.parquet", "1"), ("tokenizer.json", "")]);
        assert_ne!(appeared.digest_of(&dev), a.digest_of(&dev), "an absent name is not an empty file");
        assert_ne!(a.digest_of(&names(&["maps"])), a.digest_of(&names(&["map"])), "folders are whole names");
    }

    #[test]
    fn folders_come_parents_first() {
        assert_eq!(tree(&[("a/b/c", ""), ("a/d", ""), ("e", "")]).folders(), ["a", "a/b"]);
    }
}
