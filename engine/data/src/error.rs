//! What goes wrong with rows, templates and tokens: a message, its place, and what to do. Rendered elsewhere.

use std::{fmt, path::Path};

use spec::job::Failure;

/// A mistake: what, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", Shown(self))]
pub struct Error {
    /// What is wrong.
    pub message: String,
    /// Where: `file:line:column`, or a split and a row.
    pub place: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

struct Shown<'a>(&'a Error);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.0.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.0.message)?;
        match &self.0.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl Error {
    /// A mistake without a place.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), place: None, hint: None }
    }

    /// The same mistake at a place.
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.place = Some(place.to_string());
        self
    }

    /// The same mistake in a file.
    pub fn in_file(self, path: &Path) -> Self {
        self.at(path.display())
    }

    /// The same mistake with advice.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A file that could not be read or written.
    pub fn io(doing: &str, path: &Path, error: &std::io::Error) -> Self {
        let failed = Self::new(format!("cannot {doing}: {error}")).in_file(path);
        match error.kind() {
            std::io::ErrorKind::StorageFull => failed.hint("free some space on this disk, then run again"),
            std::io::ErrorKind::PermissionDenied => failed.hint("give yourself the right to it, then run again"),
            _ => failed,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { message: error.message, place: error.place, hint: error.hint }
    }
}

/// Ends the error's message at `result`'s failure with the file it happened in.
pub(crate) fn parquet(doing: &str, path: &Path, error: impl fmt::Display) -> Error {
    let failed = Error::new(format!("cannot {doing}: {error}")).in_file(path);
    if failed.message.contains("No space left") {
        return failed.hint("free some space on this disk, then run again");
    }
    failed
}
