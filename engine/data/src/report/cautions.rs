//! What a reader must know before believing a number: rows that were also used to choose, and learning rates that were tried
//! for one method and not for another. Knows how members were made; no figure.

use std::collections::{BTreeMap, BTreeSet};

use spec::{
    optimizer::Optimizer,
    reference::Reference,
    stage::{Keep, Stage, Train},
};

use super::{
    layout::{Group, Layout},
    member::Member,
    recount::evaluation,
};

/// The rows of a group whose scores are of data that also chose something, and what that was.
pub fn chosen_on(layout: &Layout<'_>, group: &Group<'_>, members: &[Member]) -> BTreeMap<usize, BTreeSet<String>> {
    let mut marks: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for (row, scored) in group.filled() {
        for member in scored {
            let Some(stage) = evaluation(member) else { continue };
            let mut said = BTreeSet::new();
            for other in members {
                let by = other.input.made.as_ref().map(|made| made.chosen_by.as_slice()).unwrap_or_default();
                let same = || evaluation(other).is_some_and(|other| same_rows(&other.data, &stage.data));
                if !by.is_empty() && (std::ptr::eq(other, *member) || same()) {
                    said.extend(by.iter().map(|name| format!("what “{name}” chose")));
                }
            }
            for run in layout.trained_for(&[member]) {
                if train(run).is_some_and(|train| kept_by(&train, &stage.data)) {
                    said.insert("the step that was kept".to_owned());
                }
            }
            if !said.is_empty() {
                marks.entry(row).or_default().extend(said);
            }
        }
    }
    marks
}

fn same_rows(one: &Reference, other: &Reference) -> bool {
    one.stage == other.stage && one.part == other.part
}

/// Whether a training kept a state, or stopped, by its rows of validation, and these are they.
fn kept_by(train: &Train, data: &Reference) -> bool {
    let Some(validate) = &train.validate else { return false };
    let decides = validate.patience.is_some() || !matches!(validate.keep, Keep::Last(_));
    decides && train.data.stage == data.stage && data.part.as_deref() == Some(validate.on.as_str())
}

fn train(run: &Member) -> Option<Box<Train>> {
    match Stage::deserialize(&run.input.kind, &run.input.made.as_ref()?.settings) {
        Some(Ok(Stage::Train(train))) => Some(train),
        _ => None,
    }
}

/// Says where one method was trained with more learning rates than another, which favours the best of its rows.
pub fn learning_rates(layout: &Layout<'_>) -> Option<String> {
    let mut tried: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for run in layout.trainings.iter().flat_map(|group| group.members.iter().flatten()) {
        let Some(train) = train(run) else { continue };
        let settings = run.input.made.as_ref().map(|made| &made.settings);
        let Some(adapter) = settings.and_then(|settings| method(settings.get("adapter")?)) else { continue };
        let Optimizer::AdamW(adamw) = &train.optimizer;
        tried.entry(adapter).or_default().insert(adamw.learning_rate.to_string());
    }
    let counts: BTreeSet<usize> = tried.values().map(BTreeSet::len).collect();
    if counts.len() < 2 {
        return None;
    }
    let said = tried.iter().map(|(method, rates)| {
        format!("{method} {} ({})", rates.len(), rates.iter().cloned().collect::<Vec<_>>().join(", "))
    });
    Some(format!(
        "Learning rates were not tried alike: {}. The best of many is better by chance alone.",
        said.collect::<Vec<_>>().join("; ")
    ))
}

/// What an `adapter` setting trains, in a word.
fn method(adapter: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    match adapter {
        Value::String(name) => Some(name.clone()),
        Value::Object(map) => map.keys().next().cloned(),
        Value::Array(list) => {
            let names: Option<Vec<String>> = list.iter().map(method).collect();
            names.map(|names| names.join(" + "))
        }
        _ => None,
    }
}
