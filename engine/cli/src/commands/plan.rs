//! `engine plan` and `engine status`: what would run and why, and what is there.

use clap::Args;
use plan::{
    graph::{Graph, Node, NodeId},
    key::Key,
    state::Freshness,
    store::{Record, Store},
};
use serde_json::json;
use spec::stage::Stage;

use crate::{
    Exit, lock,
    progress::{because, difference, duration, figure},
    project::{PipelineArgs, Project},
    render,
    session::{Session, shown},
};

/// Say what would run, and why.
#[derive(Debug, Args)]
pub struct Plan {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Print one JSON object a member.
    #[arg(long)]
    json: bool,
}

/// Say of each stage whether it is fresh, stale, running or failed.
#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    pipeline: PipelineArgs,
}

struct Surveyed {
    project: Project,
    session: Session,
    survey: Vec<Freshness>,
}

fn survey(args: &PipelineArgs) -> Result<Surveyed, Exit> {
    let project = Project::open(args).map_err(|faults| {
        render::diagnostics(&faults);
        Exit::Mistake
    })?;
    let session = Session::open(&project).map_err(|failure| {
        render::failure(None, &failure);
        Exit::Failed
    })?;
    let survey = session.state(&project).survey();
    // What was learned of files is only a help for the next time.
    let _ = session.remembered.save();
    Ok(Surveyed { project, session, survey })
}

impl Surveyed {
    /// Why a member is stale: the parts that differ from what the lock names.
    fn why(&self, name: &str, key: &Key) -> String {
        match self.session.last_key(name) {
            Some(last) => match because(&key.differences(&last)) {
                text if text.is_empty() => "its files are no longer in the store".into(),
                text => text,
            },
            None if self.session.lock.results.contains_key(name) => "recorded, not here".into(),
            None => "never made".into(),
        }
    }
}

/// What a `select` stage chose: `prompt=strict`.
pub fn chosen(store: &Store, node: &Node, record: &Record) -> Option<String> {
    if !matches!(*node.settings, Stage::Select(_)) {
        return None;
    }
    let winner = plan::selected::winner(&store.tree_folder(record)).ok()?;
    let labels: Vec<String> = winner.iter().map(|(axis, label)| format!("{axis}={label}")).collect();
    Some(labels.join(", "))
}

/// The members that a member waits for, each stage once.
fn waits(graph: &Graph, ids: &[NodeId]) -> String {
    let mut names: Vec<&str> = ids.iter().map(|id| graph.node(*id).stage.as_str()).collect();
    names.dedup();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

/// Prints what would run.
pub fn plan(plan: &Plan) -> Exit {
    let surveyed = match survey(&plan.pipeline) {
        Ok(surveyed) => surveyed,
        Err(exit) => return exit,
    };
    let graph = &surveyed.project.graph;
    let mut exit = Exit::Done;
    let (mut fresh, mut runs, mut depends) = (0, 0, 0);
    for id in shown(graph, &surveyed.survey, graph.ids()) {
        let name = graph.node(id).name();
        match &surveyed.survey[id.0] {
            Freshness::NotChosen => {}
            Freshness::Fresh(record) => {
                fresh += 1;
                if plan.json {
                    outln!("{}", json!({"member": name, "state": "fresh", "key": record.key}));
                }
            }
            Freshness::Stale(keyed) => {
                runs += 1;
                let differences =
                    surveyed.session.last_key(&name).map(|last| keyed.key.differences(&last)).unwrap_or_default();
                if plan.json {
                    outln!("{}", json!({"member": name, "state": "stale", "key": keyed.digest, "why": differences}));
                } else if differences.len() > 1 {
                    outln!("runs     {name}");
                    differences.iter().for_each(|part| outln!("           {}", difference(part)));
                } else {
                    let recorded = lock::recorded(&surveyed.session, &name);
                    outln!("runs     {name}  {}{recorded}", surveyed.why(&name, &keyed.key));
                }
            }
            Freshness::Waits(ids) => {
                depends += 1;
                let on = waits(graph, ids);
                if plan.json {
                    outln!("{}", json!({"member": name, "state": "depends", "on": on}));
                } else {
                    outln!("depends  {name}  on {on}{}", lock::recorded(&surveyed.session, &name));
                }
            }
            Freshness::Broken(failure) => {
                render::failure(Some(&name), failure);
                exit = Exit::Failed;
            }
        }
    }
    if !plan.json {
        outln!("{runs} to run, {depends} that depend on them, {fresh} up to date");
    }
    exit
}

/// Prints what is there.
pub fn status(status: &Status) -> Exit {
    let surveyed = match survey(&status.pipeline) {
        Ok(surveyed) => surveyed,
        Err(exit) => return exit,
    };
    let graph = &surveyed.project.graph;
    let names: Vec<String> = graph.ids().map(|id| graph.node(id).name()).collect();
    let widest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).min(48);
    for stage in &graph.stages {
        for id in shown(graph, &surveyed.survey, stage.members.iter().copied()) {
            let name = &names[id.0];
            let line = match &surveyed.survey[id.0] {
                Freshness::NotChosen => continue,
                Freshness::Fresh(record) => {
                    let chosen = chosen(&surveyed.session.store, graph.node(id), record).into_iter();
                    let headline = record.headline.iter().map(|(name, value)| format!("{name} {}", figure(*value)));
                    let figures: Vec<String> = chosen.chain(headline).take(3).collect();
                    format!(
                        "fresh    {:>9}  {:>10}  {}",
                        size(record.tree.size()),
                        duration(record.seconds),
                        figures.join(" · ")
                    )
                }
                Freshness::Stale(keyed) => match surveyed.session.store.unfinished(&keyed.digest) {
                    Some(plan::store::Unfinished::Running) => "running".into(),
                    Some(plan::store::Unfinished::Failed(log)) => format!("failed   its log: {}", log.display()),
                    None => {
                        let recorded = lock::recorded(&surveyed.session, name);
                        format!("stale    {}{recorded}", surveyed.why(name, &keyed.key))
                    }
                },
                Freshness::Waits(ids) => {
                    let recorded = lock::recorded(&surveyed.session, name);
                    format!("stale    depends on {}{recorded}", waits(graph, ids))
                }
                Freshness::Broken(failure) => format!("broken   {}", failure.message),
            };
            outln!("{name:<widest$}  {}", line.trim_end());
        }
    }
    Exit::Done
}

/// A number of bytes for people.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}
