//! What git knows of a project: its revision, and the files of another one. Knows the `git` program; knows no pipeline.
//!
//! No hook and no helper of the repository is started, and nothing in the repository is changed.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    path::{Component, Path},
    process::{Command, Stdio},
};

use plan::history::Revision;
use spec::job::Failure;
use tempfile::TempDir;

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

fn failed(message: impl Into<String>, hint: &str) -> Failure {
    Failure { message: message.into(), place: None, hint: Some(hint.to_owned()) }
}

/// What git says to these words.
fn ask(root: &Path, words: &[&str]) -> Result<Vec<u8>, Failure> {
    let output = git(root, words).output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => failed("`git` is not installed", "install it, or compare two files"),
        _ => failed(format!("`git` cannot be started: {error}"), "compare two files instead"),
    })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().lines().last().unwrap_or_default().trim_start_matches("fatal: ");
    if said.contains("not a git repository") {
        let message = format!("{} is in no git repository", root.display());
        return Err(failed(message, "compare two files: engine diff OLD.yaml NEW.yaml"));
    }
    if said.contains("dubious ownership") {
        return Err(failed(format!("git refuses: {said}"), "see `git help config`, safe.directory"));
    }
    Err(failed(format!("git: {said}"), "try the same in a terminal: git log --oneline"))
}

/// The commit that a revision means.
///
/// # Errors
/// No git, no repository, or no such revision.
pub fn commit(root: &Path, revision: &str) -> Result<String, Failure> {
    let unknown = || {
        let hint = "name a commit, branch or tag (`git log --oneline`), or a file that exists";
        failed(format!("`{revision}` is neither a revision nor a file"), hint)
    };
    // Of the same form as an option: no revision is.
    if revision.is_empty() || revision.starts_with('-') {
        return Err(unknown());
    }
    ask(root, &["rev-parse", "--git-dir"])?;
    let wanted = format!("{revision}^{{commit}}");
    let said = ask(root, &["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted]).map_err(|_| unknown())?;
    let said = String::from_utf8_lossy(&said);
    let id = said.lines().last().unwrap_or_default().trim();
    if id.len() >= 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) { Ok(id.to_owned()) } else { Err(unknown()) }
}

/// The largest file that is taken out of a revision.
const LARGEST: u64 = 4 << 20;

/// A folder with the pipelines, locks and templates of a commit, as they lie below the project's root.
///
/// # Errors
/// When git cannot read the commit, or the folder cannot be written.
pub fn files(root: &Path, commit: &str) -> Result<TempDir, Failure> {
    let said = ask(root, &["ls-tree", "-r", "-l", "-z", commit])?;
    let listed = String::from_utf8_lossy(&said);
    // `MODE blob ID SIZE<tab>PATH`; links and other repositories are not followed.
    let wanted: Vec<(&str, &str)> = listed
        .split('\0')
        .filter_map(|line| {
            let (about, path) = line.split_once('\t')?;
            let [mode, _, id, size] = about.split_whitespace().collect::<Vec<_>>()[..] else { return None };
            let is_wanted = path.ends_with(".yaml") || path.ends_with(".yml") || path.starts_with("templates/");
            let is_file = mode.starts_with("100") && size.parse::<u64>().is_ok_and(|size| size <= LARGEST);
            let is_below = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
            (is_wanted && is_file && is_below).then_some((id, path))
        })
        .collect();
    let folder = TempDir::with_prefix("engine-revision").map_err(|error| unwritten(&error))?;
    let ids: String = wanted.iter().map(|(id, _)| format!("{id}\n")).collect();
    let contents = contents(root, ids)?;
    for ((_, path), bytes) in wanted.iter().zip(contents) {
        let path = folder.path().join(path);
        let parent = path.parent().unwrap_or(folder.path());
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(&path, bytes))
            .map_err(|error| unwritten(&error))?;
    }
    Ok(folder)
}

fn unwritten(error: &io::Error) -> Failure {
    failed(format!("the files of a revision cannot be written to a temporary folder: {error}"), "set TMPDIR")
}

/// The contents of these blobs, one id a line, in their order.
fn contents(root: &Path, ids: String) -> Result<Vec<Vec<u8>>, Failure> {
    let broken = || failed("git cannot read the files of the revision", "look at the repository: git fsck");
    let mut command = git(root, &["cat-file", "--batch"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|_| broken())?;
    let mut input = child.stdin.take().ok_or_else(broken)?;
    let count = ids.lines().count();
    // Both pipes are small: one thread asks while this one reads.
    let asking = std::thread::spawn(move || input.write_all(ids.as_bytes()));
    let mut output = BufReader::new(child.stdout.take().ok_or_else(broken)?);
    let mut contents = Vec::with_capacity(count);
    for _ in 0..count {
        let mut head = String::new();
        output.read_line(&mut head).map_err(|_| broken())?;
        // `ID blob SIZE`, the contents, a line break.
        let size = head.split_whitespace().nth(2).and_then(|size| size.parse::<usize>().ok()).ok_or_else(broken)?;
        let mut bytes = vec![0; size + 1];
        output.read_exact(&mut bytes).map_err(|_| broken())?;
        bytes.pop();
        contents.push(bytes);
    }
    drop(output);
    let _ = asking.join();
    let _ = child.wait();
    Ok(contents)
}
