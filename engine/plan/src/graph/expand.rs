//! From a pipeline file to members and edges: each stage's own combinations, joined with the axes of what it reads.

use std::collections::{BTreeSet, HashMap};

use rayon::prelude::*;
use spec::{
    diagnostic::Diagnostic,
    one_of::listed,
    pipeline::{Pipeline, StageText, Variant},
    reference::Reference,
    stage::{Beside, Input, Splits, WantedSplit},
    suggest,
    text::Side,
    yields::{Choice, Yield, Yields},
};

use super::{
    Condition, Coordinate, Graph, Node, NodeId, NodeInput, StageMembers,
    choices::{MayYield, may_yield},
    order::order,
    select::{Candidate, Row, SelectFault, join, select},
};

pub fn expand(pipeline: &Pipeline) -> Result<Graph, Vec<Diagnostic>> {
    let mut faults = Vec::new();
    let by_name = pipeline.yields_by_name();
    let typed: Vec<Result<Vec<Variant>, Vec<Diagnostic>>> =
        pipeline.stages.par_iter().map(|stage| pipeline.variants(stage, &by_name)).collect();
    let or_noted = |outcome: Result<Vec<Variant>, Vec<Diagnostic>>| {
        outcome.unwrap_or_else(|mut more| {
            faults.append(&mut more);
            Vec::new()
        })
    };
    let mut variants: Vec<Vec<Variant>> = typed.into_iter().map(or_noted).collect();
    let reads = edges(pipeline, &variants, &mut faults);
    let sorted = match order(&reads) {
        Ok(sorted) => sorted,
        Err(ring) => {
            faults.push(ring_fault(pipeline, &variants, &ring));
            return Err(faults);
        }
    };
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut growing = Growing {
        pipeline,
        nodes: Vec::new(),
        members: HashMap::new(),
        yields: Yields::default(),
        may_yield: HashMap::new(),
        faults,
    };
    for index in sorted {
        growing.stage(&pipeline.stages[index], std::mem::take(&mut variants[index]));
    }
    let Growing { nodes, mut members, yields, faults, .. } = growing;
    if !faults.is_empty() {
        return Err(faults);
    }
    let stages = pipeline.stages.iter().map(|stage| StageMembers {
        name: stage.name.clone(),
        kind: stage.kind.clone(),
        members: members.remove(stage.name.as_str()).unwrap_or_default(),
    });
    Ok(Graph { pipeline: pipeline.name.clone(), stages: stages.collect(), nodes, yields })
}

/// For each stage the stages it reads, by their places in the file.
fn edges(pipeline: &Pipeline, variants: &[Vec<Variant>], faults: &mut Vec<Diagnostic>) -> Vec<Vec<usize>> {
    let places: HashMap<&str, usize> =
        pipeline.stages.iter().enumerate().map(|(place, stage)| (stage.name.as_str(), place)).collect();
    let mut seen = BTreeSet::new();
    let mut reads = Vec::with_capacity(variants.len());
    for (stage, variants) in pipeline.stages.iter().zip(variants) {
        let used = pipeline.choices_used(stage);
        let mut inputs: BTreeSet<usize> =
            used.iter().filter_map(|(select, _)| places.get(select.as_str())).copied().collect();
        for variant in variants {
            for input in variant.stage.inputs() {
                for (position, reference) in input.references.iter().enumerate() {
                    match places.get(reference.stage.as_str()) {
                        Some(place) => {
                            inputs.insert(*place);
                        }
                        None if seen.insert((stage.name.clone(), reference.stage.clone())) => {
                            let names = pipeline.stages.iter().map(|stage| stage.name.as_str());
                            faults.push(
                                Diagnostic::new(
                                    format!("no stage is named `{}`", reference.stage),
                                    suggest::did_you_mean(&reference.stage, names),
                                )
                                .at(place_of(pipeline, stage, variant, &input, position)),
                            );
                        }
                        None => {}
                    }
                }
            }
        }
        reads.push(inputs.into_iter().collect());
    }
    reads
}

fn place_of(
    pipeline: &Pipeline,
    stage: &StageText,
    variant: &Variant,
    input: &Input<'_>,
    position: usize,
) -> Option<spec::diagnostic::Place> {
    let in_list = format!("{}.{position}", input.role);
    let path = if variant.is_list(&input.role) { in_list } else { input.role.clone() };
    pipeline.place(&stage.name, Some(variant), &path, Side::Value)
}

fn ring_fault(pipeline: &Pipeline, variants: &[Vec<Variant>], ring: &[usize]) -> Diagnostic {
    let names: Vec<&str> = ring.iter().map(|place| pipeline.stages[*place].name.as_str()).collect();
    let first = ring.first().copied().unwrap_or_default();
    let stage = &pipeline.stages[first];
    let next = names.get(1).or(names.first()).copied().unwrap_or_default();
    let place = variants[first].iter().find_map(|variant| {
        variant.stage.inputs().iter().find_map(|input| {
            let position = input.references.iter().position(|reference| reference.stage == next)?;
            place_of(pipeline, stage, variant, input, position)
        })
    });
    let message = match names.as_slice() {
        [only] => format!("`{only}` reads itself"),
        _ => format!("stages read each other in a ring: {} → {}", names.join(" → "), names[0]),
    };
    let place = place.or_else(|| pipeline.place(&stage.name, None, "kind", Side::Value));
    Diagnostic::new(message, "let one of them read something else").at(place)
}

/// The most members that a pipeline may have.
const MOST_MEMBERS: usize = 100_000;

struct Growing<'p> {
    pipeline: &'p Pipeline,
    nodes: Vec<Node>,
    members: HashMap<&'p str, Vec<NodeId>>,
    /// What `select` stages may yield, by stage, and by member.
    yields: Yields,
    may_yield: HashMap<&'p str, Vec<MayYield>>,
    faults: Vec<Diagnostic>,
}

impl<'p> Growing<'p> {
    fn stage(&mut self, stage: &'p StageText, mut variants: Vec<Variant>) {
        let mut members = Vec::new();
        if !self.pipeline.choices_used(stage).is_empty() {
            variants = self.pipeline.variants(stage, &self.yields).unwrap_or_else(|faults| {
                faults.into_iter().for_each(|fault| self.fault(fault));
                Vec::new()
            });
        }
        for variant in &variants {
            match self.variant(stage, variant) {
                Ok(nodes) => {
                    for node in nodes {
                        members.push(NodeId(self.nodes.len()));
                        self.nodes.push(node);
                    }
                }
                Err(fault) => self.fault(fault),
            }
        }
        if members.is_empty() && self.faults.is_empty() {
            let place = self.pipeline.place(&stage.name, None, "kind", Side::Value);
            let message = format!("nothing that could be chosen fits what `{}` reads", stage.name);
            let hint = "look at the `exclude` of what it reads, and at the axes of its `select` stages";
            self.fault(Diagnostic::new(message, hint).at(place));
        }
        if self.pipeline.selects().contains(&stage.name) {
            self.note_yields(stage, &members);
        }
        self.members.insert(&stage.name, members);
    }

    fn fault(&mut self, fault: Diagnostic) {
        if !self.faults.iter().any(|known| known.to_string() == fault.to_string()) {
            self.faults.push(fault);
        }
    }

    fn note_yields(&mut self, stage: &'p StageText, members: &[NodeId]) {
        let may: Vec<MayYield> = members.iter().map(|id| may_yield(self.pipeline, &self.nodes, *id)).collect();
        if may.iter().any(|may| may.rows.iter().all(Vec::is_empty)) {
            let message = format!("`{}` has nothing to choose from: what it compares has no axis left", stage.name);
            let hint = "give the stage it reads a `matrix`, or take an axis out of `per` or out of the selector";
            let place = self.pipeline.place(&stage.name, None, "from", Side::Value);
            self.fault(Diagnostic::new(message, hint).at(place));
        }
        self.yields.insert(&stage.name, may.iter().flat_map(|may| may.rows.iter().cloned()).collect());
        self.may_yield.insert(&stage.name, may);
    }

    /// For each `select` stage whose choice a variant needs, its members that may choose so.
    fn choosing<'v>(&self, variant: &'v Variant) -> Vec<(Vec<&'v Choice>, Vec<Candidate>)> {
        let mut selects: Vec<&str> = variant.choices.iter().map(|choice| choice.select.as_str()).collect();
        selects.dedup();
        let of_stage = |select: &str| {
            let choices: Vec<&Choice> = variant.choices.iter().filter(|choice| choice.select == select).collect();
            let holds = |row: &Yield| {
                choices
                    .iter()
                    .all(|choice| row.iter().any(|(axis, entry)| *axis == choice.axis && entry.label == choice.label))
            };
            let may = self.may_yield.get(select).into_iter().flatten();
            let candidates = may.filter(|may| may.rows.iter().any(holds)).map(|may| {
                let chosen = choices.iter().map(|choice| Coordinate {
                    chosen: true,
                    ..Coordinate::new(&choice.select, &choice.axis, &choice.label)
                });
                let own = self.nodes[may.select.0].coordinates.iter().cloned();
                Candidate { coordinates: own.chain(chosen).collect(), bound: (0, may.select) }
            });
            let candidates = candidates.collect();
            (choices, candidates)
        };
        selects.into_iter().map(of_stage).collect()
    }

    /// The members that one combination of a stage's own axes becomes.
    fn variant(&self, stage: &StageText, variant: &Variant) -> Result<Vec<Node>, Diagnostic> {
        let own = variant.coordinates.iter().map(|(axis, label)| Coordinate::new(&stage.name, axis, label));
        let mut rows = vec![Row { coordinates: own.collect(), bound: Vec::new() }];
        let choosing = self.choosing(variant);
        for (_, candidates) in &choosing {
            rows = self.joined(stage, rows, candidates)?;
        }
        let inputs = variant.stage.inputs();
        let per = variant.stage.per();
        let mut gathered: HashMap<usize, Vec<NodeId>> = HashMap::new();
        for (index, input) in inputs.iter().enumerate() {
            let mut candidates = Vec::new();
            for (position, reference) in input.references.iter().enumerate() {
                let place = || place_of(self.pipeline, stage, variant, input, position);
                let selected = self.selected(reference).map_err(|fault| fault.at(place()))?;
                self.check(stage, variant, input, reference, &selected)
                    .map_err(|fault| if fault.place.is_some() { fault } else { fault.at(place()) })?;
                if input.gathers {
                    gathered.entry(index).or_default().extend(selected);
                    continue;
                }
                let alternative = (input.references.len() > 1).then(|| {
                    Coordinate::new(&stage.name, &input.role, &alternative_label(&input.references, reference))
                });
                candidates.extend(selected.into_iter().map(|id| Candidate {
                    coordinates: alternative.iter().cloned().chain(self.followed(id, reference)).collect(),
                    bound: (position, id),
                }));
            }
            if input.gathers {
                continue;
            }
            rows = self.joined(stage, rows, &candidates)?;
            if let Some((axis, first, second)) = rows.iter().find_map(|row| clash(&row.coordinates)) {
                return Err(Diagnostic::new(
                    format!("two different axes are named `{axis}`: one of `{first}`, one of `{second}`"),
                    format!(
                        "rename one of them, for example `{first}_{axis}` in `{first}`, or fix it: `{second}[{axis}=…]`"
                    ),
                )
                .at(place_of(self.pipeline, stage, variant, input, 0)));
            }
            if rows.is_empty() && variant.choices.is_empty() {
                return Err(Diagnostic::new(
                    format!("no member of `{}` fits the other inputs of `{}`", input.references[0].stage, stage.name),
                    "their shared axes have no label in common; look at `exclude` and the selectors",
                )
                .at(place_of(self.pipeline, stage, variant, input, 0)));
            }
        }
        self.check_axes(stage, variant, gathered.values().flatten())?;
        if !per.is_empty() {
            let all: Vec<NodeId> = gathered.values().flatten().copied().collect();
            rows = self.joined(stage, rows, &self.labels_on(&all, per))?;
        }
        let settings = &variant.stage;
        Ok(rows
            .into_iter()
            .map(|row| {
                let mut bound = row.bound.into_iter();
                let selects: Vec<NodeId> = bound.by_ref().take(choosing.len()).map(|(_, id)| id).collect();
                let conditions = selects.iter().zip(&choosing).flat_map(|(select, (choices, _))| {
                    choices.iter().map(|choice| Condition {
                        select: *select,
                        axis: choice.axis.clone(),
                        label: choice.label.clone(),
                    })
                });
                let conditions = conditions.collect();
                let agrees = |id: &NodeId| {
                    let theirs = &self.nodes[id.0].coordinates;
                    row.coordinates.iter().all(|own| {
                        theirs.iter().all(|c| c.origin != own.origin || c.axis != own.axis || c.label == own.label)
                    })
                };
                let inputs = inputs.iter().enumerate().map(|(index, input)| {
                    let (position, members) = match gathered.get(&index) {
                        Some(members) => (0, members.iter().copied().filter(agrees).collect()),
                        None => bound.next().map_or((0, Vec::new()), |(position, id)| (position, vec![id])),
                    };
                    NodeInput {
                        role: input.role.clone(),
                        members,
                        part: input.references[position].part.clone(),
                        gathers: input.gathers,
                        files: input.files.clone(),
                    }
                });
                Node {
                    stage: stage.name.clone(),
                    coordinates: row.coordinates.clone(),
                    inputs: inputs.collect(),
                    conditions,
                    local_paths: settings.local_paths(),
                    settings: settings.clone(),
                    execution: variant.execution.clone(),
                }
            })
            .collect())
    }

    /// Each combination of labels that members have on these axes, to be joined.
    fn labels_on(&self, members: &[NodeId], axes: &[String]) -> Vec<Candidate> {
        let mut found: Vec<Candidate> = Vec::new();
        for id in members {
            let coordinates: Vec<Coordinate> =
                self.nodes[id.0].visible().filter(|c| axes.contains(&c.axis)).cloned().collect();
            if !found.iter().any(|known| known.coordinates == coordinates) {
                found.push(Candidate { coordinates, bound: (0, *id) });
            }
        }
        found
    }

    /// Rows with one more input, unless the pipeline would have too many members.
    fn joined(&self, stage: &StageText, rows: Vec<Row>, candidates: &[Candidate]) -> Result<Vec<Row>, Diagnostic> {
        let joined = join(rows, candidates, MOST_MEMBERS);
        if self.nodes.len() + joined.len() <= MOST_MEMBERS {
            return Ok(joined);
        }
        let message = format!("with `{}`, the pipeline has more than {MOST_MEMBERS} members", stage.name);
        let hint = "the axes of what a stage reads are crossed: fix some of them with a selector, `stage[axis=label]`";
        Err(Diagnostic::new(message, hint).at(self.pipeline.place(&stage.name, None, "kind", Side::Value)))
    }

    fn selected(&self, reference: &Reference) -> Result<Vec<NodeId>, Diagnostic> {
        let members = self.members.get(reference.stage.as_str()).map(Vec::as_slice).unwrap_or_default();
        // Without members because of a mistake, which is told.
        if members.is_empty() && !self.faults.is_empty() {
            return Ok(Vec::new());
        }
        select(&self.nodes, members, reference).map_err(|fault| match fault {
            SelectFault::NoAxis(axis, known) => {
                let message = format!("`{}` has no axis `{axis}`", reference.stage);
                let hint = if known.is_empty() {
                    "it has no axes: leave the selector out".into()
                } else {
                    suggest::did_you_mean(&axis, &known)
                };
                Diagnostic::new(message, hint)
            }
            SelectFault::NoLabel(axis, label, known) => Diagnostic::new(
                format!("the axis `{axis}` of `{}` has no `{label}`", reference.stage),
                suggest::did_you_mean(&label, &known),
            ),
            SelectFault::Nothing => Diagnostic::new(
                format!("`{reference}` selects nothing: no member has all of these labels"),
                "look at the `exclude` of that stage",
            ),
        })
    }

    /// The axes of a member that whoever reads it follows: all but those that the reference fixes.
    fn followed<'a>(&'a self, id: NodeId, reference: &'a Reference) -> impl Iterator<Item = Coordinate> + 'a {
        self.nodes[id.0].coordinates.iter().filter(|c| c.chosen || !reference.selector.contains_key(&c.axis)).cloned()
    }

    /// Whether what a reference means can stand where it stands.
    fn check(
        &self,
        stage: &StageText,
        variant: &Variant,
        input: &Input<'_>,
        reference: &Reference,
        selected: &[NodeId],
    ) -> Result<(), Diagnostic> {
        let Some(first) = selected.first() else { return Ok(()) };
        let kind = self.nodes[first.0].settings.kind();
        if !input.kinds.is_empty() && kind != "command" && !input.kinds.contains(&kind) {
            return Err(Diagnostic::new(
                format!(
                    "`{}` is a stage of kind `{kind}`, which cannot be the `{}` of `{}`",
                    reference.stage, input.role, stage.kind
                ),
                format!("name a stage of kind {}", listed(input.kinds)),
            ));
        }
        if let Some(method) = selected.iter().filter(|_| input.merges).find_map(|id| self.beside(*id)) {
            return Err(Diagnostic::new(
                format!(
                    "what `{method}` adds to the model of `{}` is no part of its weights, so it cannot be merged",
                    reference.stage
                ),
                "evaluate the stage that trained it: that needs no merging",
            ));
        }
        for id in selected {
            let Some(known) = self.splits(*id) else { continue };
            if let Some(WantedSplit { name, path, side, .. }) =
                input.splits.iter().find(|split| !known.contains(&split.name.as_str()))
            {
                return Err(Diagnostic::new(
                    format!(
                        "`{}` has no {} `{name}`",
                        reference.stage,
                        if kind == "command" { "output" } else { "split" }
                    ),
                    suggest::did_you_mean(name, known.iter().copied()),
                )
                .at(self.pipeline.place(&stage.name, Some(variant), path, *side)));
            }
            let drops = |split: &&WantedSplit| split.is_whole && self.nodes[id.0].settings.drops(&split.name);
            if let Some(WantedSplit { name, path, side, .. }) = input.splits.iter().find(drops) {
                let from = &reference.stage;
                return Err(Diagnostic::new(
                    format!("`{from}` drops rows of `{name}` that are too long, and a row that is scored is never dropped"),
                    format!("write `overflow: {{{name}: {{truncate: FIELD}}}}` in `{from}`; a row that cannot fit is scored as failed"),
                )
                .at(self.pipeline.place(&stage.name, Some(variant), path, *side)));
            }
        }
        Ok(())
    }

    /// Whether the axes that settings name are axes of what is gathered.
    fn check_axes<'a>(
        &self,
        stage: &StageText,
        variant: &Variant,
        gathered: impl Iterator<Item = &'a NodeId>,
    ) -> Result<(), Diagnostic> {
        let coordinates = gathered.flat_map(|id| self.nodes[id.0].visible());
        let known: BTreeSet<&str> = coordinates.map(|coordinate| coordinate.axis.as_str()).collect();
        match variant.stage.axes().iter().find(|(_, axis)| !known.contains(axis)) {
            None => Ok(()),
            Some((path, axis)) => {
                let hint = if known.is_empty() {
                    "none of its inputs has axes: leave it out".into()
                } else {
                    suggest::did_you_mean(axis, known)
                };
                Err(Diagnostic::new(format!("no input of `{}` has an axis `{axis}`", stage.name), hint)
                    .at(self.pipeline.place(&stage.name, Some(variant), path, Side::Value)))
            }
        }
    }

    /// What a member leaves that cannot be merged, where its settings or those of its input tell.
    fn beside(&self, id: NodeId) -> Option<&str> {
        let mut node = &self.nodes[id.0];
        loop {
            match node.settings.beside() {
                Beside::Nothing => return None,
                Beside::Method(name) => return Some(name),
                Beside::Of(role) => {
                    let input = node.inputs.iter().find(|input| input.role == role)?.members.first()?;
                    node = &self.nodes[input.0];
                }
            }
        }
    }

    /// The splits that a member leaves, where its settings or those of its input tell.
    fn splits(&self, id: NodeId) -> Option<Vec<&str>> {
        let node = &self.nodes[id.0];
        match node.settings.splits() {
            Splits::Unknown => None,
            Splits::Named(names) => Some(names),
            Splits::Of(role) => {
                let input = node.inputs.iter().find(|input| input.role == role)?.members.first()?;
                self.splits(*input)
            }
        }
    }
}

/// What an alternative is called on its axis: its stage, or the whole reference where two name the same stage.
fn alternative_label(all: &[&Reference], one: &Reference) -> String {
    let same_stage = all.iter().filter(|other| other.stage == one.stage).count();
    if same_stage > 1 { one.to_string() } else { one.stage.clone() }
}

/// Two coordinates of the same name but different origin.
fn clash(coordinates: &[Coordinate]) -> Option<(String, String, String)> {
    let visible: Vec<&Coordinate> = coordinates.iter().filter(|coordinate| !coordinate.chosen).collect();
    visible.iter().enumerate().find_map(|(index, first)| {
        let second = visible[index + 1..].iter().find(|c| c.axis == first.axis && c.origin != first.origin)?;
        Some((first.axis.clone(), first.origin.clone(), second.origin.clone()))
    })
}
