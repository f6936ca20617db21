//! `engine run`: does what changed, keeps the lock, and prints the comparison.

use std::{
    collections::{HashMap, HashSet},
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Instant,
};

use clap::Args;
use plan::{
    digest::Digest,
    graph::{Graph, NodeId},
    history::{Asked, Journal},
    lockfile::LockFile,
    run::{Machine, Options, Outcome, Stop},
    store::{Hold, Record, Store},
};
use spec::{
    diagnostic::Diagnostic,
    job::{Device, Failure, Origin},
};

use crate::{
    Exit,
    following::Following,
    lock,
    progress::{Progress, duration},
    project::{PipelineArgs, Project},
    render, revision,
    session::{Session, members, programs, store_of},
};

/// Run what changed.
#[derive(Debug, Args)]
pub struct Run {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Only this stage (or member) and what it reads.
    #[arg(long, value_name = "STAGE")]
    until: Option<String>,
    /// This stage (or member) alone: what it reads must be there.
    #[arg(long, value_name = "STAGE", conflicts_with = "until")]
    only: Option<String>,
    /// Do this stage (or member) again, though it is there.
    #[arg(long, value_name = "STAGE")]
    force: Vec<String>,
    /// Download this stage (or member) again and pin what the address holds now.
    #[arg(long, value_name = "STAGE")]
    update: Vec<String>,
    /// Go on with members that do not depend on a failed one.
    #[arg(long)]
    keep_going: bool,
    /// Processor cores to use; all of them by default.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Where tensors are computed: auto, cpu, cuda or cuda:N.
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    device: Device,
    /// Print one JSON object a line on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
}

/// A device as the command line names it.
pub fn device(text: &str) -> Result<Device, String> {
    match text {
        "auto" => Ok(Device::Auto),
        "cpu" => Ok(Device::Cpu),
        "cuda" => Ok(Device::Cuda(0)),
        _ => text
            .strip_prefix("cuda:")
            .and_then(|number| number.parse().ok())
            .map(Device::Cuda)
            .ok_or_else(|| "write auto, cpu, cuda or cuda:N".into()),
    }
}

/// Runs the pipeline.
pub fn run(run: &Run) -> Exit {
    let (project, ahead) = match Project::open_beside(&run.pipeline, Ahead::look) {
        Ok(opened) => opened,
        Err(faults) => {
            render::diagnostics(&faults);
            return Exit::Mistake;
        }
    };
    let exit = run_project(run, &project, ahead).unwrap_or_else(|failure| {
        render::failure(None, &failure);
        Exit::Failed
    });
    // The program ends: giving back each of many thousand pieces of memory takes time for nothing.
    std::mem::forget(project);
    exit
}

/// What the store holds of the last run, looked up while the pipeline is read.
struct Ahead {
    store: Store,
    /// Nothing as long as there is no store: whoever cannot even read a pipeline leaves nothing behind.
    hold: Option<Hold>,
    found: HashMap<Digest, Record>,
}

impl Ahead {
    fn look(root: &Path, lock: &LockFile) -> Self {
        let store = store_of(root);
        if !store.root().is_dir() {
            return Self { store, hold: None, found: HashMap::new() };
        }
        let hold = hold(&store);
        let keys: Vec<Digest> = lock.results.values().map(|result| result.key).collect();
        let found = store.look_ahead(&keys);
        Self { store, hold: Some(hold), found }
    }
}

fn hold(store: &Store) -> Hold {
    store.hold(|| eprintln!("another engine takes results out of the store; waiting"))
}

fn run_project(run: &Run, project: &Project, ahead: Ahead) -> Result<Exit, Failure> {
    let begun = Instant::now();
    let graph = &project.graph;
    let named = |name: Option<&String>| name.map(|name| members(graph, name)).transpose();
    let chosen = named(run.until.as_ref())
        .and_then(|until| Ok((until, named(run.only.as_ref())?)))
        .and_then(|(until, only)| Ok((until, only, all_members(graph, &run.force)?)));
    let (until, only, forced) = match chosen {
        Ok(chosen) => chosen,
        Err(fault) => {
            render::diagnostics(&[fault]);
            return Ok(Exit::Mistake);
        }
    };
    let wanted = until.or_else(|| only.clone()).unwrap_or_else(|| graph.ids().collect());
    let mut session = Session::with_store(project, ahead.store)?;
    if let Err(fault) = lock::unpin(&mut session, graph, &run.update) {
        render::diagnostics(&[fault]);
        return Ok(Exit::Mistake);
    }
    let _hold = ahead.hold.unwrap_or_else(|| hold(&session.store));
    if let Some(error) = &session.damaged_lock {
        eprintln!("{error}; it is written anew");
    }
    let options = Options {
        wanted,
        only: only.into_iter().flatten().collect(),
        forced,
        found: Mutex::new(ahead.found),
        keep_going: run.keep_going,
        machine: Machine::here(run.jobs, run.device),
        device: run.device,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        origin: {
            let (root, command) = (project.root.clone(), asked(run, project).command());
            Box::new(move || {
                let revision = revision::current(&root);
                Origin {
                    command: command.clone(),
                    engine: env!("CARGO_PKG_VERSION").to_owned(),
                    commit: revision.as_ref().map(|revision| revision.commit.clone()),
                    changed: revision.and_then(|revision| revision.dirty),
                }
            })
        },
    };
    let stop = Arc::new(Stop::default());
    listen(&stop);
    let progress = Progress::new(graph, run.json);
    let following = match Following::begin(project, &session.store, &session.views, &progress.line()) {
        Ok(following) => following,
        Err(fault) => {
            render::diagnostics(&[fault]);
            return Ok(Exit::Mistake);
        }
    };
    let root = project.root.clone();
    let ask_git = move || revision::current(&root);
    let journal =
        Journal::new(&session.store, graph, &project.variant, asked(run, project), build_id::BUILD_ID, ask_git);
    let outcome = plan::run::run(
        &session.state(project),
        &programs()?,
        &options,
        &session.views,
        &|name| session.last_key(name),
        &stop,
        &|happened| {
            journal.note(&happened);
            following.note(&happened);
            progress.show(&happened);
        },
    )?;
    if let Err(error) = journal.end(&outcome)
        && outcome.done + outcome.failed.len() > 0
    {
        eprintln!("this run is not in the history: {error} ({})", error.hint());
    }
    let current = graph.nodes.iter().map(|node| (node.stage.as_str(), node.labels()));
    if let Err(error) = session.views.keep_only(current) {
        eprintln!("{error}: {}", error.hint());
    }
    if let Some(lock) = &project.lock {
        lock::write(&lock.path, project, &session, &outcome)?;
    }
    if run.json {
        let Outcome { done, cached, untried, interrupted, .. } = outcome;
        let (failed, seconds) = (outcome.failed.len(), begun.elapsed().as_secs_f64());
        let ended = serde_json::json!({
            "event": "ended", "done": done, "cached": cached, "failed": failed, "untried": untried,
            "seconds": seconds, "interrupted": interrupted,
        });
        // A reader that went away does not undo the run.
        let _ = writeln!(std::io::stdout(), "{ended}");
    } else {
        summary(project, &session, &outcome, begun);
    }
    following.finish(&|| stop.asked() == 0, &*progress.line());
    let exit = if outcome.interrupted {
        Exit::Interrupted
    } else if outcome.failed.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    };
    std::mem::forget(outcome);
    Ok(exit)
}

/// The members that any of these names means.
fn all_members(graph: &Graph, names: &[String]) -> Result<HashSet<NodeId>, Diagnostic> {
    let mut all = HashSet::new();
    for name in names {
        all.extend(members(graph, name)?);
    }
    Ok(all)
}

/// What was asked, for the history.
fn asked(run: &Run, project: &Project) -> Asked {
    let file = std::fs::canonicalize(&run.pipeline.file).unwrap_or_else(|_| run.pipeline.file.clone());
    let file = file.strip_prefix(&project.root).unwrap_or(&file).display().to_string();
    let mut options: Vec<String> = Vec::new();
    options.extend(run.pipeline.variant.iter().map(|name| format!("--variant {name}")));
    options.extend(run.until.iter().map(|name| format!("--until {name}")));
    options.extend(run.only.iter().map(|name| format!("--only {name}")));
    options.extend(run.update.iter().map(|name| format!("--update {name}")));
    options.extend(run.force.iter().map(|name| format!("--force {name}")));
    Asked { file, profile: run.pipeline.profile.clone(), set: run.pipeline.set.clone(), options }
}

/// Ctrl-C and SIGTERM ask the run to stop; a second one ends it at once.
fn listen(stop: &Arc<Stop>) {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let stop = stop.clone();
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]) else { return };
    std::thread::spawn(move || {
        let mut asked = 0;
        for _ in signals.forever() {
            asked += 1;
            if asked == 1 {
                eprintln!("stopping: running stages end cleanly first (again to end them at once)");
            }
            stop.ask();
        }
    });
}

fn summary(project: &Project, session: &Session, outcome: &Outcome, begun: Instant) {
    let mut parts = vec![format!("{} done", outcome.done), format!("{} up to date", outcome.cached)];
    if !outcome.failed.is_empty() {
        parts.push(format!("{} failed", outcome.failed.len()));
    }
    if outcome.untried > 0 {
        parts.push(format!("{} not tried", outcome.untried));
    }
    let reports: Vec<PathBuf> = project
        .graph
        .nodes
        .iter()
        .zip(outcome.records.iter())
        .filter(|(node, record)| matches!(*node.settings, spec::stage::Stage::Report(_)) && record.is_some())
        .map(|(node, _)| session.views.place(&node.stage, &node.labels()))
        .collect();
    for report in &reports {
        if let Ok(text) = std::fs::read_to_string(report.join("report.md")) {
            outln!("{}", data::report::comparison(&text, render::width_of(std::io::stdout())));
        }
    }
    outln!("{}: {} in {}", project.variant, parts.join(", "), duration(begun.elapsed().as_secs_f64()));
    for report in &reports {
        let path = report.join("report.html");
        outln!("report: {}", shortest(&path).display());
    }
}

/// A path as seen from the current folder, where it is below it.
fn shortest(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).map_or_else(|_| path.to_path_buf(), Path::to_path_buf)
}
