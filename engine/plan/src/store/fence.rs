//! Fencing: who owns an attempt, whether that engine still lives, and ending what a dead one left running. Knows
//! processes, not what they do.
//!
//! Four things tell an orphan: it is of the process group that the dead engine noted; its standard input is the
//! attempt's lock; it has a file of the attempt's private folder open for writing; or its home is there, as that of every
//! command is, so that one which left its group and closed all its files is found, too.

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, path::Path, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::file_error::FileError;

/// Whose attempt it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// The boot and process namespace that the process numbers belong to.
    pub host: String,
    /// The engine.
    pub engine: Process,
    /// The leader of the stage's process group, once it was started.
    pub group: Option<Process>,
    /// The stage and member, for people.
    pub name: String,
}

/// A process, told from a later one of the same number by the time it was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Its number.
    pub id: u32,
    /// When it was started, in the kernel's ticks since boot.
    pub started: u64,
    /// Its session.
    pub session: u32,
}

/// What `/proc/<id>/stat` says of a process.
struct Stat {
    state: char,
    group: u32,
    session: u32,
    started: u64,
}

fn stat(id: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name, in parentheses, may hold anything: what counts begins behind the last one.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        group: fields.get(2)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

impl Process {
    /// The process of that number, if there is one.
    pub fn of(id: u32) -> Option<Self> {
        stat(id).map(|stat| Self { id, started: stat.started, session: stat.session })
    }

    fn is_alive(&self) -> bool {
        stat(self.id).is_some_and(|stat| stat.started == self.started && !is_dead(&stat))
    }
}

fn is_dead(stat: &Stat) -> bool {
    matches!(stat.state, 'Z' | 'X')
}

/// The boot and process namespace of this machine.
fn host() -> String {
    use std::sync::OnceLock;
    static HOST: OnceLock<String> = OnceLock::new();
    HOST.get_or_init(|| {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        format!("{} {}", boot.trim(), namespace.display())
    })
    .clone()
}

impl Owner {
    /// This process as the owner of an attempt.
    pub(crate) fn me(name: &str) -> Self {
        use std::sync::OnceLock;
        static ME: OnceLock<Process> = OnceLock::new();
        let id = std::process::id();
        let me = ME.get_or_init(|| Process::of(id).unwrap_or(Process { id, started: 0, session: 0 }));
        Self { host: host(), engine: me.clone(), group: None, name: name.to_owned() }
    }

    /// The owner that is noted in a file, if it can be read.
    pub(super) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Whether it is known that the engine of this attempt runs no more. Of another machine nothing is known.
    pub fn is_dead(&self) -> bool {
        self.host == host() && !self.engine.is_alive()
    }
}

/// How long ending the orphans may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ends what an attempt's dead owner left running, and returns when it is gone, or when `is_his` says that somebody
/// else owns the attempt meanwhile. It is asked between finding processes and ending them: a new owner signs before
/// it starts a program, so what was found before that is the dead one's.
pub(super) fn fence(
    owner: Option<&Owner>,
    folder: &Path,
    lock: &Path,
    is_his: impl Fn() -> bool,
) -> Result<(), FileError> {
    let group = owner.filter(|owner| owner.host == host()).and_then(|owner| owner.group.as_ref());
    let begun = std::time::Instant::now();
    loop {
        let orphans = orphans(group, folder, lock);
        if orphans.is_empty() || !is_his() {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(FileError::Orphans { folder: folder.to_owned(), processes: orphans });
        }
        for id in &orphans {
            tracing::info!("ending process {id}, left by a run that was killed");
            let pid = i32::try_from(*id).ok().and_then(Pid::from_raw);
            if let Some(Err(error)) = pid.map(|pid| kill_process(pid, Signal::KILL)) {
                tracing::debug!("cannot end process {id}: {error}");
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn orphans(group: Option<&Process>, folder: &Path, lock: &Path) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    // While anything of a group lives, its number is given to no new process: a leader of another age means another group.
    let group = group.filter(|leader| stat(leader.id).is_none_or(|stat| stat.started == leader.started));
    processes
        .filter_map(|item| item.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|id| *id != std::process::id())
        .filter(|id| {
            let Some(stat) = stat(*id) else { return false };
            let in_group = group.is_some_and(|leader| {
                stat.group == leader.id && stat.session == leader.session && stat.started >= leader.started
            });
            !is_dead(&stat) && (in_group || holds(*id, folder, lock))
        })
        .collect()
}

/// Whether a process reads the lock as its standard input, has its home in the folder, or writes to a file of it.
fn holds(id: u32, folder: &Path, lock: &Path) -> bool {
    if fs::read_link(format!("/proc/{id}/fd/0")).is_ok_and(|target| target == lock) || lives_in(id, folder) {
        return true;
    }
    let Ok(descriptors) = fs::read_dir(format!("/proc/{id}/fd")) else { return false };
    descriptors.filter_map(Result::ok).any(|item| {
        fs::read_link(item.path()).is_ok_and(|target| target.starts_with(folder))
            && item.file_name().to_str().is_some_and(|number| is_written(id, number))
    })
}

fn lives_in(id: u32, folder: &Path) -> bool {
    let variables = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
    let home = variables.split(|byte| *byte == 0).find_map(|variable| variable.strip_prefix(b"HOME="));
    home.is_some_and(|home| fs::canonicalize(OsStr::from_bytes(home)).is_ok_and(|home| home.starts_with(folder)))
}

fn is_written(id: u32, descriptor: &str) -> bool {
    let text = fs::read_to_string(format!("/proc/{id}/fdinfo/{descriptor}")).unwrap_or_default();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u64::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & 0o3 != 0)
}
