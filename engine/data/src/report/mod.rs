//! The stage `report`: reads what other stages left and sets it side by side, as Markdown, as one HTML file and as
//! figures for other programs. Knows what a report holds; each file beside this one knows one part of it.

mod csv;
mod html;
mod inspection;
mod inspection_plots;
mod latency;
mod layout;
mod markdown;
mod member;
mod numbers;
mod plots;
mod samples;
mod svg;
mod table;
mod terminal;

use std::fs;

pub use member::Member;
pub use terminal::comparison;

use spec::{
    job::{Failure, Job, JobInput},
    stage,
};

use self::{
    layout::{Group, Layout},
    plots::Plot,
    samples::Sample,
    table::{Cell, Line, Sheet},
};
use crate::metrics::meaning;

/// What a report holds, whatever it is printed as.
struct Report<'a> {
    title: String,
    /// What was found, in sentences.
    summary: Vec<String>,
    rows: &'a [String],
    scores: Vec<Sheet>,
    /// The plots of each sheet of scores.
    score_plots: Vec<Vec<Plot>>,
    training: Vec<Sheet>,
    /// The plots of each sheet of training.
    loss_plots: Vec<Vec<Plot>>,
    samples: Vec<Sample>,
    samples_note: String,
    /// How long forward passes take.
    latency: Vec<Sheet>,
    /// What training did to weights.
    inspections: Vec<inspection::Section>,
    inputs: Sheet,
}

/// Writes `report.md`, `report.html` and `metrics.csv` into the job's result.
///
/// # Errors
/// When a file of an input cannot be read or is not what its stage leaves, or when a file cannot be written.
pub fn run(job: &Job, settings: &stage::Report) -> Result<(), Failure> {
    let mut members: Vec<Member> = Vec::new();
    for input in inputs(job) {
        if !members.iter().any(|member| member.input.name() == input.name()) {
            members.push(Member::read(input)?);
        }
    }
    let layout = Layout::new(&members, &settings.table);
    let inspections = inspection::sections(members.iter().map(|member| &member.input))?;
    if layout.rows.is_empty() && inspections.is_empty() {
        return Err(Failure {
            message: "nothing to report: no input left scores or a training history".to_owned(),
            place: Some(job.name.clone()),
            hint: Some("name `train`, `evaluate` or `inspect` stages in `inputs`".to_owned()),
        });
    }
    if let Some(figure) = &settings.table.rank_by
        && layout.groups.iter().all(|group| table::ranked(group, figure).is_empty())
    {
        let mut known: Vec<String> = layout.groups.iter().flat_map(table::headline).collect();
        known.dedup();
        return Err(Failure {
            message: format!("no row can be ranked by `{figure}`"),
            place: Some(format!("{}: table.rank_by", job.name)),
            hint: Some(format!("name one of the figures: {}", known.join(", "))),
        });
    }
    let report = Report { inspections, ..assemble(job, settings, &members, &layout)? };
    for (name, text) in [
        ("report.md", markdown::page(&report)),
        ("report.html", html::page(&report)),
        ("metrics.csv", csv::page(&members)),
    ] {
        let path = job.result.join(name);
        fs::write(&path, text).map_err(|error| Failure {
            message: format!("failed to write {}: {error}", path.display()),
            place: Some(path.display().to_string()),
            hint: Some("check the space and the permissions of the folder".to_owned()),
        })?;
    }
    Ok(())
}

/// The members of all inputs, in the order in which the pipeline file names their stages.
fn inputs(job: &Job) -> Vec<&JobInput> {
    let number = |role: &str| role.rsplit('.').next().and_then(|number| number.parse().ok()).unwrap_or(usize::MAX);
    let mut roles: Vec<(usize, &Vec<JobInput>)> =
        job.inputs.iter().map(|(role, members)| (number(role), members)).collect();
    roles.sort_by_key(|(number, _)| *number);
    roles.into_iter().flat_map(|(_, members)| members).collect()
}

/// The rows of the first group by name where they are few, else the stage's name.
fn title(job: &Job, layout: &Layout<'_>) -> String {
    let group = layout.groups.first().or(layout.trainings.first());
    let rows: Vec<&str> = group.into_iter().flat_map(Group::filled).map(|(row, _)| layout.rows[row].as_str()).collect();
    match rows.as_slice() {
        [first @ .., last] if (1..6).contains(&first.len()) => format!("{} and {last} compared", first.join(", ")),
        _ => job.name.clone(),
    }
}

fn assemble<'a>(
    job: &Job,
    settings: &stage::Report,
    members: &[Member],
    layout: &'a Layout<'_>,
) -> Result<Report<'a>, Failure> {
    let mut report = Report {
        title: title(job, layout),
        summary: Vec::new(),
        rows: &layout.rows,
        scores: Vec::new(),
        score_plots: Vec::new(),
        training: Vec::new(),
        loss_plots: Vec::new(),
        samples: Vec::new(),
        samples_note: String::new(),
        latency: layout.groups.iter().filter_map(|group| latency::sheet(layout, group)).collect(),
        inspections: Vec::new(),
        inputs: what_this_was(members),
    };
    for (index, group) in layout.groups.iter().enumerate() {
        // Others published their figures of one evaluation, not of its controls.
        let published = if index == 0 { settings.published.as_slice() } else { &[] };
        report.scores.push(table::scores(layout, group, published, &settings.table));
        report.score_plots.push(plots::scores(layout, group, published));
    }
    for group in &layout.trainings {
        report.training.push(table::training(layout, group));
        report.loss_plots.push(plots::losses(layout, group));
    }
    if let Some(group) = layout.groups.first()
        && let Some(figure) = table::headline(group).first()
    {
        let first = settings.table.rank_by.as_ref().filter(|by| !table::ranked(group, by).is_empty());
        report.summary.extend(ranking(layout, group, first.unwrap_or(figure)));
        report.samples = samples::samples(group, figure)?;
        let first =
            if group.members.iter().any(|members| members.len() > 1) { ", the first member of each row" } else { "" };
        report.samples_note =
            format!("From {}{first}: rows on which the methods differ, and rows that all got wrong.", group.name);
    }
    Ok(report)
}

/// The rows by a figure, in a sentence.
fn ranking(layout: &Layout<'_>, group: &Group<'_>, figure: &str) -> Option<String> {
    let unit = if meaning(figure)?.is_percent { " %" } else { "" };
    let decimals = table::percent_decimals(group);
    let said = |row: usize| {
        let cell = table::figure(&group.members[row], figure, decimals);
        let deviation = cell.deviation.map(|deviation| format!(" ± {deviation}")).unwrap_or_default();
        format!("{} {}{deviation}{unit}", layout.rows[row], cell.text)
    };
    let said: Vec<String> = table::ranked(group, figure).into_iter().map(said).collect();
    let title = table::titles(&[figure.to_owned()]).concat();
    Some(format!("{title} on {}, best first: {}.", group.name, said.join(", ")))
}

/// Every member with how much it scored or learned from.
fn what_this_was(members: &[Member]) -> Sheet {
    let mut sheet = Sheet {
        columns: ["Kind", "Rows scored", "Rows failed", "Time"].map(String::from).to_vec(),
        ..Sheet::default()
    };
    for member in members {
        let rows = member.scored.as_ref().and_then(|scored| scored.rows).map(numbers::count);
        let failed = member.scored.as_ref().map(|scored| numbers::count(scored.failed));
        let texts = [Some(member.input.kind.clone()), rows, failed, member.measured.seconds.map(numbers::duration)];
        let cells = texts.map(|text| Cell { text: text.unwrap_or_default(), ..Cell::default() }).to_vec();
        sheet.lines.push(Line { label: member.input.name(), source: None, row: None, cells });
    }
    sheet.notes.push("Every row of a split counts; a row that failed counts as wrong.".into());
    sheet
}

#[cfg(test)]
mod tests;
