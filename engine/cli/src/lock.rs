//! Keeping the lock: what a run read of it and what it writes. Knows locks and outcomes; runs nothing.

use std::path::Path;

use plan::{
    graph::Graph,
    key::Part,
    lockfile::{LockFile, LockedResult, Pin},
    pins,
    run::Outcome,
    state::{Freshness, Records},
    store::Record,
};
use spec::{diagnostic::Diagnostic, job::Failure, stage::Stage};

use crate::{
    progress::figure,
    project::Project,
    session::{Session, members},
};

/// Lets go of the pins of these stages, so that what their addresses hold now is pinned.
///
/// # Errors
/// A name that means nothing, a stage without a pin, or a pin that a half-merged lock leaves open.
pub fn unpin(session: &mut Session, graph: &Graph, stages: &[String]) -> Result<(), Diagnostic> {
    for stage in stages {
        for id in members(graph, stage)? {
            let node = graph.node(id);
            if node.settings.moving_source().is_none() {
                return Err(Diagnostic::new(
                    format!("`{}` has no pin to be moved", node.name()),
                    "only what is downloaded from the Hub, or from an address without `sha256`, is pinned; `--force` does a \
                     stage again",
                ));
            }
            session.pins.remove(&node.name());
            session.conflicts.remove(&node.name());
        }
    }
    let open = graph.nodes.iter().filter(|node| node.settings.moving_source().is_some());
    match open.map(|node| node.name()).find_map(|name| Some((session.conflicts.get(&name)?, name))) {
        None => Ok(()),
        Some(([ours, theirs], name)) => Err(Diagnostic::new(
            format!("the sides of the half-merged lock pin `{name}` to different contents: {ours} and {theirs}"),
            format!("choose a side in the lock, or pin what is there now: --update {name}"),
        )),
    }
}

/// Brings the lock up to what is there now. Members that the run did not reach keep what it said; where it could not be
/// read, they get what the store holds. Figures that differ from recorded ones though no setting does are printed.
///
/// # Errors
/// When the lock cannot be written.
pub fn write(path: &Path, project: &Project, session: &Session, outcome: &Outcome) -> Result<(), Failure> {
    let mut lock = LockFile::default();
    let records = &outcome.records;
    if session.damaged_lock.is_some() {
        fill_from_store(records, project, session);
    }
    for (id, node) in project.graph.ids().zip(&project.graph.nodes) {
        if records.is_dropped(id) {
            continue;
        }
        let name = node.name();
        let before = session.lock.results.get(&name);
        let Some(record) = records.get(id) else {
            lock.results.extend(before.map(|result| (name.clone(), result.clone())));
            // A pin that was let go and not moved stays where it was.
            let salvaged = session.pins.get(&name).filter(|_| session.damaged_lock.is_some());
            let pin = session.lock.pins.get(&name).or(salvaged);
            lock.pins.extend(pin.map(|pin| (name.clone(), pin.clone())));
            continue;
        };
        let digest = record.tree.digest();
        let shows_times = matches!(*node.settings, Stage::Report(_));
        let result = LockedResult {
            key: record.key,
            result: (!shows_times).then_some(digest),
            headline: record.headline.clone(),
        };
        if let Some(before) = before
            && is_unexplained(session, &name, before, &result, record)
        {
            eprintln!("{name}: {}", both(before, &result));
        }
        if let Stage::Download(download) = node.settings.as_ref() {
            let source = download.from.0.shown();
            let observed = session.store.observed_folder(&record.key);
            let revision = pins::revision(node, &session.pins, &digest, &observed);
            lock.pins.insert(name.clone(), Pin { source, revision, digest });
        }
        lock.results.insert(name, result);
    }
    if lock == *session.lock && session.damaged_lock.is_none() && path.exists() {
        return Ok(());
    }
    lock.write(path).map(drop).map_err(|error| Failure {
        message: error.to_string(),
        place: None,
        hint: Some(error.hint()),
    })
}

/// Notes what the store holds of members that the run did not reach.
fn fill_from_store(records: &Records, project: &Project, session: &Session) {
    for (id, freshness) in project.graph.ids().zip(session.state(project).survey()) {
        match freshness {
            Freshness::Fresh(record) => records.left(id, record),
            Freshness::NotChosen => records.drop(id),
            _ => {}
        }
    }
}

/// Whether the same settings gave something else than is recorded, as far as is known: of a record that the store has
/// lost, only the digest of its key is.
fn is_unexplained(session: &Session, name: &str, before: &LockedResult, now: &LockedResult, record: &Record) -> bool {
    if before.headline == now.headline && (before.key != now.key || before.result == now.result) {
        return false;
    }
    // Of inputs that came out otherwise, their own members tell.
    let known = |part: Part| matches!(part, Part::Code | Part::Setting | Part::File | Part::Input);
    match (session.key_of(&record.key), session.last_key(name)) {
        (Some(key), Some(last)) => !key.differences(&last).iter().any(|difference| known(difference.part)),
        _ => true,
    }
}

/// What is recorded and what came, for people.
fn both(before: &LockedResult, now: &LockedResult) -> String {
    if before.headline != now.headline {
        return format!("the lock says {}; this time {}", figures(before), figures(now));
    }
    let short = |result: &LockedResult| result.result.map(|digest| digest.short()).unwrap_or_default();
    format!("the lock says it left {}; this time {}", short(before), short(now))
}

/// Headline figures in a line.
pub fn figures(result: &LockedResult) -> String {
    let figures: Vec<String> =
        result.headline.iter().map(|(name, value)| format!("{name} {}", figure(*value))).collect();
    if figures.is_empty() { "no figure".to_owned() } else { figures.join(", ") }
}

/// What the lock records of a member that is not here, for a line of a list; empty where it records no figure.
pub fn recorded(session: &Session, name: &str) -> String {
    match session.lock.results.get(name) {
        Some(result) if !result.headline.is_empty() => format!("  recorded: {}", figures(result)),
        _ => String::new(),
    }
}
