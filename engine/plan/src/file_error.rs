//! What goes wrong with files and processes of the store: what, where, and what to do. Knows no stage and no terminal.

use std::{io, path::Path, path::PathBuf};

/// A failure of the file system, or of a process that was to be started.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb: `write`.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A stage left something that is no regular file.
    #[error("a stage left {what} at {}", path.display())]
    NotAFile {
        /// What it is: `a symbolic link`.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// A file's name cannot be stored.
    #[error("the name of {} cannot be kept: {why}", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// What is wrong with its name.
        why: &'static str,
    },
    /// An input changed while it was read or used.
    #[error("{} changed while it was in use", .0.display())]
    Changed(PathBuf),
    /// A folder's symbolic links lead round in a circle.
    #[error("the symbolic link {} leads back to a folder that holds it", .0.display())]
    Circle(PathBuf),
    /// An input is neither a file nor a folder.
    #[error("{} is neither a file nor a folder", .0.display())]
    NotReadable(PathBuf),
    /// Something that the engine did not make stands where a link is to be.
    #[error("{} is in the way of a stage's folder", .0.display())]
    InTheWay(PathBuf),
    /// A program could not be started.
    #[error("cannot start `{program}`: {source}")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// Processes of a killed run that cannot be ended.
    #[error("processes {processes:?} of a run that was killed still work in {}", folder.display())]
    Orphans {
        /// The attempt's private folder.
        folder: PathBuf,
        /// Their numbers.
        processes: Vec<u32>,
    },
    /// Waiting for another run was broken off.
    #[error("stopped while another run was doing `{0}`")]
    Interrupted(String),
}

impl FileError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Io { source, path, .. } => io_hint(source, path),
            Self::NotAFile { .. } => "let the stage write regular files and folders only: a link or a socket means \
                                      nothing once it is stored"
                .to_owned(),
            Self::Name { .. } => "let the stage give the file a name of printable UTF-8 text".to_owned(),
            Self::Changed(_) => "nothing was stored; run again when the file is no longer written to".to_owned(),
            Self::Circle(_) => "remove the link, or name the folder below it".to_owned(),
            Self::NotReadable(_) => "name a regular file or a folder of regular files".to_owned(),
            Self::InTheWay(_) => "move it elsewhere: below `outputs/<pipeline>/` stand links of the engine".to_owned(),
            Self::Start { program, source } => match source.kind() {
                io::ErrorKind::NotFound => {
                    format!("install `{program}`, or write its whole path; the folder it starts in must exist, too")
                }
                io::ErrorKind::PermissionDenied => format!("make it executable: chmod +x {program}"),
                _ => "look at what the system said".to_owned(),
            },
            Self::Orphans { processes, .. } => {
                let ids: Vec<_> = processes.iter().map(u32::to_string).collect();
                format!("they may belong to another user; end them (`kill -9 {}`) and run again", ids.join(" "))
            }
            Self::Interrupted(_) => "run again; the other run's result will be used when it is done".to_owned(),
        }
    }
}

fn io_hint(source: &io::Error, path: &Path) -> String {
    match source.kind() {
        io::ErrorKind::StorageFull => format!(
            "the disk that holds {} is full: free some space and run again; finished stages are kept",
            path.display()
        ),
        io::ErrorKind::QuotaExceeded => {
            "your disk quota is used up: free some space and run again; finished stages are kept".to_owned()
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "the file system is read-only: make it writable, or work on a copy of the project elsewhere".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "make it yours (`ls -l` shows whose it is); it may have been made by another user or in a container"
                .to_owned()
        }
        io::ErrorKind::NotFound => "it may have been removed while the engine ran: run again".to_owned(),
        _ => "run again; if it stays, `engine doctor` looks at the store".to_owned(),
    }
}

impl From<FileError> for spec::job::Failure {
    fn from(error: FileError) -> Self {
        Self { message: error.to_string(), place: None, hint: Some(error.hint()) }
    }
}

/// Adds what was tried and where to an error of the system.
pub(crate) fn at(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> FileError {
    let path = path.into();
    move |source| FileError::Io { action, path, source }
}
