//! Does a `select` stage: reads a figure of each member and names the best. Knows no other stage's settings.

use std::fs;

use serde_json::{Map, Value, json};
use spec::{
    files,
    job::{Failure, Job, JobInput},
    stage::{Mode, Select},
    suggest,
};

use crate::{Error, report::Member};

/// Leaves `selected.json`, and `summary.json` with the winning figure.
///
/// # Errors
/// When a member lacks the figure, when it is no number, or a file cannot be read or written.
pub fn run(job: &Job, settings: &Select) -> Result<(), Failure> {
    let members = job.inputs.get("from").map(Vec::as_slice).unwrap_or_default();
    let mut candidates = Vec::with_capacity(members.len());
    for member in members {
        candidates.push((member, figure(member, &settings.best.metric)?));
    }
    let better = |new: f64, old: f64| match settings.best.mode {
        Mode::Max => new > old,
        Mode::Min => new < old,
    };
    let mut best: Option<(&JobInput, f64)> = None;
    for (member, value) in &candidates {
        if best.is_none_or(|(_, leading)| better(*value, leading)) {
            best = Some((member, *value));
        }
    }
    let Some((winner, value)) = best else {
        return Err(Error::new("there is no member to choose from").at(&job.name).into());
    };
    let compared: Vec<Value> = candidates
        .iter()
        .map(|(member, value)| json!({ "coordinates": coordinates(member), "value": value }))
        .collect();
    let metric = &settings.best.metric;
    write(
        job,
        files::SELECTED,
        &json!({ "coordinates": coordinates(winner), "metric": metric, "value": value, "compared": compared }),
    )?;
    write(job, files::SUMMARY, &json!({ "headline": { metric: value } }))
}

fn coordinates(member: &JobInput) -> Value {
    Value::Object(
        member.coordinates.iter().map(|(axis, label)| (axis.clone(), label.as_str().into())).collect::<Map<_, _>>(),
    )
}

/// A figure of what a member left: of its scores, or of its training.
fn figure(input: &JobInput, metric: &str) -> Result<f64, Failure> {
    let member = Member::read(input)?;
    let scored = member.scored.map(|scored| scored.figures).unwrap_or_default();
    let trained = member.trained.map(|trained| trained.figures).unwrap_or_default();
    let headline = format!("headline.{metric}");
    let found = scored.get(metric).or_else(|| trained.get(&headline)).or_else(|| trained.get(metric));
    found.copied().ok_or_else(|| {
        let known = scored.keys().chain(trained.keys()).map(|name| name.strip_prefix("headline.").unwrap_or(name));
        Error::new(format!("`{}` has no figure `{metric}`", input.name()))
            .at(input.result.display())
            .hint(suggest::did_you_mean(metric, known))
            .into()
    })
}

fn write(job: &Job, name: &str, value: &Value) -> Result<(), Failure> {
    let path = job.result.join(name);
    fs::write(&path, format!("{value:#}\n")).map_err(|error| Error::io("write", &path, &error).into())
}
