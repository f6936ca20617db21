//! What a tracker has had: for each run its name there, how many lines of figures, and whether all of it. Kept in a file to
//! which every change is one line, so that a kill at any instant loses at most the last. Knows no tracker.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};

/// What a tracker has of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The run's key.
    pub key: String,
    /// What the tracker calls it.
    pub id: String,
    /// The lines of its history that were sent.
    pub lines: u64,
    /// Whether nothing is left to be sent.
    pub done: bool,
}

/// The file of what one tracker has had, held alone.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    entries: HashMap<String, Entry>,
}

impl Ledger {
    /// Opens the file at `path`, or begins it; nothing where another engine holds it.
    ///
    /// # Errors
    /// When it cannot be read or made.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().create(true).read(true).write(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        // The last line may be torn; what follows must not be glued to it.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::Start(whole as u64))?;
        let lines = bytes[..whole].split(|byte| *byte == b'\n');
        let entries = lines.filter_map(|line| serde_json::from_slice::<Entry>(line).ok());
        let entries = entries.map(|entry| (entry.key.clone(), entry)).collect();
        Ok(Some(Self { file, entries }))
    }

    /// What the tracker has of a run.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Notes what the tracker has of a run now.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note(&mut self, entry: Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.entries.insert(entry.key.clone(), entry);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_there_after_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/ledger.jsonl");
        let entry = |key: &str, lines| Entry { key: key.into(), id: "7".into(), lines, done: false };
        let mut ledger = Ledger::open(&path).unwrap().unwrap();
        assert!(Ledger::open(&path).unwrap().is_none(), "one engine at a time");
        ledger.note(entry("a", 1)).unwrap();
        ledger.note(entry("a", 2)).unwrap();
        drop(ledger);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"key\":\"b\",\"id").unwrap();
        let mut ledger = Ledger::open(&path).unwrap().unwrap();
        assert_eq!((ledger.get("a"), ledger.get("b")), (Some(&entry("a", 2)), None));
        ledger.note(entry("b", 3)).unwrap();
        drop(ledger);
        let ledger = Ledger::open(&path).unwrap().unwrap();
        assert_eq!((ledger.get("a"), ledger.get("b")), (Some(&entry("a", 2)), Some(&entry("b", 3))));
    }
}
