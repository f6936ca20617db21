//! Steers `shim.c`, the library that sees and disturbs the calls by which a program changes the file system. Knows no
//! engine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
};

/// The library, compiled once.
static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/whole/faults/shim.c");
    super::made("shim.so", |new| {
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let built = Command::new(&compiler)
            .args(["-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-o"])
            .args([new, &source])
            .arg("-ldl")
            .output()
            .unwrap_or_else(|error| panic!("`{compiler}` cannot be started: {error}"));
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    })
});

/// Which program is watched.
#[derive(Debug, Clone, Copy)]
pub enum Watched {
    /// The engine that runs the pipeline.
    Engine,
    /// An engine that does a stage.
    Job,
    /// The worker.
    Worker,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy)]
pub enum Fate {
    /// The program is killed before it.
    KilledBefore,
    /// The program is killed after it.
    KilledAfter,
    /// It fails, with this `errno`.
    Fails(i32),
}

/// A call that changes the file system.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its place among the program's calls, from 1.
    pub number: usize,
    /// What it does: `open`, `write`, `rename`, …
    pub name: String,
    /// The path that it changes.
    pub path: String,
}

/// Lets a program's calls be seen. Only those below the folder count, or by a relative path.
pub fn watch(command: &mut Command, watched: Watched, below: &Path) {
    let (program, word) = match watched {
        Watched::Engine => ("/engine", Some("run")),
        Watched::Job => ("/engine", Some("job")),
        Watched::Worker => ("/engine-worker", None),
    };
    command.env("LD_PRELOAD", &*LIBRARY).env("FAULT_PROGRAM", program).env("FAULT_BELOW", below);
    command.envs(word.map(|word| ("FAULT_WORD", word)));
}

/// Disturbs one of the calls that are watched.
pub fn disturb(command: &mut Command, number: usize, fate: Fate) {
    let how = match fate {
        Fate::KilledBefore => "before".to_owned(),
        Fate::KilledAfter => "after".to_owned(),
        Fate::Fails(errno) => errno.to_string(),
    };
    command.env("FAULT_AT", number.to_string()).env("FAULT_HOW", how);
}

/// The calls of a command that is watched, which must succeed.
pub fn calls(command: &mut Command) -> Vec<Call> {
    let log = tempfile::NamedTempFile::new().unwrap();
    let output = command.env("FAULT_LOG", log.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(log.path()).unwrap();
    let call = |line: &str| {
        let mut words = line.splitn(3, ' ');
        let mut next = || words.next().unwrap().to_owned();
        Call { number: next().parse().unwrap(), name: next(), path: next() }
    };
    text.lines().map(call).collect()
}

/// Lets every hard link fail with this `errno`.
pub fn refuse_links(command: &mut Command, errno: i32) {
    command.env("LD_PRELOAD", &*LIBRARY).env("FAULT_LINKS", errno.to_string());
}

/// Lets the clock be some seconds ahead, or behind, from a certain reading on.
pub fn shift_clock(command: &mut Command, seconds: i64, from: usize) {
    command.env("LD_PRELOAD", &*LIBRARY);
    command.env("FAULT_CLOCK", seconds.to_string()).env("FAULT_CLOCK_AT", from.to_string());
}
