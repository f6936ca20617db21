//! What can be wrong with a file of tensors: what, where, and what to do. Does not render.

use std::{io, path::Path, path::PathBuf};

/// What is wrong with bytes whose file is not known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub hint: String,
}

impl Damage {
    pub(crate) fn new(problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { problem: problem.into(), hint: hint.into() }
    }

    /// In this file.
    pub fn at(self, path: &Path) -> Error {
        Error::File { path: path.to_owned(), problem: self.problem, hint: self.hint }
    }
}

/// A failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The verb: `open`, `read`, `map`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or folder is not usable.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        hint: String,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn file(path: &Path, problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Damage::new(problem, hint).at(path)
    }
}

/// Text of a file as it can stand in a message: no control characters, and no more than is needed to know it by.
pub(crate) fn shown(text: &str) -> String {
    const MOST: usize = 160;
    let mut shown = String::new();
    for letter in text.chars() {
        if shown.len() >= MOST {
            shown.push('…');
            break;
        }
        shown.extend(letter.escape_debug());
    }
    shown
}
