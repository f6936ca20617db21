//! A store in a temporary folder, and stages that are a few files.

use std::{fs, ops::ControlFlow, path::Path};

use plan::{
    digest::Digest,
    file_error::FileError,
    store::{Attempt, Begun, Durability, Made, Record, Store},
};
use tempfile::TempDir;

pub struct Space {
    pub folder: TempDir,
    pub store: Store,
}

impl Space {
    pub fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    pub fn at(folder: TempDir) -> Self {
        let store = Store::open(&folder.path().join("outputs"));
        Self { folder, store }
    }

    pub fn attempt(&self, key: &Digest) -> Attempt {
        match self.store.try_begin(key, "stage").unwrap() {
            Begun::Attempt(attempt) => attempt,
            Begun::Done(_) => panic!("done already"),
            Begun::Busy(_) => panic!("busy"),
        }
    }

    /// Does a stage that leaves these files.
    pub fn make(&self, key: &Digest, files: &[(&str, &str)]) -> Record {
        let attempt = self.attempt(key);
        write_files(&attempt.result(), files);
        attempt.commit(made(), Durability::Grouped).unwrap()
    }

    /// Why a stage that did this could not be stored.
    pub fn refuse(&self, act: impl FnOnce(&Path)) -> FileError {
        let key = key("refused");
        let attempt = self.attempt(&key);
        act(&attempt.result());
        let error = attempt.commit(made(), Durability::Grouped).unwrap_err();
        assert_eq!(self.store.lookup(&key).unwrap(), None);
        error
    }

    pub fn read(&self, record: &Record, file: &str) -> String {
        fs::read_to_string(self.store.tree_folder(record).join(file)).unwrap()
    }
}

pub fn write_files(folder: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

pub fn key(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

pub fn made() -> Made {
    Made {
        kind: "command".to_owned(),
        parts: serde_json::json!({"settings": {"run": ["true"]}}),
        inputs: Vec::new(),
        seconds: 0.1,
        engine: "0.1.0".to_owned(),
        machine: "cpu".to_owned(),
        run: serde_json::json!({"seconds": 0.1}),
    }
}

pub fn wait(_: Option<&plan::store::Owner>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}
