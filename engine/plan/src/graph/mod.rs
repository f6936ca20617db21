//! The graph of a pipeline: every member of every stage, and which members it reads. Knows names and edges; does not know
//! whether anything has been made yet.

mod choices;
mod expand;
mod order;
mod select;

use std::{collections::BTreeSet, sync::Arc};

use spec::{
    diagnostic::Diagnostic,
    execution::Execution,
    job::member_name,
    pipeline::Pipeline,
    stage::{LocalPath, Stage},
    yields::Yields,
};

/// A member's place in [`Graph::nodes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub usize);

/// All members of all stages, each after those it reads.
#[derive(Debug)]
pub struct Graph {
    /// The pipeline's name.
    pub pipeline: String,
    /// Members; what a member reads stands before it.
    pub nodes: Vec<Node>,
    /// Stages in the order of the file, with their members.
    pub stages: Vec<StageMembers>,
    /// What `select` stages may yield.
    pub yields: Yields,
}

/// One stage and its members.
#[derive(Debug)]
pub struct StageMembers {
    /// The stage's name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Its members, in the order of its axes.
    pub members: Vec<NodeId>,
}

/// One label on one axis. An axis is the stage that defines it and its name there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Coordinate {
    /// The stage that defines the axis; for what a `select` stage chose, that stage.
    pub origin: String,
    /// The axis's name.
    pub axis: String,
    /// The member's label on it.
    pub label: String,
    /// Whether it only says what a `select` stage must have chosen: then it joins members, but is in no name.
    pub chosen: bool,
}

impl Coordinate {
    /// A label on an axis that a stage defines.
    pub fn new(origin: &str, axis: &str, label: &str) -> Self {
        Self { origin: origin.to_owned(), axis: axis.to_owned(), label: label.to_owned(), chosen: false }
    }
}

/// What must have been chosen for a member to be done at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The member of the `select` stage.
    pub select: NodeId,
    /// The axis that it chooses on.
    pub axis: String,
    /// The label that must have won.
    pub label: String,
}

/// One member of a stage.
#[derive(Debug, Clone)]
pub struct Node {
    /// The stage's name.
    pub stage: String,
    /// Where it stands on its own and the followed axes.
    pub coordinates: Vec<Coordinate>,
    /// Its settings.
    pub settings: Arc<Stage>,
    /// How it runs.
    pub execution: Execution,
    /// What must have been chosen; of the members of one name that differ in this alone, one is done.
    pub conditions: Vec<Condition>,
    /// What it reads.
    pub inputs: Vec<NodeInput>,
    /// Files of the project that it reads.
    pub local_paths: Vec<LocalPath>,
}

/// One input of a member.
#[derive(Debug, Clone)]
pub struct NodeInput {
    /// The setting that names it.
    pub role: String,
    /// The members that are read: one, or all of those that are gathered.
    pub members: Vec<NodeId>,
    /// The part that the reference names.
    pub part: Option<String>,
    /// Whether the members' names matter: a report prints them.
    pub gathers: bool,
    /// The files that are read; everything where empty.
    pub files: Vec<String>,
}

impl Node {
    /// Axes and labels, for names and folders.
    pub fn labels(&self) -> Vec<(String, String)> {
        self.visible().map(|c| (c.axis.clone(), c.label.clone())).collect()
    }

    /// The coordinates that are in its name.
    pub fn visible(&self) -> impl Iterator<Item = &Coordinate> {
        self.coordinates.iter().filter(|coordinate| !coordinate.chosen)
    }

    /// The members that must be over before this one can begin, with repetitions.
    pub fn needs(&self) -> impl Iterator<Item = NodeId> + '_ {
        let selects = self.conditions.iter().map(|condition| condition.select);
        selects.chain(self.inputs.iter().flat_map(|input| input.members.iter().copied()))
    }

    /// The member's name: `tuned[method=dora,seed=0]`.
    pub fn name(&self) -> String {
        member_name(&self.stage, &self.labels())
    }
}

impl Graph {
    /// Expands a pipeline into members and edges.
    ///
    /// # Errors
    /// Every mistake that needs more than one stage to be seen: names that do not exist, cycles, axes that clash,
    /// selectors that select nothing, inputs of the wrong kind, splits that are not made.
    pub fn expand(pipeline: &Pipeline) -> Result<Self, Vec<Diagnostic>> {
        expand::expand(pipeline)
    }

    /// The members of a stage.
    pub fn members(&self, stage: &str) -> Option<&[NodeId]> {
        self.stages.iter().find(|members| members.name == stage).map(|members| members.members.as_slice())
    }

    /// The names of members: those that differ only in what was chosen have one.
    pub fn names(&self, members: &[NodeId]) -> BTreeSet<String> {
        members.iter().map(|id| self.node(*id).name()).collect()
    }

    /// A member by place.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// Places of all members, each after those it reads.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }
}
