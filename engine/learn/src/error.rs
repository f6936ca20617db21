//! What can go wrong with models, weights and adapters, as data: what, where, and what to do. Does not render: the
//! worker folds an error into its message, its place and its hint.

use std::path::{Path, PathBuf};

use tch::TchError;

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of this crate. `Display` says what and where; [`Error::hint`] says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The verb: `read`, `write`, `create`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is there, but what it holds is not usable.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        hint: String,
    },
    /// A setting's value makes no sense.
    #[error("{setting}: {problem}")]
    Setting {
        /// The setting as its author knows it, such as `rank`.
        setting: String,
        /// What is wrong with its value.
        problem: String,
        /// What to do.
        hint: String,
    },
    /// A stage cannot go on: because of its rows, its numbers, or a signal.
    #[error("{problem}")]
    Stopped {
        /// What is wrong.
        problem: String,
        /// Where: a step and its rows, or a split.
        place: Option<String>,
        /// What to do.
        hint: String,
    },
    /// A tensor operation failed.
    #[error("{0}")]
    Tensor(#[from] TchError),
}

impl Error {
    /// A failure of the file system at `path`; `action` is a verb that fits "cannot …".
    pub fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }

    /// A file or folder whose content is not usable.
    pub fn file(path: &Path, problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), problem: problem.into(), hint: hint.into() }
    }

    /// A setting whose value makes no sense.
    pub fn setting(setting: impl Into<String>, problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Setting { setting: setting.into(), problem: problem.into(), hint: hint.into() }
    }

    /// A stage that cannot go on; `place` says where, as far as the problem does not.
    pub fn stopped(problem: impl Into<String>, place: Option<String>, hint: impl Into<String>) -> Self {
        Self::Stopped { problem: problem.into(), place, hint: hint.into() }
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::File { hint, .. } | Self::Setting { hint, .. } | Self::Stopped { hint, .. } => Some(hint),
            Self::Io { .. } | Self::Tensor(_) => None,
        }
    }
}

impl From<tensor_files::Error> for Error {
    fn from(error: tensor_files::Error) -> Self {
        match error {
            tensor_files::Error::Io { action, path, source } => Self::Io { action, path, source },
            tensor_files::Error::File { path, problem, hint } => Self::File { path, problem, hint },
        }
    }
}

/// The name among `candidates` that is nearest to `name` by edit distance, if one is near enough to be meant. A letter
/// in the wrong case counts half.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    use strsim::normalized_damerau_levenshtein as similarity;
    let lower = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            ((similarity(name, candidate) + similarity(&lower, &candidate.to_lowercase())) / 2.0, candidate)
        })
        .filter(|(similarity, _)| *similarity >= 0.6)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// `items` joined by commas; from the sixth on only their number.
pub(crate) fn some_of<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let items: Vec<_> = items.into_iter().collect();
    let shown = items.iter().take(5).map(|item| format!("`{item}`")).collect::<Vec<_>>().join(", ");
    if items.len() > 5 { format!("{shown} and {} more", items.len() - 5) } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_only_when_it_is_near() {
        assert_eq!(nearest("q_porj", ["k_proj", "q_proj", "o_proj"]), Some("q_proj"));
        assert_eq!(nearest("lora_a", ["lora_A", "lora_B"]), Some("lora_A"));
        assert_eq!(nearest("zzz", ["k_proj", "q_proj"]), None);
    }

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(some_of(["a", "b"]), "`a`, `b`");
        assert_eq!(some_of(["a", "b", "c", "d", "e", "f", "g"]), "`a`, `b`, `c`, `d`, `e` and 2 more");
    }
}
