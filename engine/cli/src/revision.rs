//! What git knows of a project: its revision, and the files of another one. Knows the `git` program; knows no pipeline.
//!
//! No hook and no helper of the repository is started, and nothing in the repository is changed.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use plan::history::Revision;

/// `git` in a folder, told to start no program that the repository names.
fn git(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(["--no-optional-locks", "--no-pager", "--literal-pathspecs"]);
    command.args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"]).args(words);
    command.env("LC_ALL", "C").env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

/// The project's commit, and whether files that can decide a result differ from it: outputs and locks are what runs
/// write. Nothing where there is no git, no repository or no commit.
pub fn current(root: &Path) -> Option<Revision> {
    let said = |words: &[&str]| {
        let output = git(root, words).output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok()
    };
    let commit = said(&["rev-parse", "--verify", "--quiet", "HEAD"])?.trim().to_owned();
    let changed = said(&["status", "--porcelain", "-z", "--untracked-files=normal", "--no-renames", "--", "."]);
    let decides = |path: &str| !path.ends_with(".lock.yaml") && path != "outputs/" && !path.starts_with("outputs/");
    // `XY PATH`, relative to the repository's root.
    let prefix = said(&["rev-parse", "--show-prefix"]).unwrap_or_default();
    let dirty = changed.map(|changed| {
        let paths = changed.split('\0').filter_map(|entry| entry.get(3..)).filter(|path| !path.is_empty());
        paths.map(|path| path.strip_prefix(prefix.trim_end()).unwrap_or(path)).any(decides)
    });
    Some(Revision { commit, dirty })
}
