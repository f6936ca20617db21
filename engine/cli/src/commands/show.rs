//! `engine show`: everything about a member: its settings, key, files, figures and log; or its worst rows.

mod measured;
mod worst;

use clap::Args;
use plan::{graph::NodeId, state::Freshness};

use crate::{
    Exit,
    commands::plan::{chosen, size},
    progress::{duration, figure},
    project::{PipelineArgs, Project},
    render,
    session::{Session, members, shown},
};

/// Show a stage's settings, key, files, figures and the end of its log.
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The stage, or one member: `tuned[method=dora,seed=0]`.
    #[arg(value_name = "STAGE")]
    stage: String,
    /// Show so many rows of an `evaluate` stage instead, the worst first: failed ones, then those with the worst score.
    #[arg(long, value_name = "N")]
    worst: Option<usize>,
    /// The figure that rows are judged by; without it, the first headline figure of the stage's first metric.
    #[arg(long, value_name = "METRIC.FIGURE", requires = "worst")]
    by: Option<String>,
    /// Print each row whole, as one JSON object a line.
    #[arg(long, requires = "worst")]
    json: bool,
}

/// Shows each member that is meant.
pub fn run(show: &Show) -> Exit {
    let project = match Project::open(&show.pipeline) {
        Ok(project) => project,
        Err(faults) => {
            render::diagnostics(&faults);
            return Exit::Mistake;
        }
    };
    let meant = match members(&project.graph, &show.stage) {
        Ok(meant) => meant,
        Err(fault) => {
            render::diagnostics(&[fault]);
            return Exit::Mistake;
        }
    };
    let session = match Session::open(&project) {
        Ok(session) => session,
        Err(failure) => {
            render::failure(None, &failure);
            return Exit::Failed;
        }
    };
    let survey = session.state(&project).survey();
    let meant = shown(&project.graph, &survey, meant);
    if let Some(count) = show.worst {
        return worst::show(show, &project, &session, &survey, &meant, count);
    }
    for (position, id) in meant.into_iter().enumerate() {
        if position > 0 {
            outln!();
        }
        show_member(&project, &session, id, &survey[id.0]);
    }
    Exit::Done
}

fn show_member(project: &Project, session: &Session, id: NodeId, freshness: &Freshness) {
    let node = project.graph.node(id);
    outln!("{} ({})", node.name(), node.settings.kind());
    if let Ok(settings) = node.settings.settings()
        && let Ok(text) = serde_yaml::to_string(&settings)
    {
        text.lines().for_each(|line| outln!("  {line}"));
    }
    let record = match freshness {
        Freshness::Fresh(record) => record,
        Freshness::Stale(keyed) => {
            outln!("key {} · not made", keyed.digest);
            show_recorded(session, &node.name());
            if let Some(plan::store::Unfinished::Failed(log)) = session.store.unfinished(&keyed.digest) {
                print_log(&log);
            }
            return;
        }
        Freshness::Waits(_) => {
            outln!("not made; what it reads is not made either");
            show_recorded(session, &node.name());
            return;
        }
        Freshness::NotChosen => {
            outln!("not made: something else was chosen");
            return;
        }
        Freshness::Broken(failure) => {
            render::failure(None, failure);
            return;
        }
    };
    outln!("key {}", record.key);
    outln!("made in {} on {}", duration(record.seconds), record.machine);
    outln!("files in {}", session.views.place(&node.stage, &node.labels()).display());
    for entry in record.tree.entries() {
        outln!("  {:>10}  {}", size(entry.size), entry.path);
    }
    if let Some(winner) = chosen(&session.store, node, record) {
        outln!("chosen: {winner}");
    }
    for (name, value) in &record.headline {
        outln!("{name} {}", figure(*value));
    }
    measured::print(&session.store.observed_folder(&record.key));
    print_log(&session.store.observed_folder(&record.key).join("log.txt"));
}

/// What the lock says of a member that is not here.
fn show_recorded(session: &Session, name: &str) {
    let Some(result) = session.lock.results.get(name) else { return };
    outln!("recorded in the lock under key {}", result.key);
    for (name, value) in &result.headline {
        outln!("{name} {}", figure(*value));
    }
}

fn print_log(log: &std::path::Path) {
    let lines = plan::process::tail(log, 12).unwrap_or_default();
    if !lines.is_empty() {
        outln!("the end of its log:");
        lines.iter().for_each(|line| outln!("  │ {line}"));
    }
}
