//! Which members of a stage a reference means, and how their axes join those of the stage that reads them.

use std::collections::{BTreeSet, HashMap};

use spec::reference::Reference;

use super::{Coordinate, Node, NodeId};

/// Why a reference means nothing.
#[derive(Debug, PartialEq)]
pub enum SelectFault {
    /// The stage has no such axis; its axes.
    NoAxis(String, Vec<String>),
    /// The axis has no such label; its labels.
    NoLabel(String, String, Vec<String>),
    /// Each label exists, no member has them all.
    Nothing,
}

/// The members that a reference means, in order.
///
/// # Errors
/// A selector that names an axis or label that does not exist, or that no member satisfies.
pub fn select(nodes: &[Node], members: &[NodeId], reference: &Reference) -> Result<Vec<NodeId>, SelectFault> {
    let labels_of = |axis: &str| -> BTreeSet<&str> {
        members
            .iter()
            .flat_map(|id| nodes[id.0].visible())
            .filter(|c| c.axis == axis)
            .map(|c| c.label.as_str())
            .collect()
    };
    for (axis, label) in &reference.selector {
        let labels = labels_of(axis);
        if labels.is_empty() {
            let axes: BTreeSet<&str> =
                members.iter().flat_map(|id| nodes[id.0].visible()).map(|c| c.axis.as_str()).collect();
            return Err(SelectFault::NoAxis(axis.clone(), axes.into_iter().map(str::to_owned).collect()));
        }
        if !labels.contains(label.as_str()) {
            let labels = labels.into_iter().map(str::to_owned).collect();
            return Err(SelectFault::NoLabel(axis.clone(), label.clone(), labels));
        }
    }
    let selected: Vec<NodeId> = members
        .iter()
        .copied()
        .filter(|id| {
            reference
                .selector
                .iter()
                .all(|(axis, label)| nodes[id.0].visible().any(|c| c.axis == *axis && c.label == *label))
        })
        .collect();
    if selected.is_empty() { Err(SelectFault::Nothing) } else { Ok(selected) }
}

/// A member in the making: its coordinates so far, and what each input of it is bound to.
#[derive(Debug, Clone, Default)]
pub struct Row {
    /// Coordinates so far.
    pub coordinates: Vec<Coordinate>,
    /// For each input so far, the alternative that was taken and its member.
    pub bound: Vec<(usize, NodeId)>,
}

/// One member that an input may be bound to, with the coordinates that come with it.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Coordinates that are followed.
    pub coordinates: Vec<Coordinate>,
    /// The alternative and its member.
    pub bound: (usize, NodeId),
}

/// Binds one more input: rows and candidates that agree on the axes they share are joined, the others are crossed. Of
/// more than `most`, one more than that is given.
pub fn join(rows: Vec<Row>, candidates: &[Candidate], most: usize) -> Vec<Row> {
    let common = common_axes(&rows, candidates);
    let key = |coordinates: &[Coordinate]| -> Vec<String> {
        common.iter().map(|(origin, axis)| label_on(coordinates, origin, axis).unwrap_or_default().to_owned()).collect()
    };
    let mut buckets: HashMap<Vec<String>, Vec<&Candidate>> = HashMap::new();
    for candidate in candidates {
        buckets.entry(key(&candidate.coordinates)).or_default().push(candidate);
    }
    let mut joined = Vec::new();
    for row in rows {
        for candidate in buckets.get(&key(&row.coordinates)).into_iter().flatten() {
            let agrees = candidate
                .coordinates
                .iter()
                .all(|c| label_on(&row.coordinates, &c.origin, &c.axis).is_none_or(|label| label == c.label));
            if !agrees {
                continue;
            }
            let mut longer = row.clone();
            for coordinate in &candidate.coordinates {
                if label_on(&row.coordinates, &coordinate.origin, &coordinate.axis).is_none() {
                    longer.coordinates.push(coordinate.clone());
                }
            }
            longer.bound.push(candidate.bound);
            joined.push(longer);
            if joined.len() > most {
                return joined;
            }
        }
    }
    joined
}

fn label_on<'c>(coordinates: &'c [Coordinate], origin: &str, axis: &str) -> Option<&'c str> {
    coordinates.iter().find(|c| c.origin == origin && c.axis == axis).map(|c| c.label.as_str())
}

/// The axes that every row and every candidate has: by these, a join need not look at every pair.
fn common_axes(rows: &[Row], candidates: &[Candidate]) -> Vec<(String, String)> {
    let Some(first) = candidates.first() else { return Vec::new() };
    let everywhere = |origin: &str, axis: &str| {
        rows.iter().all(|row| label_on(&row.coordinates, origin, axis).is_some())
            && candidates.iter().all(|candidate| label_on(&candidate.coordinates, origin, axis).is_some())
    };
    first
        .coordinates
        .iter()
        .filter(|c| everywhere(&c.origin, &c.axis))
        .map(|c| (c.origin.clone(), c.axis.clone()))
        .collect()
}
