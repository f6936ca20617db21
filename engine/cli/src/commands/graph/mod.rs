//! `engine graph`: the stages and what they read, as text, Mermaid, Graphviz or a picture.

mod svg;

use clap::{Args, ValueEnum};
use plan::graph::Graph;

use crate::{
    Exit,
    project::{PipelineArgs, Project},
    render,
};

/// Show the stages and what they read.
#[derive(Debug, Args)]
pub struct GraphCommand {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Mermaid,
    Dot,
    Svg,
}

/// Prints the graph.
pub fn run(command: &GraphCommand) -> Exit {
    let project = match Project::open(&command.pipeline) {
        Ok(project) => project,
        Err(faults) => {
            render::diagnostics(&faults);
            return Exit::Mistake;
        }
    };
    let text = match command.format {
        Format::Text => as_text(&project.graph),
        Format::Mermaid => as_mermaid(&project.graph),
        Format::Dot => as_dot(&project.graph),
        Format::Svg => as_svg(&project.graph),
    };
    out!("{text}");
    Exit::Done
}

/// For each stage the stages it reads, each once, in the order of the file.
fn reads(graph: &Graph) -> Vec<Vec<usize>> {
    let place = |name: &str| graph.stages.iter().position(|stage| stage.name == name);
    graph
        .stages
        .iter()
        .map(|stage| {
            let mut read: Vec<usize> = stage
                .members
                .iter()
                .flat_map(|id| graph.node(*id).needs())
                .filter_map(|id| place(&graph.node(id).stage))
                .collect();
            read.sort_unstable();
            read.dedup();
            read
        })
        .collect()
}

/// How many members a stage has, where it is more than one.
fn times(graph: &Graph, stage: &plan::graph::StageMembers) -> String {
    let count = graph.names(&stage.members).len();
    if count > 1 { format!(" ×{count}") } else { String::new() }
}

fn as_text(graph: &Graph) -> String {
    let widest = graph.stages.iter().map(|stage| stage.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (stage, read) in graph.stages.iter().zip(reads(graph)) {
        let times = times(graph, stage);
        let read: Vec<&str> = read.iter().map(|place| graph.stages[*place].name.as_str()).collect();
        let arrow = if read.is_empty() { String::new() } else { format!(" ← {}", read.join(", ")) };
        text.push_str(&format!("{:<widest$}  {}{times}{arrow}\n", stage.name, stage.kind));
        let labels: Vec<String> =
            axes(graph, stage).into_iter().map(|(axis, labels)| format!("{axis}: {}", labels.join(", "))).collect();
        if !labels.is_empty() {
            text.push_str(&format!("{:widest$}  {}\n", "", labels.join(" · ")));
        }
    }
    text
}

/// The axes of a stage's members with their labels.
fn axes(graph: &Graph, stage: &plan::graph::StageMembers) -> Vec<(String, Vec<String>)> {
    let mut axes: Vec<(String, Vec<String>)> = Vec::new();
    for coordinate in stage.members.iter().flat_map(|id| graph.node(*id).visible()) {
        let place = axes.iter().position(|(axis, _)| *axis == coordinate.axis).unwrap_or_else(|| {
            axes.push((coordinate.axis.clone(), Vec::new()));
            axes.len() - 1
        });
        if !axes[place].1.contains(&coordinate.label) {
            axes[place].1.push(coordinate.label.clone());
        }
    }
    axes
}

fn as_mermaid(graph: &Graph) -> String {
    let mut text = "flowchart LR\n".to_owned();
    for (place, stage) in graph.stages.iter().enumerate() {
        let count = times(graph, stage);
        text.push_str(&format!("  s{place}[\"{}<br/><i>{}{count}</i>\"]\n", stage.name, stage.kind));
    }
    for (place, read) in reads(graph).into_iter().enumerate() {
        for input in read {
            text.push_str(&format!("  s{input} --> s{place}\n"));
        }
    }
    text
}

fn as_svg(graph: &Graph) -> String {
    let shown = |(stage, reads): (&plan::graph::StageMembers, Vec<usize>)| svg::Shown {
        name: stage.name.clone(),
        kind: format!("{}{}", stage.kind, times(graph, stage)),
        reads,
    };
    svg::draw(&graph.stages.iter().zip(reads(graph)).map(shown).collect::<Vec<_>>())
}

fn as_dot(graph: &Graph) -> String {
    let mut text = "digraph pipeline {\n  rankdir=LR;\n  node [shape=box];\n".to_owned();
    for stage in &graph.stages {
        let count = times(graph, stage);
        text.push_str(&format!("  \"{0}\" [label=\"{0}\\n{1}{count}\"];\n", stage.name, stage.kind));
    }
    for (place, read) in reads(graph).into_iter().enumerate() {
        for input in read {
            text.push_str(&format!("  \"{}\" -> \"{}\";\n", graph.stages[input].name, graph.stages[place].name));
        }
    }
    text.push_str("}\n");
    text
}
