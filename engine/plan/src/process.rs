//! Running one program in a process group of its own: its streams, how it ended, and that nothing of it is left when
//! it is over. Knows no stage and no store.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{Access, access};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, test_kill_process_group, waitid};
use spec::job::Event;
use wait4::Wait4;

use crate::file_error::{FileError, at};

/// A program to be run.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its path, or its name where `PATH` finds it.
    pub program: PathBuf,
    /// Its arguments, in order.
    pub args: Vec<OsString>,
    /// What it sees of the environment.
    pub environment: Environment,
    /// The folder it starts in.
    pub folder: PathBuf,
    /// The file that takes its log; it is appended to.
    pub log: PathBuf,
    /// What its standard output is.
    pub output: Output,
}

/// What a program sees of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Environment {
    /// All that the engine sees, and these variables.
    Also(BTreeMap<String, String>),
    /// These variables alone.
    Only(BTreeMap<String, String>),
}

/// What a program's standard output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Text for the log.
    Log,
    /// One [`Event`] a line; other lines go to the log.
    Events,
}

/// A program that runs. Dropped, it is killed with its group.
pub struct Running {
    /// Taken when it is reaped.
    child: Option<Child>,
    group: Group,
    log: PathBuf,
    begun: Instant,
}

/// The process group of a running program, to be ended from another thread.
#[derive(Debug, Clone)]
pub struct Group {
    leader: Pid,
    /// Set before the leader is reaped: from then on its number may be another's.
    over: Arc<Mutex<bool>>,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// The most memory that it held, or the largest of the programs it waited for, in bytes.
    pub peak_memory: u64,
    /// Processor time of it and of the programs it waited for, in seconds.
    pub cpu_seconds: f64,
    /// Wall time in seconds.
    pub seconds: f64,
    /// The last event but progress and warnings: `Finished` or `Failed`.
    pub verdict: Option<Event>,
}

impl Ended {
    /// How it ended, for people: `exit status 3`, `killed by signal 9 (out of memory?)`.
    pub fn describe(&self) -> String {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(9)) => "killed by signal 9 (often: out of memory)".to_owned(),
            (None, Some(11)) => "crashed with signal 11 (segmentation fault)".to_owned(),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => "ended in an unknown way".to_owned(),
        }
    }
}

/// How long threads of a parallel loop wait busily for each other, in turns, with GNU OpenMP. Its default lets two
/// programs that share cores slow each other down seven times; so few turns cost nothing when a program is alone.
const SPINNING: &str = "GOMP_SPINCOUNT";

impl Program {
    /// Starts the program. `stdin` is an attempt's lock, or nothing.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn start(&self, stdin: Stdio) -> Result<Running, FileError> {
        let log = File::options().create(true).append(true).open(&self.log).map_err(at("write", &self.log))?;
        let mut command = Command::new(self.found().as_deref().unwrap_or(&self.program));
        command.arg0(&self.program);
        command.args(&self.args).current_dir(&self.folder).stdin(stdin).process_group(0);
        match &self.environment {
            Environment::Only(variables) => {
                command.env_clear().envs(variables);
            }
            Environment::Also(variables) => {
                if std::env::var_os(SPINNING).is_none() && std::env::var_os("OMP_WAIT_POLICY").is_none() {
                    command.env(SPINNING, "5000");
                }
                command.envs(variables);
            }
        }
        command.stdout(match self.output {
            Output::Log => Stdio::from(log.try_clone().map_err(at("open", &self.log))?),
            Output::Events => Stdio::piped(),
        });
        command.stderr(log);
        let begun = Instant::now();
        let failed = |source| FileError::Start { program: self.program.display().to_string(), source };
        let child = command.spawn().map_err(failed)?;
        let Some(leader) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
            return Err(failed(io::ErrorKind::InvalidData.into()));
        };
        let group = Group { leader, over: Arc::new(Mutex::new(false)) };
        Ok(Running { child: Some(child), group, log: self.log.clone(), begun })
    }

    /// The file that a mere name stands for in the program's own `PATH`. Where the standard library would have to look it
    /// up there, it copies the whole engine first (`fork`), which takes milliseconds for a large pipeline; a file is
    /// started at once (`posix_spawn`).
    fn found(&self) -> Option<PathBuf> {
        let Environment::Only(variables) = &self.environment else { return None };
        if self.program.components().count() > 1 {
            return None;
        }
        let fits = |path: &PathBuf| path.is_file() && access(path, Access::EXEC_OK).is_ok();
        std::env::split_paths(variables.get("PATH")?)
            .map(|folder| self.folder.join(folder).join(&self.program))
            .find(fits)
    }
}

impl Running {
    /// The number of the program, which is that of its group, too.
    pub fn id(&self) -> u32 {
        self.group.leader.as_raw_nonzero().get().unsigned_abs()
    }

    /// Its group, to end it from another thread.
    pub fn group(&self) -> Group {
        self.group.clone()
    }

    /// Waits until the program is over, hands on its events, and ends whatever it left running in its group.
    ///
    /// # Errors
    /// When the log cannot be written or the system does not let it wait.
    pub fn wait(mut self, mut on_event: impl FnMut(Event) + Send) -> Result<Ended, FileError> {
        let verdict = match self.child.as_mut().and_then(|child| child.stdout.take()) {
            None => {
                self.until_over()?;
                None
            }
            // The pipe's end is not the program's: a program left in the background holds it. So another thread reads.
            Some(output) => {
                let log = self.log.clone();
                thread::scope(|scope| {
                    let reader = scope.spawn(|| {
                        let mut file = File::options().append(true).open(&log)?;
                        read_events(output, &mut file, &mut on_event)
                    });
                    let over = self.until_over();
                    self.group.kill();
                    let read = reader.join().unwrap_or_else(|_| Err(io::Error::other("the reader stopped")));
                    over.and(read.map_err(at("keep what the program says in", &log)))
                })?
            }
        };
        self.group.kill();
        let used = self.reap().map_err(at("wait for the program that writes", &self.log))?;
        let seconds = self.begun.elapsed().as_secs_f64();
        self.group.until_empty();
        Ok(Ended {
            status: used.status,
            peak_memory: used.rusage.maxrss,
            cpu_seconds: used.rusage.utime.as_secs_f64() + used.rusage.stime.as_secs_f64(),
            seconds,
            verdict,
        })
    }

    /// Waits until the program is over, without reaping it: its number and its group's stay its own.
    fn until_over(&self) -> Result<(), FileError> {
        loop {
            match waitid(WaitId::Pid(self.group.leader), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(at("wait for the program that writes", &self.log)(error.into())),
            }
        }
    }

    fn reap(&mut self) -> io::Result<wait4::ResUse> {
        let mut over = self.group.over.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(child) = self.child.take() else { return Err(io::Error::other("it was waited for already")) };
        let used = child.wait4()?;
        *over = true;
        Ok(used)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.group.kill();
        if self.reap().is_ok() {
            self.group.until_empty();
        }
    }
}

impl Group {
    /// Asks every process of the group to stop; a train stage writes a checkpoint first.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends every process of the group at once.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        if !*over && let Err(error) = kill_process_group(self.leader, signal) {
            tracing::debug!("process group {}: {error}", self.leader);
        }
    }

    /// Waits until the last process of the group, killed before, is gone. While one is, the number is nobody else's.
    fn until_empty(&self) {
        let begun = Instant::now();
        while test_kill_process_group(self.leader).is_ok() && begun.elapsed() < Duration::from_secs(5) {
            if begun.elapsed() > Duration::from_millis(20) && !has_living_member(self.leader) {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Whether a process of the group still runs: one that is dead but not yet reaped writes no more.
fn has_living_member(group: Pid) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    let group = group.as_raw_nonzero().get().to_string();
    processes.filter_map(Result::ok).any(|item| {
        let text = fs::read_to_string(item.path().join("stat")).unwrap_or_default();
        let fields: Vec<&str> =
            text.rsplit_once(')').map(|(_, rest)| rest.split_ascii_whitespace().take(3).collect()).unwrap_or_default();
        matches!(fields.as_slice(), [state, _, its] if *its == group && *state != "Z" && *state != "X")
    })
}

/// Longest line that is taken for an event.
const LONGEST_EVENT: u64 = 1 << 20;

/// Hands on the events of a program's output, line by line, until it ends; every other line goes to the log. Returns the
/// last event but progress and warnings.
///
/// # Errors
/// When the output cannot be read or the log cannot be written.
pub fn read_events(
    output: impl Read,
    log: &mut impl Write,
    on_event: &mut impl FnMut(Event),
) -> io::Result<Option<Event>> {
    let mut output = BufReader::new(output);
    let mut verdict = None;
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut output).take(LONGEST_EVENT).read_until(b'\n', &mut line) {
            Ok(0) => return Ok(verdict),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        match serde_json::from_slice::<Event>(&line) {
            Ok(event) => {
                if matches!(event, Event::Finished | Event::Failed(_)) {
                    verdict = Some(event.clone());
                }
                on_event(event);
            }
            Err(_) => log.write_all(&line)?,
        }
    }
}

/// The last lines of a log.
///
/// # Errors
/// When the log is there and cannot be read.
pub fn tail(log: &Path, lines: usize) -> Result<Vec<String>, FileError> {
    const MOST: u64 = 64 << 10;
    let mut file = match File::open(log) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(at("read", log)(error)),
    };
    let mut bytes = Vec::new();
    file.metadata()
        .and_then(|found| file.seek(SeekFrom::Start(found.len().saturating_sub(MOST))))
        .and_then(|_| file.read_to_end(&mut bytes))
        .map_err(at("read", log))?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    Ok(all.iter().skip(all.len().saturating_sub(lines)).map(|line| (*line).to_owned()).collect())
}
