//! The stage `report`: reads what other stages left and sets it side by side, as Markdown, as one HTML file and as
//! figures for other programs. Knows what a report holds; each file beside this one knows one part of it.

mod axis;
mod cautions;
mod chart;
mod constant;
mod csv;
mod differences;
mod facts;
mod html;
mod inspection;
mod inspection_plots;
mod latency;
mod layout;
mod lengths;
mod markdown;
mod member;
mod named;
mod numbers;
mod plots;
mod recount;
mod samples;
mod svg;
mod table;
mod terminal;
mod tradeoffs;
mod widths;

use std::{collections::BTreeMap, fs};

pub use member::Member;
pub use terminal::comparison;

use spec::{
    job::{Failure, Job, JobInput},
    stage,
};

use self::{
    constant::Constant,
    facts::Facts,
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
    sections: Vec<Section>,
    samples: Vec<Sample>,
    samples_note: String,
    /// Every member that was looked at.
    members: Sheet,
    facts: Vec<Facts>,
}

/// Tables and plots under a heading.
#[derive(Debug)]
struct Section {
    title: String,
    parts: Vec<Part>,
}

/// A table with the plots that belong to it.
#[derive(Debug)]
struct Part {
    sheet: Sheet,
    plots: Vec<Plot>,
}

/// Writes `report.md` with its `plots/`, `report.html` and `metrics.csv` into the job's result.
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
    named::check(job, settings, &members, &layout)?;
    let report = assemble(job, settings, &members, &layout, inspections)?;
    write(job, "report.md", &markdown::page(&report))?;
    write(job, "report.html", &html::page(&report))?;
    write(job, "metrics.csv", &csv::page(&members))?;
    let mut files = PlotFiles::default();
    for plot in report.sections.iter().flat_map(|section| &section.parts).flat_map(|part| &part.plots) {
        write(job, &files.next(plot), &svg::alone(&plot.svg))?;
    }
    Ok(())
}

fn write(job: &Job, name: &str, text: &str) -> Result<(), Failure> {
    let path = job.result.join(name);
    let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
    folder.and_then(|()| fs::write(&path, text)).map_err(|error| Failure {
        message: format!("failed to write {}: {error}", path.display()),
        place: Some(path.display().to_string()),
        hint: Some("check the space and the permissions of the folder".to_owned()),
    })
}

/// The files of plots beside `report.md`, named by their titles, each another.
#[derive(Debug, Default)]
struct PlotFiles(BTreeMap<String, usize>);

impl PlotFiles {
    /// The file of the plot that follows in the order of the report.
    fn next(&mut self, plot: &Plot) -> String {
        let mut name = String::new();
        for c in plot.title.chars() {
            match c {
                c if c.is_ascii_alphanumeric() => name.push(c.to_ascii_lowercase()),
                _ if name.ends_with('-') => {}
                _ => name.push('-'),
            }
        }
        let name = name.trim_matches('-');
        let count = self.0.entry(name.to_owned()).and_modify(|count| *count += 1).or_insert(1);
        if *count == 1 { format!("plots/{name}.svg") } else { format!("plots/{name}-{count}.svg") }
    }
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
    inspections: Vec<Section>,
) -> Result<Report<'a>, Failure> {
    let mut report = Report {
        title: title(job, layout),
        summary: Vec::new(),
        rows: &layout.rows,
        sections: Vec::new(),
        samples: Vec::new(),
        samples_note: String::new(),
        members: what_this_was(members),
        facts: facts::settings(layout),
    };
    let constants = layout.groups.iter().map(|group| Constant::of(group, &settings.baselines));
    let constants = constants.collect::<Result<Vec<_>, _>>()?;
    constant::check(job, &settings.baselines, &constants)?;
    let mut scores = Vec::new();
    for (index, (group, constant)) in layout.groups.iter().zip(&constants).enumerate() {
        // Others published their figures of one evaluation, not of its controls.
        let published = if index == 0 { settings.published.as_slice() } else { &[] };
        let mut sheet = table::scores(layout, group, published, &constant.answers, &settings.table);
        let marks = cautions::chosen_on(layout, group, members);
        table::mark(&mut sheet, &marks);
        let names = table::headline(group);
        let first = settings.table.rank_by.clone().filter(|by| !table::ranked(group, by).is_empty());
        let first = first.or_else(|| names.first().cloned());
        let mut plots = plots::scores(layout, group, published)?;
        if let Some(first) = &first {
            plots.extend(tradeoffs::by_number(group, first, &settings.table)?);
            plots.extend(tradeoffs::costs(layout, group, first)?);
            report.summary.extend(ranking(layout, group, first).filter(|_| index == 0));
            report.summary.extend(constant::sentence(layout, group, first, constant));
        }
        let mut parts = vec![Part { sheet, plots: Vec::new() }];
        let against = settings.table.against.as_ref().and_then(|name| layout.rows.iter().position(|row| row == name));
        let best = || table::ranked(group, first.as_ref()?).first().copied();
        if let Some(against) = against.filter(|row| !group.members[*row].is_empty()).or_else(best)
            && let Some(found) = differences::differences(group, &names, against)?
        {
            if index == 0 {
                report
                    .summary
                    .extend(first.as_ref().and_then(|first| differences::sentence(layout, group, first, &found)));
            }
            parts.push(Part { sheet: differences::sheet(layout, group, &names, &found), plots: Vec::new() });
        }
        if let Some(last) = parts.last_mut() {
            last.plots = plots;
        }
        scores.extend(parts);
        if index == 0
            && let Some(first) = &first
        {
            report.samples = samples::samples(group, first)?;
            let several = group.members.iter().any(|members| members.len() > 1);
            let whose = if several { ", the first member of each row" } else { "" };
            report.samples_note = format!("From {}{whose}.", group.name);
        }
    }
    report.summary.extend(cautions::learning_rates(layout));
    report.summary.extend(members.iter().filter_map(chosen));
    let mut training = Vec::new();
    for group in &layout.trainings {
        training.push(Part { sheet: table::training(layout, group), plots: plots::losses(layout, group)? });
    }
    let mut latency = Vec::new();
    for group in &layout.groups {
        let plots = latency::plot(layout, group)?.into_iter().collect();
        latency.extend(latency::sheet(layout, group).map(|sheet| Part { sheet, plots }));
    }
    let lengths = lengths::sheet(members)?.map(|(sheet, plots)| Part { sheet, plots });
    let sections = [
        ("Scores", scores),
        ("Training", training),
        ("Forward time", latency),
        ("Lengths", lengths.into_iter().collect()),
    ];
    let sections = sections.into_iter().filter(|(_, parts): &(_, Vec<Part>)| !parts.is_empty());
    report.sections = sections.map(|(title, parts)| Section { title: title.to_owned(), parts }).collect();
    report.sections.extend(inspections);
    report.facts.push(facts::again(job, members));
    Ok(report)
}

/// What a `select` stage chose, in a sentence.
fn chosen(member: &Member) -> Option<String> {
    let selected = member.selected.as_ref()?;
    let won: Vec<String> = selected.coordinates.iter().map(|(axis, label)| format!("{axis} {label}")).collect();
    let figure = table::titles(std::slice::from_ref(&selected.metric)).concat();
    let value = numbers::plain(selected.value);
    Some(format!("{} chose {} by {figure} ({value}).", member.input.name(), won.join(", ")))
}

/// The most rows that a sentence names.
const NAMED: usize = 6;

/// The rows by a figure, in a sentence.
fn ranking(layout: &Layout<'_>, group: &Group<'_>, figure: &str) -> Option<String> {
    let unit = if meaning(figure)?.is_percent { " %" } else { "" };
    let decimals = table::percent_decimals(group);
    let said = |row: usize| {
        let cell = table::figure(&group.members[row], figure, decimals);
        let deviation = cell.deviation.map(|deviation| format!(" ± {deviation}")).unwrap_or_default();
        format!("{} {}{deviation}{unit}", layout.rows[row], cell.text)
    };
    let ranked = table::ranked(group, figure);
    let first: Vec<String> = ranked.iter().take(NAMED).copied().map(said).collect();
    let more = match ranked.len() - first.len() {
        0 => String::new(),
        more => format!(", and {more} more rows"),
    };
    let title = table::titles(&[figure.to_owned()]).concat();
    Some(format!("{title} on {}, best first: {}{more}.", group.name, first.join(", ")))
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
        sheet.lines.push(Line { label: member.input.name(), aside: None, row: None, cells });
    }
    sheet.notes.push("Every row of a split counts; a row that failed counts as wrong.".into());
    sheet
}

#[cfg(test)]
mod tests;
