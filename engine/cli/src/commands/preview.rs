//! `engine preview`: the first rows of a stage as a model sees them.

use std::io::IsTerminal;

use clap::Args;
use plan::state::Freshness;
use spec::{
    stage::{Splits, Stage},
    text::YamlPath,
};

use crate::{
    Exit,
    project::{PipelineArgs, Project},
    render,
    session::{Session, members, shown},
};

/// Show the first rows of a `preprocess` or `tokenize` stage as a model sees them.
#[derive(Debug, Args)]
pub struct Preview {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The stage, or one member of it.
    #[arg(value_name = "STAGE")]
    stage: String,
    /// The split; each split's first rows without it.
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// How many rows.
    #[arg(long, value_name = "N", default_value_t = 2)]
    rows: usize,
}

/// Shows the rows.
pub fn run(preview: &Preview) -> Exit {
    let project = match Project::open(&preview.pipeline) {
        Ok(project) => project,
        Err(faults) => {
            render::diagnostics(&faults);
            return Exit::Mistake;
        }
    };
    let meant = match members(&project.graph, &preview.stage) {
        Ok(meant) => meant,
        Err(fault) => {
            render::diagnostics(&[fault]);
            return Exit::Mistake;
        }
    };
    match show(preview, &project, &meant) {
        Ok(()) => Exit::Done,
        Err(failure) => {
            render::failure(None, &failure);
            Exit::Failed
        }
    }
}

/// Shows the first of the members that are meant.
fn show(preview: &Preview, project: &Project, meant: &[plan::graph::NodeId]) -> Result<(), spec::job::Failure> {
    let failure = |message: String, hint: String| spec::job::Failure { message, place: None, hint: Some(hint) };
    let session = Session::open(project)?;
    let survey = session.state(project).survey();
    let Some(id) = shown(&project.graph, &survey, meant.iter().copied()).first().copied() else { return Ok(()) };
    let node = project.graph.node(id);
    let Freshness::Fresh(record) = &survey[id.0] else {
        return Err(failure(
            format!("`{}` is not made yet", node.name()),
            format!("run `engine run {} --until {}` first", preview.pipeline.file.display(), node.stage),
        ));
    };
    let folder = session.store.tree_folder(record);
    let tokens = match node.settings.as_ref() {
        Stage::Tokenize(_) => true,
        Stage::Preprocess(_) => false,
        other => {
            return Err(failure(
                format!("`{}` is a stage of kind `{}`: it leaves no rows", node.name(), other.kind()),
                "name a `preprocess` or `tokenize` stage".into(),
            ));
        }
    };
    let mut splits: Vec<String> = record
        .tree
        .entries()
        .iter()
        .filter_map(|entry| entry.path.strip_suffix(".parquet").map(str::to_owned))
        .collect();
    if let Splits::Named(names) = node.settings.splits() {
        splits.retain(|split| names.contains(&split.as_str()));
    }
    let order = written_order(project, id);
    splits.sort_by_key(|split| order.iter().position(|name| *name == split).unwrap_or(order.len()));
    if let Some(wanted) = &preview.split {
        if !splits.contains(wanted) {
            return Err(failure(
                format!("`{}` has no split `{wanted}`", node.name()),
                spec::suggest::did_you_mean(wanted, &splits),
            ));
        }
        splits.retain(|split| split == wanted);
    }
    for split in splits {
        if tokens {
            print_tokens(&folder, &split, preview.rows)?;
        } else {
            print_rows(&folder, &split, preview.rows)?;
        }
    }
    Ok(())
}

/// The splits in the order in which the pipeline file has them; empty where it does not write them out.
fn written_order(project: &Project, id: plan::graph::NodeId) -> Vec<&str> {
    let node = project.graph.node(id);
    let input = node.inputs.iter().find(|input| input.role == "input").and_then(|input| input.members.first());
    let stage = match (&*node.settings, input) {
        (Stage::Tokenize(_), Some(rows)) => &project.graph.node(*rows).stage,
        _ => &node.stage,
    };
    let splits = project.document.get(&YamlPath::keys(["stages", stage, "splits"]));
    let splits = splits.and_then(serde_yaml::Value::as_mapping);
    splits.into_iter().flat_map(serde_yaml::Mapping::keys).filter_map(serde_yaml::Value::as_str).collect()
}

fn print_rows(folder: &std::path::Path, split: &str, rows: usize) -> Result<(), spec::job::Failure> {
    for row in data::preview::rendered(folder, split, rows)? {
        outln!("── {split} · {}", row.name);
        for (prompt, completion) in &row.turns {
            out!("{prompt}");
            match completion {
                Some(completion) => outln!("▸{completion}"),
                None => outln!(),
            }
        }
        for (name, text) in &row.beside {
            outln!("{name}: {text}");
        }
        if let Some(references) = row.references {
            outln!("references: {references:?}");
        }
    }
    Ok(())
}

/// Tokens in a row; those that are learned or scored stand on a ground of their own on a terminal, between ⟦ and ⟧ elsewhere.
fn print_tokens(folder: &std::path::Path, split: &str, rows: usize) -> Result<(), spec::job::Failure> {
    let colors = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    for row in data::preview::tokenized(folder, split, rows)? {
        let part = row.part.map(|part| format!(", {part}")).unwrap_or_default();
        let with_loss = row.tokens.iter().chain(&row.answer).filter(|token| token.loss).count();
        let marked = if with_loss > 0 { format!(", {with_loss} with loss") } else { String::new() };
        outln!("── {split} · id {}{part} · {} tokens{marked}", row.id, row.tokens.len() + row.answer.len());
        if let Some(reason) = &row.failed {
            outln!("cannot be used: {reason}");
        }
        outln!("{}", marked_line(&row.tokens, colors));
        if !row.answer.is_empty() {
            outln!("▸ {}", marked_line(&row.answer, colors));
        }
        if let Some(wanted) = &row.wanted {
            outln!("{wanted}");
        }
    }
    Ok(())
}

fn marked_line(tokens: &[data::preview::Token], colors: bool) -> String {
    let mut line = String::new();
    let mut loss = false;
    for token in tokens {
        if token.loss != loss {
            line.push_str(match (token.loss, colors) {
                (true, true) => "\u{1b}[7m",
                (false, true) => "\u{1b}[0m",
                (true, false) => "⟦",
                (false, false) => "⟧",
            });
            loss = token.loss;
        } else if !line.is_empty() {
            line.push('·');
        }
        line.push_str(&token.text);
    }
    if loss {
        line.push_str(if colors { "\u{1b}[0m" } else { "⟧" });
    }
    line
}
