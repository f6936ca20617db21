//! Doing one member: the right to do it, its process, and the commit of what it left. Knows one member, no order.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use spec::{
    execution::TimeSpan,
    job::{Device, Event, Failure, Job},
    stage::{Command, Program as Does, Source, Stage},
};

use super::{Failed, Happened, Running, Shared, slots::Share};
use crate::{
    digest::Digest,
    file_error::{FileError, at},
    graph::NodeId,
    pins,
    process::{Environment, Output, Program},
    state::{Keyed, failure_of},
    store::{Attempt, Begun, Durability, Made, Owner, Record, numeric_class},
};

impl From<FileError> for Failed {
    fn from(error: FileError) -> Self {
        failure_of(&error).into()
    }
}

/// Does one member, or waits for the run that is doing it. One that fails is tried again as often as its file says.
pub fn make(shared: &Shared<'_>, id: NodeId, keyed: &Keyed, share: &Share) -> Result<Arc<Record>, Failed> {
    verify_inputs(shared, id)?;
    let mut left = shared.state.graph.node(id).execution.retry;
    loop {
        match make_once(shared, id, keyed, share) {
            Err(failed) if left > 0 && shared.stop.asked() == 0 => {
                left -= 1;
                (shared.observe)(Happened::Retried(id, &failed.failure, left));
            }
            made => return made,
        }
    }
}

fn make_once(shared: &Shared<'_>, id: NodeId, keyed: &Keyed, share: &Share) -> Result<Arc<Record>, Failed> {
    let node = shared.state.graph.node(id);
    let mut said = false;
    let waiting = |_: Option<&Owner>| {
        if !std::mem::replace(&mut said, true) {
            (shared.observe)(Happened::Waiting(id));
        }
        if shared.stop.asked() > 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let (store, name) = (&shared.state.store, node.name());
    let begun = if shared.options.forced.contains(&id) {
        store.begin_again(&keyed.digest, &name, waiting)?
    } else {
        store.begin(&keyed.digest, &name, waiting)?
    };
    let record = match begun {
        Begun::Done(record) => *record,
        Begun::Busy(_) => {
            return Err(stopped().into());
        }
        Begun::Attempt(mut attempt) => match attempt_once(shared, id, keyed, share, &mut attempt) {
            Ok(made) => {
                let durability = match node.settings.program() {
                    Does::Worker => Durability::AtOnce,
                    Does::Engine | Does::Named => Durability::Grouped,
                };
                pins::commit(node, keyed, attempt, made, durability)?
            }
            Err(failure) => {
                let log = attempt.abandon();
                return Err(Failed { failure, log: Some(log).filter(|log| log.exists()) });
            }
        },
    };
    shared.show(id, &record);
    Ok(Arc::new(record))
}

/// The variable that shows a program its share of the CUDA devices; nothing where it has none.
fn visible(share: &Share) -> BTreeMap<String, String> {
    let devices = Some(share.gpus.join(",")).filter(|devices| !devices.is_empty());
    devices.map(|devices| ("CUDA_VISIBLE_DEVICES".to_owned(), devices)).into_iter().collect()
}

fn overdue(timeout: Duration) -> Failure {
    Failure {
        message: format!("it was ended when its `timeout` of {} was over", TimeSpan(timeout)),
        place: None,
        hint: Some("raise `timeout`; a train stage goes on from its last checkpoint when it is run again".into()),
    }
}

fn stopped() -> Failure {
    Failure { message: "stopped".into(), place: None, hint: None }
}

/// Hashes what the member is about to read, each result once a run.
fn verify_inputs(shared: &Shared<'_>, id: NodeId) -> Result<(), Failed> {
    for record in shared.state.read_by(id, shared.records) {
        let known = |verified: &std::collections::HashSet<_>| verified.contains(&record.key);
        if known(&shared.verified.lock().unwrap_or_else(PoisonError::into_inner)) {
            continue;
        }
        let damaged = shared.state.store.verify(&record);
        if let Some(first) = damaged.first()
            && !shared.state.store.forget_damaged(&record)?
        {
            return Err(Failure {
                message: format!("what `{}` left was damaged on the disk: {}", record.name, first.display()),
                place: None,
                hint: Some("run again: it is made anew".into()),
            }
            .into());
        }
        shared.verified.lock().unwrap_or_else(PoisonError::into_inner).insert(record.key);
    }
    Ok(())
}

/// Runs the member's process and says what is to be recorded.
fn attempt_once(
    shared: &Shared<'_>,
    id: NodeId,
    keyed: &Keyed,
    share: &Share,
    attempt: &mut Attempt,
) -> Result<Made, Failure> {
    let node = shared.state.graph.node(id);
    let device = match shared.options.device {
        // The program sees its share alone, and counts from zero.
        Device::Cuda(_) if !share.gpus.is_empty() => Device::Cuda(0),
        device => device,
    };
    let mut job = shared.state.job(id, keyed, shared.records, attempt, share.cores, device)?;
    if node.settings.shows_settings() {
        job.origin = Some((shared.options.origin)());
    }
    (shared.observe)(Happened::Attempted(id, keyed.digest, &attempt.state()));
    let log = attempt.observed().join("log.txt");
    let program = match node.settings.as_ref() {
        Stage::Command(command) => {
            named_program(shared, command, id, &job, share, attempt, log).map_err(|e| failure_of(&e))?
        }
        other => {
            let path = attempt.folder().join("job.json");
            write_job(&job, &path).map_err(|error| failure_of(&error))?;
            let (program, args): (PathBuf, Vec<OsString>) = match other.program() {
                Does::Worker => (shared.programs.worker()?, vec![path.into()]),
                Does::Engine | Does::Named => (shared.programs.engine.clone(), vec!["job".into(), path.into()]),
            };
            let (environment, folder) = (Environment::Also(visible(share)), shared.state.root.to_path_buf());
            Program { program, args, environment, folder, log, output: Output::Events }
        }
    };
    let stdin = attempt.stdin().map_err(|error| failure_of(&error))?;
    let running = program.start(stdin).map_err(|error| failure_of(&error))?;
    attempt.note_program(running.id()).map_err(|error| failure_of(&error))?;
    let timeout = node.execution.timeout.map(|timeout| timeout.0);
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let program = Running { group: running.group(), deadline };
    shared.running.lock().unwrap_or_else(PoisonError::into_inner).insert(id, program);
    shared.end_what_must_end();
    let ended = running.wait(|event| (shared.observe)(Happened::Said(id, &event)));
    shared.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    let ended = ended.map_err(|error| failure_of(&error))?;
    let finished = match node.settings.program() {
        Does::Named => ended.status.success(),
        Does::Engine | Does::Worker => ended.status.success() && ended.verdict == Some(Event::Finished),
    };
    if !finished {
        let is_overdue = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        return Err(match ended.verdict {
            _ if shared.stop.asked() > 0 => stopped(),
            _ if is_overdue => overdue(timeout.unwrap_or_default()),
            Some(Event::Failed(failure)) => within_stages(shared, failure, &job),
            _ => Failure {
                message: format!("the program ended early: {}", ended.describe()),
                place: None,
                hint: Some("its log tells more".into()),
            },
        });
    }
    for (path, before) in keyed.files.iter().flat_map(|local| &local.contents) {
        if !shared.state.remembered.still_same(path, before).map_err(|error| failure_of(&error))? {
            return Err(failure_of(&FileError::Changed(path.clone())));
        }
    }
    if let Stage::Command(command) = node.settings.as_ref() {
        collect(command, attempt)?;
    }
    let parts = keyed.key.as_json()?;
    Ok(Made {
        kind: node.settings.kind().to_owned(),
        parts,
        inputs: read_keys(shared, id),
        seconds: ended.seconds,
        engine: shared.options.version.clone(),
        machine: numeric_class(&attempt.observed()),
        run: serde_json::json!({
            "seconds": ended.seconds,
            "cpu_seconds": ended.cpu_seconds,
            "peak_memory_bytes": ended.peak_memory,
            "threads": share.cores,
            "cuda_devices": share.gpus,
        }),
    })
}

/// A failure whose places are those that a person knows: files in the store by the stage that left them, or, where they
/// were brought from a local path, by that path.
fn within_stages(shared: &Shared<'_>, failure: Failure, job: &Job) -> Failure {
    let read = job.inputs.values().flatten().flat_map(|input| [Some(input), input.carried.as_deref()]).flatten();
    let mut names: Vec<(String, String)> = Vec::new();
    for input in read {
        let members = shared.state.graph.members(&input.stage).unwrap_or_default().iter();
        let node = members.map(|id| shared.state.graph.node(*id)).find(|node| node.labels() == input.coordinates);
        let local = node.and_then(|node| match node.settings.as_ref() {
            Stage::Download(download) => match &download.from.0 {
                Source::Path(path) if shared.state.root.join(path).is_dir() => Some(path.to_string()),
                _ => None,
            },
            _ => None,
        });
        names.push((input.result.display().to_string(), local.unwrap_or_else(|| input.name())));
    }
    let shown = |text: String| names.iter().fold(text, |text, (path, name)| text.replace(path.as_str(), name));
    Failure { message: shown(failure.message), place: failure.place.map(shown), hint: failure.hint.map(shown) }
}

/// The keys of all that a member reads, each once.
fn read_keys(shared: &Shared<'_>, id: NodeId) -> Vec<Digest> {
    let keys: BTreeSet<Digest> = shared.state.read_by(id, shared.records).iter().map(|record| record.key).collect();
    keys.into_iter().collect()
}

fn write_job(job: &Job, path: &Path) -> Result<(), FileError> {
    let text = serde_json::to_vec_pretty(job).map_err(|error| at("write", path)(error.into()))?;
    fs::write(path, text).map_err(at("write", path))
}

/// A command with its paths filled in. It starts in a folder of its own, sees what it declares, and `PATH`.
fn named_program(
    shared: &Shared<'_>,
    command: &Command,
    id: NodeId,
    job: &Job,
    share: &Share,
    attempt: &Attempt,
    log: PathBuf,
) -> Result<Program, FileError> {
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let (folder, home) = (absolute(attempt.start()), absolute(attempt.home()));
    let mut paths: BTreeMap<String, PathBuf> = BTreeMap::new();
    for (name, path) in &command.outputs {
        let output = folder.join(path);
        if let Some(parent) = output.parent().filter(|parent| *parent != folder) {
            fs::create_dir_all(parent).map_err(at("make", parent))?;
        }
        paths.insert(format!("out.{name}"), output);
    }
    let node = shared.state.graph.node(id);
    for name in command.inputs.keys() {
        let role = format!("in.{name}");
        let path = match node.inputs.iter().find(|input| input.role == role) {
            Some(input) => {
                let producer = input.members.first().map(|member| shared.state.graph.node(*member));
                job.input(&role).map(|left| match (&input.part, producer) {
                    (Some(part), Some(producer)) => left.result.join(producer.settings.part_path(part)),
                    _ => left.result.clone(),
                })
            }
            None => job.local_file(&format!("{role}.path")).map(Path::to_path_buf),
        };
        paths.extend(path.map(|path| (role, path)));
    }
    let fill = |word: &str| {
        spec::stage::placeholders(word).into_iter().fold(word.to_owned(), |filled, (side, name)| {
            let path = paths.get(&format!("{side}.{name}")).map(|path| path.display().to_string()).unwrap_or_default();
            filled.replace(&format!("${{{side}.{name}}}"), &path)
        })
    };
    let mut words = command.run.iter().map(|word| fill(word));
    let program = PathBuf::from(words.next().unwrap_or_default());
    let mut variables: BTreeMap<String, String> =
        command.env.iter().map(|(name, value)| (name.clone(), fill(value))).chain(visible(share)).collect();
    if let Ok(path) = std::env::var("PATH") {
        variables.entry("PATH".into()).or_insert(path);
    }
    variables.entry("HOME".into()).or_insert_with(|| home.display().to_string());
    Ok(Program {
        program,
        args: words.map(OsString::from).collect(),
        environment: Environment::Only(variables),
        folder,
        log,
        output: Output::Log,
    })
}

/// Moves what a command declared into the result; what else it wrote is dropped.
fn collect(command: &Command, attempt: &Attempt) -> Result<(), Failure> {
    let folder = attempt.start();
    for (name, path) in &command.outputs {
        let (from, to) = (folder.join(path), attempt.result().join(path));
        if fs::symlink_metadata(&from).is_err() {
            return Err(Failure {
                message: format!("the program ended well, but did not write `{path}`, its output `{name}`"),
                place: None,
                hint: Some(format!("let it write to `${{out.{name}}}`")),
            });
        }
        let parent = to.parent().filter(|parent| *parent != attempt.result()).map_or(Ok(()), fs::create_dir_all);
        parent.and_then(|()| fs::rename(&from, &to)).map_err(at("move to", to)).map_err(|error| failure_of(&error))?;
    }
    Ok(())
}
