//! Whether templates define the blocks that later stages need, told before anything runs. Knows the graph, and which
//! blocks a template has; why a stage needs one is the stage's own word.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::Path,
};

use plan::graph::{Graph, Node};
use spec::{
    block::{Block, WantedBlock},
    diagnostic::Diagnostic,
    pipeline::Pipeline,
    stage::{Read, Stage},
    text::Side,
};

/// The mistakes of stages whose rows a template rendered without a block that they need: each block of a template once. A
/// template that cannot be read is left to the stage that renders by it.
pub fn missing_blocks(pipeline: &Pipeline, graph: &Graph, root: &Path) -> Vec<Diagnostic> {
    let mut templates: HashMap<&str, Option<BTreeSet<Block>>> = HashMap::new();
    let mut told: HashSet<(&str, &[Block])> = HashSet::new();
    let mut faults = Vec::new();
    for stage in &graph.stages {
        for node in stage.members.iter().map(|id| graph.node(*id)) {
            for wanted in node.settings.wanted_blocks() {
                let Some(template) = template_of(graph, node, wanted.role) else { continue };
                let defined = templates.entry(template).or_insert_with(|| blocks_of(root, template));
                let lacks =
                    defined.as_ref().is_some_and(|blocks| wanted.any_of.iter().all(|one| !blocks.contains(one)));
                if lacks && told.insert((template, wanted.any_of)) {
                    faults.push(fault(pipeline, graph, node, template, &wanted));
                }
            }
        }
    }
    faults
}

/// The template that rendered the rows of an input, relative to the project's root; nothing where a program made them.
fn template_of<'g>(graph: &'g Graph, node: &'g Node, role: &str) -> Option<&'g str> {
    let input = node.inputs.iter().find(|input| input.role == role)?;
    let made = graph.node(*input.members.first()?);
    match &*made.settings {
        Stage::Tokenize(_) => template_of(graph, made, "input"),
        Stage::Preprocess(_) => {
            made.local_paths.iter().find(|local| local.read == Read::Template).map(|local| local.path.as_str())
        }
        _ => None,
    }
}

fn blocks_of(root: &Path, template: &str) -> Option<BTreeSet<Block>> {
    let name = template.strip_prefix("templates/")?;
    data::template::blocks(&root.join("templates"), name).ok()
}

fn fault(pipeline: &Pipeline, graph: &Graph, node: &Node, template: &str, wanted: &WantedBlock) -> Diagnostic {
    let names: Vec<String> = wanted.any_of.iter().map(|block| format!("`{}`", block.name())).collect();
    let example = wanted.any_of.first().map(|block| block.example()).unwrap_or_default();
    let mut hint = format!("add `{example}` to {template}");
    if let Some(instead) = wanted.instead {
        hint = format!("{hint}, or {instead}");
    }
    let message =
        format!("{template} has no block {}, which {} of `{}` needs", names.join(" or "), wanted.by, node.stage);
    Diagnostic::new(message, hint).at(place(pipeline, graph, node, &wanted.path))
}

/// Where a setting of a member was written.
fn place(pipeline: &Pipeline, graph: &Graph, node: &Node, path: &str) -> Option<spec::diagnostic::Place> {
    let stage = pipeline.stages.iter().find(|stage| stage.name == node.stage)?;
    let variants = pipeline.variants(stage, &graph.yields).unwrap_or_default();
    let own = variants.iter().find(|variant| variant.stage == node.settings);
    pipeline.place(&stage.name, own, path, Side::Value)
}
