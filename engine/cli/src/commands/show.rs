//! `engine show`: everything about a member: its settings, key, files, figures, rows and log.

use clap::Args;
use plan::{graph::NodeId, state::Freshness};
use serde_json::Value;

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
    /// Also show so many rows with the lowest score.
    #[arg(long, value_name = "N", default_value_t = 0)]
    worst: usize,
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
    for (position, id) in shown(&project.graph, &survey, meant).into_iter().enumerate() {
        if position > 0 {
            println!();
        }
        show_member(&project, &session, id, &survey[id.0], show.worst);
    }
    Exit::Done
}

fn show_member(project: &Project, session: &Session, id: NodeId, freshness: &Freshness, worst: usize) {
    let node = project.graph.node(id);
    println!("{} ({})", node.name(), node.settings.kind());
    if let Ok(settings) = node.settings.settings()
        && let Ok(text) = serde_yaml::to_string(&settings)
    {
        text.lines().for_each(|line| println!("  {line}"));
    }
    let record = match freshness {
        Freshness::Fresh(record) => record,
        Freshness::Stale(keyed) => {
            println!("key {} · not made", keyed.digest);
            show_recorded(session, &node.name());
            if let Some(plan::store::Unfinished::Failed(log)) = session.store.unfinished(&keyed.digest) {
                print_log(&log);
            }
            return;
        }
        Freshness::Waits(_) => {
            println!("not made; what it reads is not made either");
            show_recorded(session, &node.name());
            return;
        }
        Freshness::NotChosen => {
            println!("not made: something else was chosen");
            return;
        }
        Freshness::Broken(failure) => {
            render::failure(None, failure);
            return;
        }
    };
    println!("key {}", record.key);
    println!("made in {} on {}", duration(record.seconds), record.machine);
    println!("files in {}", session.views.place(&node.stage, &node.labels()).display());
    for entry in record.tree.entries() {
        println!("  {:>10}  {}", size(entry.size), entry.path);
    }
    if let Some(winner) = chosen(&session.store, node, record) {
        println!("chosen: {winner}");
    }
    for (name, value) in &record.headline {
        println!("{name} {}", figure(*value));
    }
    if worst > 0 {
        print_worst(&session.store.tree_folder(record).join(spec::files::PREDICTIONS), worst);
    }
    print_log(&session.store.observed_folder(&record.key).join("log.txt"));
}

/// What the lock says of a member that is not here.
fn show_recorded(session: &Session, name: &str) {
    let Some(result) = session.lock.results.get(name) else { return };
    println!("recorded in the lock under key {}", result.key);
    for (name, value) in &result.headline {
        println!("{name} {}", figure(*value));
    }
}

fn print_log(log: &std::path::Path) {
    let lines = plan::process::tail(log, 12).unwrap_or_default();
    if !lines.is_empty() {
        println!("the end of its log:");
        lines.iter().for_each(|line| println!("  │ {line}"));
    }
}

/// The rows with the lowest mean of their scores.
fn print_worst(predictions: &std::path::Path, count: usize) {
    let Ok(text) = std::fs::read_to_string(predictions) else {
        println!("no rows were scored here");
        return;
    };
    let mut rows: Vec<(f64, Value)> =
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).map(|row: Value| (score(&row), row)).collect();
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (score, row) in rows.iter().take(count) {
        println!("  {score:.3}  {}", row["id"].as_str().unwrap_or_default());
        for key in ["prompt", "output", "references"] {
            let value = match &row[key] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let value: Vec<&str> = value.lines().collect();
            println!("    {key}: {}", value.join("\n      "));
        }
    }
}

/// The mean of every number below `scores`.
fn score(row: &Value) -> f64 {
    let mut numbers = Vec::new();
    let mut open = vec![&row["scores"]];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(map) => open.extend(map.values()),
            Value::Number(number) => numbers.extend(number.as_f64()),
            _ => {}
        }
    }
    numbers.iter().sum::<f64>() / numbers.len().max(1) as f64
}
