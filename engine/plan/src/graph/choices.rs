//! What `select` stages choose among: the labels that each of its members may yield, and the values they stand for. Knows
//! no figure and no winner.

use std::collections::BTreeSet;

use serde_yaml::Value;
use spec::{matrix::AxisEntry, pipeline::Pipeline, text::YamlPath, yields::Yield};

use super::{Coordinate, Node, NodeId};

/// What one member of a `select` stage may yield, each combination once.
pub struct MayYield {
    /// The member.
    pub select: NodeId,
    /// The combinations.
    pub rows: Vec<Yield>,
}

/// What a member of a `select` stage may yield: the coordinates of the members it compares, without those that are
/// fixed by its selector or by its own coordinates.
pub fn may_yield(pipeline: &Pipeline, nodes: &[Node], select: NodeId) -> MayYield {
    let node = &nodes[select.0];
    let mut seen = BTreeSet::new();
    let mut rows = Vec::new();
    let compared = node.inputs.iter().flat_map(|input| &input.members);
    for member in compared {
        let row: Yield = nodes[member.0]
            .visible()
            .filter(|c| !node.coordinates.iter().any(|own| own.origin == c.origin && own.axis == c.axis))
            .map(|c| (c.axis.clone(), entry(pipeline, c)))
            .collect();
        if seen.insert(row.iter().map(|(_, entry)| entry.label.clone()).collect::<Vec<_>>()) {
            rows.push(row);
        }
    }
    MayYield { select, rows }
}

/// What a label stands for: the value on its axis; itself for one of several stages.
fn entry(pipeline: &Pipeline, coordinate: &Coordinate) -> AxisEntry {
    let Coordinate { origin, axis, label, .. } = coordinate;
    let stage = pipeline.stages.iter().find(|stage| stage.name == *origin);
    let axes = stage.into_iter().flat_map(|stage| &stage.matrix.axes);
    let found = axes.filter(|known| known.name == *axis).flat_map(|known| &known.entries).find(|e| e.label == *label);
    found.cloned().unwrap_or_else(|| {
        AxisEntry::new(label, Value::String(label.clone()), YamlPath::keys(["stages", origin, axis]))
    })
}
