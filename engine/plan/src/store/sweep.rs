//! Taking out of the store what nobody needs: which results go, and everything that then belongs to none. Knows keys,
//! records and files; why a key is needed is the caller's knowledge.
//!
//! What goes is first found, then taken out in the order records, what was observed, trees, blobs: killed at any instant,
//! no record is left that speaks of something which is gone.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
};

use super::{
    Alone, Store, absent_is_fine, attempts, list_folder,
    usage::{BlobName, Inventory, Thing, Usage},
};
use crate::{
    digest::Digest,
    file_error::{FileError, at},
};

/// What must stay.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// Keys that a pipeline or a lock names; what their records read stays, too.
    pub keys: BTreeSet<Digest>,
    /// When a key was last used, in seconds since 1970, where that was later than it was made.
    pub used: HashMap<Digest, u64>,
    /// What was used since then stays, in seconds since 1970.
    pub since: u64,
    /// How many bytes the store may have; then what was longest unused goes though it is needed.
    pub max_size: Option<u64>,
}

/// A result that goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// The stage and member that it was made for.
    pub name: String,
    /// Its key.
    pub key: Digest,
    /// When it was last used, in seconds since 1970.
    pub used: u64,
    /// Whether a pipeline, a lock or a recent run needs it: it goes for want of space.
    pub needed: bool,
    /// How many bytes are free without it and what belongs to it alone.
    pub bytes: u64,
}

/// What goes, and what it brings.
#[derive(Debug)]
pub struct Garbage {
    /// Results, in the order in which they were chosen.
    pub results: Vec<Dropped>,
    /// How many files and folders go that belong to no result, by what they are.
    pub strays: BTreeMap<&'static str, usize>,
    /// How many bytes are free afterwards in all.
    pub bytes: u64,
    /// How many results stay.
    pub kept: usize,
    /// How many bytes stay.
    pub kept_bytes: u64,
    /// In the order in which they are removed.
    paths: Vec<PathBuf>,
    /// Private folders of attempts that are over.
    attempts: Vec<PathBuf>,
}

impl Garbage {
    /// What is removed, in that order, but for private folders.
    pub fn in_order(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The paths of the store that go, but for private folders: links may lead to them.
    pub fn gone(&self) -> BTreeSet<&Path> {
        self.paths.iter().map(PathBuf::as_path).collect()
    }
}

impl Store {
    /// Finds what goes. Removes nothing.
    ///
    /// # Errors
    /// When the store cannot be looked at.
    pub fn garbage(&self, _alone: &Alone, needs: &Needs) -> Result<Garbage, FileError> {
        let inventory = Inventory::take(&self.layout)?;
        let (attempts, scratch, busy) = self.work_leftovers(needs)?;
        let mut usage = Usage::default();
        let things = |inventory: &Inventory, each: &mut dyn FnMut(&Thing)| {
            inventory.records.values().for_each(|(_, thing)| each(thing));
            inventory.observed.values().chain(inventory.trees.values()).for_each(&mut *each);
            inventory.blobs.values().chain(&inventory.leftovers).for_each(&mut *each);
        };
        things(&inventory, &mut |thing| usage.add(thing));
        attempts.iter().chain(&scratch).chain(&busy).for_each(|thing| usage.add(thing));
        let before = usage.bytes;

        let mut stock = Stock::new(&inventory);
        let mut results = Vec::new();
        let mut strays = BTreeMap::new();
        let mut paths = Paths::default();
        let needed = reachable(&inventory, needs);
        let used = |key: &Digest| last_use(&inventory, needs, key);
        let mut drop_result = |key: &Digest, needed: bool, usage: &mut Usage| {
            let Some((record, _)) = inventory.records.get(key) else { return };
            let before = usage.bytes;
            stock.drop_result(key, usage, &mut paths);
            let bytes = before - usage.bytes;
            results.push(Dropped { name: record.name.clone(), key: *key, used: used(key), needed, bytes });
        };
        // Strays first: what they take does not count against what is needed.
        let mut unneeded: Vec<&Digest> = inventory.records.keys().filter(|key| !needed.contains(key)).collect();
        unneeded.sort_by_key(|key| used(key));
        unneeded.into_iter().for_each(|key| drop_result(key, false, &mut usage));
        for (what, thing) in stray_things(&inventory).chain(scratch.iter().map(|thing| ("scratch folders", thing))) {
            usage.take(thing);
            *strays.entry(what).or_default() += 1;
        }
        for thing in &attempts {
            usage.take(thing);
            *strays.entry("folders of failed attempts").or_default() += 1;
        }
        if let Some(most) = needs.max_size {
            let mut by_age: Vec<&Digest> = needed.iter().collect();
            by_age.sort_by_key(|key| used(key));
            for key in by_age {
                if usage.bytes <= most {
                    break;
                }
                drop_result(key, true, &mut usage);
            }
        }
        let kept = inventory.records.len() - results.len();
        let stray_paths = stray_things(&inventory).map(|(_, thing)| thing.path.clone());
        let scratch = scratch.into_iter().map(|thing| thing.path);
        Ok(Garbage {
            results,
            strays,
            bytes: before - usage.bytes,
            kept,
            kept_bytes: usage.bytes,
            paths: paths.in_order().chain(stray_paths).chain(scratch).collect(),
            attempts: attempts.into_iter().map(|thing| thing.path).collect(),
        })
    }

    /// Takes out what was found to go.
    ///
    /// # Errors
    /// When something cannot be removed; what was removed before stays removed.
    pub fn sweep(&self, _alone: &Alone, garbage: &Garbage) -> Result<(), FileError> {
        for path in &garbage.paths {
            remove(path)?;
        }
        for folder in &garbage.attempts {
            let lock_path = folder.with_extension("lock");
            let Some(_lock) = attempts::acquire(&lock_path)? else { continue };
            remove(folder)?;
            remove(&folder.with_extension("owner"))?;
            remove(&lock_path)?;
        }
        self.sync()
    }

    /// Private folders of attempts that are over and old, of nobody's scratch, and those that stay.
    fn work_leftovers(&self, needs: &Needs) -> Result<(Vec<Thing>, Vec<Thing>, Vec<Thing>), FileError> {
        let (mut over, mut scratch, mut stay) = (Vec::new(), Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        for path in list_folder(&self.layout.work())? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if let Some(rest) = name.strip_prefix("scratch-") {
                let maker = rest.split('-').next().unwrap_or_default();
                let lives = Path::new("/proc").join(maker).exists();
                if let Some(thing) = Thing::at(path)? {
                    if lives { &mut stay } else { &mut scratch }.push(thing);
                }
                continue;
            }
            let Ok(key) = name.split('.').next().unwrap_or_default().parse::<Digest>() else { continue };
            if !seen.insert(key) {
                continue;
            }
            let folder = self.layout.work().join(key.hex());
            let busy = matches!(self.unfinished(&key), Some(super::Unfinished::Running));
            // A lock or a note without a folder is of no use to anybody.
            let thing = Thing::at(folder.clone())?;
            let recent = thing.as_ref().is_some_and(|thing| u64::try_from(thing.modified).unwrap_or(0) >= needs.since);
            let wanted = thing.is_some() && (recent || needs.keys.contains(&key));
            let thing = thing.unwrap_or_else(|| Thing::absent(folder));
            if busy || wanted { &mut stay } else { &mut over }.push(thing);
        }
        Ok((over, scratch, stay))
    }
}

fn remove(path: &Path) -> Result<(), FileError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    absent_is_fine(removed).map_err(at("remove", path))
}

fn last_use(inventory: &Inventory, needs: &Needs, key: &Digest) -> u64 {
    let made = inventory.records.get(key).map_or(0, |(record, _)| record.finished);
    needs.used.get(key).copied().unwrap_or(0).max(made)
}

/// The records that are needed or were used lately, with all that they read.
fn reachable(inventory: &Inventory, needs: &Needs) -> BTreeSet<Digest> {
    let is_root = |key: &&Digest| needs.keys.contains(key) || last_use(inventory, needs, key) >= needs.since;
    let mut open: Vec<Digest> = inventory.records.keys().filter(is_root).copied().collect();
    let mut reached: BTreeSet<Digest> = BTreeSet::new();
    while let Some(key) = open.pop() {
        if let Some((record, _)) = inventory.records.get(&key)
            && reached.insert(key)
        {
            open.extend(&record.inputs);
        }
    }
    reached
}

/// What belongs to no record.
fn stray_things(inventory: &Inventory) -> impl Iterator<Item = (&'static str, &Thing)> {
    let trees: BTreeSet<Digest> = inventory.records.values().map(|(record, _)| record.tree.digest()).collect();
    let blobs: BTreeSet<BlobName> = inventory
        .records
        .values()
        .flat_map(|(record, _)| record.tree.entries().iter().map(|entry| (entry.digest, entry.executable)))
        .collect();
    let leftovers = inventory.leftovers.iter().map(|thing| ("unfinished or damaged files", thing));
    let observed = inventory.observed.iter().filter(|(key, _)| !inventory.records.contains_key(key));
    let observed = observed.map(|(_, thing)| ("logs of no result", thing));
    let loose_trees = inventory.trees.iter().filter(move |(digest, _)| !trees.contains(digest));
    let loose_blobs = inventory.blobs.iter().filter(move |(name, _)| !blobs.contains(name));
    leftovers
        .chain(observed)
        .chain(loose_trees.map(|(_, thing)| ("folders of no result", thing)))
        .chain(loose_blobs.map(|(_, thing)| ("files of no result", thing)))
}

/// The paths that go with results, by the order in which they are removed.
#[derive(Debug, Default)]
struct Paths {
    records: Vec<PathBuf>,
    observed: Vec<PathBuf>,
    trees: Vec<PathBuf>,
    blobs: Vec<PathBuf>,
}

impl Paths {
    fn in_order(self) -> impl Iterator<Item = PathBuf> {
        self.records.into_iter().chain(self.observed).chain(self.trees).chain(self.blobs)
    }
}

/// The results that are still there, and how many of them share a tree or a blob.
struct Stock<'a> {
    inventory: &'a Inventory,
    trees: HashMap<Digest, usize>,
    blobs: HashMap<BlobName, usize>,
}

impl<'a> Stock<'a> {
    fn new(inventory: &'a Inventory) -> Self {
        let mut stock = Self { inventory, trees: HashMap::new(), blobs: HashMap::new() };
        for (record, _) in inventory.records.values() {
            *stock.trees.entry(record.tree.digest()).or_default() += 1;
            for entry in record.tree.entries() {
                *stock.blobs.entry((entry.digest, entry.executable)).or_default() += 1;
            }
        }
        stock
    }

    /// Drops a result with everything that belongs to no other.
    fn drop_result(&mut self, key: &Digest, usage: &mut Usage, paths: &mut Paths) {
        let Some((record, thing)) = self.inventory.records.get(key) else { return };
        let mut go = |thing: &Thing, paths: &mut Vec<PathBuf>| {
            usage.take(thing);
            paths.push(thing.path.clone());
        };
        go(thing, &mut paths.records);
        if let Some(thing) = self.inventory.observed.get(key) {
            go(thing, &mut paths.observed);
        }
        let tree = record.tree.digest();
        if is_last(&mut self.trees, &tree)
            && let Some(thing) = self.inventory.trees.get(&tree)
        {
            go(thing, &mut paths.trees);
        }
        for entry in record.tree.entries() {
            let name = (entry.digest, entry.executable);
            if is_last(&mut self.blobs, &name)
                && let Some(thing) = self.inventory.blobs.get(&name)
            {
                go(thing, &mut paths.blobs);
            }
        }
    }
}

/// Counts one less, and says whether it was the last.
fn is_last<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, of: &K) -> bool {
    let Some(count) = counts.get_mut(of) else { return false };
    *count -= 1;
    *count == 0
}
