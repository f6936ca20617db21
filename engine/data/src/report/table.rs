//! The tables of a report as text in cells, whatever they are printed as. Knows what a column means; knows no
//! Markdown and no HTML.

use std::collections::{BTreeMap, BTreeSet};

use spec::{
    observed::TrainingTimes,
    stage::{Published, Table},
};

use super::{
    layout::{Group, Layout},
    member::Member,
    numbers,
};
use crate::metrics::{Figures, Meaning, meaning};

/// A table ready to be printed.
#[derive(Debug, Default)]
pub struct Sheet {
    /// What is above it.
    pub title: String,
    /// The columns after the first, which holds the rows' names.
    pub columns: Vec<String>,
    /// The rows.
    pub lines: Vec<Line>,
    /// What is below it.
    pub notes: Vec<String>,
}

impl Sheet {
    /// Puts rows into another order, each with the figures of others that belong to it; those without a place in it stay
    /// behind, in theirs. Rows with a place are numbered.
    fn rank(&mut self, order: &[&str]) {
        let place = |label: &str| order.iter().position(|other| *other == label).unwrap_or(usize::MAX);
        self.lines.sort_by_key(|line| place(&line.label));
        self.columns.insert(0, "Rank".to_owned());
        for line in &mut self.lines {
            let rank = Some(place(&line.label)).filter(|place| *place < order.len() && line.aside.is_none());
            line.cells.insert(0, Cell::of(rank.map(|place| (place + 1).to_string())));
        }
    }
}

/// A row of a table.
#[derive(Debug)]
pub struct Line {
    /// Its name.
    pub label: String,
    /// Whose figures these are, where they are not of this pipeline: where others published them, or what was answered.
    pub aside: Option<String>,
    /// Which row of the report it is, for its colour.
    pub row: Option<usize>,
    /// A cell for each column.
    pub cells: Vec<Cell>,
}

/// A cell of a table.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    /// The figure; empty where there is none.
    pub text: String,
    /// The standard deviation.
    pub deviation: Option<String>,
    /// What else is said of it, in small: an interval, a difference.
    pub more: Option<String>,
    /// Whether it is the best of its column.
    pub is_best: bool,
}

impl Line {
    /// A row of the report.
    pub fn own(layout: &Layout<'_>, row: usize, cells: Vec<Cell>) -> Self {
        Self { label: layout.rows[row].clone(), aside: None, row: Some(row), cells }
    }
}

impl Cell {
    /// A text, or nothing.
    pub fn of(text: Option<String>) -> Self {
        Self { text: text.unwrap_or_default(), ..Self::default() }
    }
}

/// The figures that a group shows, in the order in which its members name them.
pub fn headline(group: &Group<'_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for scored in group.members.iter().flatten().filter_map(|member| member.scored.as_ref()) {
        for (name, _) in &scored.headline {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
    }
    names
}

/// A figure of all members of a cell.
pub fn values(members: &[&Member], name: &str) -> Vec<f64> {
    members.iter().filter_map(|member| member.scored.as_ref()?.figures.get(name).copied()).collect()
}

/// A figure's name in words; where two of them share their words, with the metric's name.
pub fn titles(names: &[String]) -> Vec<String> {
    let words = |name: &String| meaning(name).map_or(name.clone(), |meaning| meaning.title.to_owned());
    names
        .iter()
        .map(|name| match names.iter().filter(|other| words(other) == words(name)).count() {
            1 => words(name),
            _ => format!("{} ({})", words(name), name.split('.').next().unwrap_or(name)),
        })
        .collect()
}

/// Decimals of percentages: a score of few rows has no second one.
pub fn percent_decimals(group: &Group<'_>) -> usize {
    let fewest = group.members.iter().flatten().filter_map(|member| member.scored.as_ref()?.rows).min();
    if fewest.unwrap_or_default() >= 1000 { 2 } else { 1 }
}

/// A figure as text.
pub fn written(meaning: Option<Meaning>, value: f64, percent_decimals: usize) -> String {
    match meaning {
        Some(Meaning { is_percent: true, .. }) => numbers::fixed(value, percent_decimals),
        _ => numbers::plain(value),
    }
}

/// The rows of a group by the mean of a figure, the best first; of equal ones the first of the file. Nothing where the figure
/// is none that can be ranked by, or no row has it.
pub fn ranked(group: &Group<'_>, figure: &str) -> Vec<usize> {
    let Some(meaning) = meaning(figure) else { return Vec::new() };
    let mut ranked: Vec<(usize, f64)> =
        group.filled().filter_map(|(row, members)| Some((row, mean(members, figure)?))).collect();
    ranked.sort_by(|(_, a), (_, b)| if meaning.more_is_better { b.total_cmp(a) } else { a.total_cmp(b) });
    ranked.into_iter().map(|(row, _)| row).collect()
}

/// The scores of a group; beside the scores of the report's first group stands what their training cost.
pub fn scores(
    layout: &Layout<'_>,
    group: &Group<'_>,
    published: &[Published],
    always: &[(String, Figures)],
    table: &Table,
) -> Sheet {
    let is_first = layout.groups.first().is_some_and(|first| first.name == group.name);
    let decimals = percent_decimals(group);
    let mut names = headline(group);
    for figure in published.iter().flat_map(|from| from.rows.values()).flat_map(|row| row.keys()) {
        if !names.contains(figure) {
            names.push(figure.clone());
        }
    }
    let has_percent = names.iter().any(|name| meaning(name).is_some_and(|meaning| meaning.is_percent));
    let has_repeats = group.members.iter().any(|members| members.len() > 1);
    let costs = is_first && group.filled().any(|(_, members)| !layout.trained_for(members).is_empty());
    let mut sheet = Sheet { title: group.name.clone(), ..Sheet::default() };
    sheet.columns = titles(&names);
    if has_repeats {
        sheet.columns.push("n".into());
    }
    if costs {
        sheet.columns.extend(["Trainable parameters", "Training time", "Peak memory"].map(String::from));
    }
    for (row, members) in group.filled() {
        let mut cells: Vec<Cell> = names.iter().map(|name| figure(members, name, decimals)).collect();
        if has_repeats {
            cells.push(Cell::of(Some(members.len().to_string())));
        }
        if costs {
            let runs = layout.trained_for(members);
            cells.extend([parameters(&runs), time(&runs), memory(&runs)]);
        }
        sheet.lines.push(Line::own(layout, row, cells));
        let beside = |from: &&Published| from.rows.contains_key(&layout.rows[row]);
        let ours: Vec<Option<f64>> = names.iter().map(|name| mean(members, name)).collect();
        for from in published.iter().filter(beside) {
            sheet.lines.push(published_line(&layout.rows[row], from, &names, &ours, sheet.columns.len(), decimals));
        }
    }
    for from in published {
        for label in from.rows.keys().filter(|label| !is_shown(label, layout, group)) {
            sheet.lines.push(published_line(label, from, &names, &[], sheet.columns.len(), decimals));
        }
    }
    for (said, figures) in always {
        let cell = |name: &String| Cell::of(figures.get(name).map(|value| written(meaning(name), *value, decimals)));
        let mut cells: Vec<Cell> = names.iter().map(cell).collect();
        cells.resize(sheet.columns.len(), Cell::default());
        let aside = Some("the same answer to every row".to_owned());
        sheet.lines.push(Line { label: format!("always {said}"), aside, row: None, cells });
    }
    mark_best(&mut sheet, group, layout, &names);
    let figure = table.rank_by.as_deref().unwrap_or_default();
    let order: Vec<&str> = ranked(group, figure).into_iter().map(|row| layout.rows[row].as_str()).collect();
    if !order.is_empty() {
        sheet.rank(&order);
        let title = titles(&[figure.to_owned()]).concat();
        sheet.notes.push(format!("Ranked by {title}."));
    }
    if has_percent {
        sheet.notes.push("Scores are percentages; the best of each column is bold.".into());
    }
    if has_repeats {
        let axes = match table.mean_over.as_slice() {
            [] => "the members of a row".to_owned(),
            axes => axes.join(" and "),
        };
        let costs = if costs { " Time is their mean, memory the most of them." } else { "" };
        sheet.notes.push(format!("Mean ± standard deviation over {axes}, of n members each.{costs}"));
    }
    let has_interval = |line: &Line| line.aside.is_none() && line.cells.iter().any(|cell| cell.more.is_some());
    if sheet.lines.iter().any(has_interval) {
        sheet.notes.push("In small: the 95 % interval over the scored rows.".into());
    }
    sheet.notes.extend(failures(layout, group));
    if costs {
        let runs = group.filled().flat_map(|(_, members)| layout.trained_for(members));
        sheet.notes.extend(machines(runs));
    }
    sheet
}

fn is_shown(label: &str, layout: &Layout<'_>, group: &Group<'_>) -> bool {
    layout.rows.iter().position(|row| row == label).is_some_and(|row| !group.members[row].is_empty())
}

fn published_line(
    label: &str,
    from: &Published,
    names: &[String],
    ours: &[Option<f64>],
    columns: usize,
    decimals: usize,
) -> Line {
    let cell = |(index, name): (usize, &String)| {
        let Some(theirs) = from.rows.get(label).and_then(|figures| figures.get(name)) else { return Cell::default() };
        let written = |value: f64| written(meaning(name), value, decimals.max(2));
        let ours = ours.get(index).copied().flatten().map(|ours| format!("ours {}", signed(written(ours - theirs))));
        Cell { text: written(*theirs), more: ours, ..Cell::default() }
    };
    let mut cells: Vec<Cell> = names.iter().enumerate().map(cell).collect();
    cells.resize(columns, Cell::default());
    Line { label: label.to_owned(), aside: Some(format!("published: {}", from.source)), row: None, cells }
}

/// A difference as text, with its sign.
pub fn signed(text: String) -> String {
    match text.strip_prefix('-') {
        Some(digits) => format!("−{digits}"),
        None if text.bytes().all(|byte| matches!(byte, b'0' | b'.')) => text,
        None => format!("+{text}"),
    }
}

/// The mean of a figure over members.
pub fn mean(members: &[&Member], name: &str) -> Option<f64> {
    numbers::mean_and_deviation(&values(members, name)).map(|(mean, _)| mean)
}

/// The mean of a figure over members, with its deviation where there are several.
pub fn figure(members: &[&Member], name: &str, decimals: usize) -> Cell {
    let Some((mean, deviation)) = numbers::mean_and_deviation(&values(members, name)) else { return Cell::default() };
    let meaning = meaning(name);
    let more = match members {
        [member] => member.scored.as_ref().and_then(|scored| scored.interval(name)),
        _ => None,
    };
    let (least, most) = if meaning.is_some_and(|m| m.is_percent) { (0.0, 100.0) } else { (f64::MIN, f64::MAX) };
    let end = |value: f64| written(meaning, value.clamp(least, most), decimals).replace('-', "−");
    let more = more.map(|(low, high)| format!("{} to {}", end(low), end(high)));
    let deviation = deviation.map(|deviation| match meaning {
        Some(Meaning { is_percent: true, .. }) => numbers::fixed(deviation, decimals),
        _ => numbers::fixed(deviation, numbers::decimals(mean)),
    });
    Cell { text: written(meaning, mean, decimals), deviation, more, ..Cell::default() }
}

/// Marks the best mean of each column, ties too; not where all rows are equal, nor figures of others.
fn mark_best(sheet: &mut Sheet, group: &Group<'_>, layout: &Layout<'_>, names: &[String]) {
    for (column, name) in names.iter().enumerate() {
        let Some(meaning) = meaning(name) else { continue };
        let means: Vec<(&str, f64)> = group
            .filled()
            .filter_map(|(row, members)| {
                Some((layout.rows[row].as_str(), numbers::mean_and_deviation(&values(members, name))?.0))
            })
            .collect();
        let better = |a: f64, b: f64| if meaning.more_is_better { a > b } else { a < b };
        let Some(best) = means.iter().map(|(_, mean)| *mean).reduce(|a, b| if better(b, a) { b } else { a }) else {
            continue;
        };
        if means.iter().all(|(_, mean)| *mean == best) {
            continue;
        }
        for line in sheet.lines.iter_mut().filter(|line| line.aside.is_none()) {
            line.cells[column].is_best = means.iter().any(|(label, mean)| *label == line.label && *mean == best);
        }
    }
}

/// Marks the rows whose scored rows also chose something, and says what.
pub fn mark(sheet: &mut Sheet, marks: &BTreeMap<usize, BTreeSet<String>>) {
    for line in &mut sheet.lines {
        if line.row.is_some_and(|row| marks.contains_key(&row)) {
            line.label.push_str(" †");
        }
    }
    let said: BTreeSet<&str> = marks.values().flatten().map(String::as_str).collect();
    if !said.is_empty() {
        let said = said.into_iter().collect::<Vec<_>>().join(", ");
        sheet.notes.push(format!("† Scored on rows that also decided {said}: such a figure is too good."));
    }
}

/// What training cost and where it ended, one row a method.
pub fn training(layout: &Layout<'_>, group: &Group<'_>) -> Sheet {
    let mut sheet = Sheet { title: group.name.clone(), ..Sheet::default() };
    sheet.columns = [
        "Trainable parameters",
        "Steps",
        "Last training loss",
        "Lowest validation loss",
        "Tokens/s",
        "Training time",
        "Time by part",
        "Peak memory",
    ]
    .map(String::from)
    .to_vec();
    for (row, runs) in group.filled() {
        let mean = |figure: &dyn Fn(&Member) -> Option<f64>| {
            let values: Vec<f64> = runs.iter().filter_map(|run| figure(run)).collect();
            numbers::mean_and_deviation(&values)
        };
        let loss = |figure: &dyn Fn(&Member) -> Option<f64>| match mean(figure) {
            Some((mean, deviation)) => Cell {
                text: numbers::plain(mean),
                deviation: deviation.map(|deviation| numbers::fixed(deviation, numbers::decimals(mean))),
                ..Cell::default()
            },
            None => Cell::default(),
        };
        let steps = mean(&|run| {
            let trained = run.trained.as_ref()?;
            trained.count("steps").map(|steps| steps as f64).or(trained.losses.last().map(|(step, _)| *step))
        });
        let speed = mean(&|run| run.measured.tokens_per_second);
        let cells = vec![
            parameters(runs),
            Cell::of(steps.map(|(steps, _)| numbers::count(steps.round() as u64))),
            loss(&|run| last_loss(&run.trained.as_ref()?.losses)),
            loss(&|run| run.trained.as_ref()?.validation.iter().map(|(_, loss)| *loss).reduce(f64::min)),
            Cell::of(speed.map(|(speed, _)| numbers::count(speed.round() as u64))),
            time(runs),
            parts(runs),
            memory(runs),
        ];
        sheet.lines.push(Line::own(layout, row, cells));
    }
    let kept: Vec<usize> = (0..sheet.columns.len())
        .filter(|column| sheet.lines.iter().any(|line| !line.cells[*column].text.is_empty()))
        .collect();
    sheet.columns = kept.iter().map(|column| sheet.columns[*column].clone()).collect();
    for line in &mut sheet.lines {
        line.cells = kept.iter().map(|column| line.cells[*column].clone()).collect();
    }
    if sheet.columns.iter().any(|column| column == "Time by part") {
        sheet.notes.push("Time by part is in percent of all parts; reading rows and the model is none of them.".into());
    }
    if sheet.columns.iter().any(|column| column == "Last training loss") {
        sheet.notes.push("The last training loss is the mean of the last tenth of all steps.".into());
    }
    sheet.notes.extend(machines(group.members.iter().flatten().copied()));
    sheet
}

/// The mean loss of the last tenth of the steps: a single batch is no measure.
fn last_loss(losses: &[(f64, f64)]) -> Option<f64> {
    let last = &losses[losses.len() - losses.len().div_ceil(10)..];
    (!last.is_empty()).then(|| last.iter().map(|(_, loss)| loss).sum::<f64>() / last.len() as f64)
}

fn parameters(runs: &[&Member]) -> Cell {
    let Some(trained) = runs.iter().filter_map(|run| run.trained.as_ref()).next() else { return Cell::default() };
    let Some(trainable) = trained.count("trainable_parameters") else { return Cell::default() };
    let share = trained.count("total_parameters").and_then(|total| numbers::share(trainable, total));
    Cell::of(Some(match share {
        Some(share) => format!("{} ({share})", numbers::count(trainable)),
        None => numbers::count(trainable),
    }))
}

fn time(runs: &[&Member]) -> Cell {
    let seconds: Vec<f64> = runs.iter().filter_map(|run| run.measured.seconds).collect();
    Cell::of(numbers::mean_and_deviation(&seconds).map(|(mean, _)| numbers::duration(mean)))
}

/// Where the time of all of a row's trainings went, in percent.
fn parts(runs: &[&Member]) -> Cell {
    let all = runs.iter().filter_map(|run| run.measured.part_seconds);
    let sum = all.reduce(|one, other| TrainingTimes {
        data: one.data + other.data,
        forward: one.forward + other.forward,
        backward: one.backward + other.backward,
        optimizer: one.optimizer + other.optimizer,
        validation: one.validation + other.validation,
        checkpoints: one.checkpoints + other.checkpoints,
    });
    Cell::of(sum.and_then(|times| times.percentages()))
}

fn memory(runs: &[&Member]) -> Cell {
    Cell::of(runs.iter().filter_map(|run| run.measured.peak_memory_bytes).max().map(numbers::bytes))
}

/// Rows that got no prediction, by the name of their row.
fn failures(layout: &Layout<'_>, group: &Group<'_>) -> Option<String> {
    let failed: Vec<String> = group
        .filled()
        .filter_map(|(row, members)| {
            let scored = || members.iter().filter_map(|member| member.scored.as_ref());
            let (failed, rows): (u64, u64) = (scored().map(|s| s.failed).sum(), scored().filter_map(|s| s.rows).sum());
            (failed > 0).then(|| format!("{} {} of {}", layout.rows[row], numbers::count(failed), numbers::count(rows)))
        })
        .collect();
    (!failed.is_empty())
        .then(|| format!("Rows without a prediction (their prompt did not fit) count as wrong: {}.", failed.join(", ")))
}

/// On what the figures of time and memory were measured.
pub(super) fn machines<'a>(runs: impl Iterator<Item = &'a Member>) -> Option<String> {
    let mut machines: Vec<String> = Vec::new();
    for measured in runs.map(|run| &run.measured) {
        let Some(device) = &measured.device else { continue };
        let machine = match measured.threads {
            Some(1) => format!("{device}, 1 thread"),
            Some(threads) => format!("{device}, {threads} threads"),
            None => device.clone(),
        };
        if !machines.contains(&machine) {
            machines.push(machine);
        }
    }
    match machines.as_slice() {
        [] => None,
        [one] => Some(format!("Time and memory were measured on: {one}.")),
        several => Some(format!(
            "Time and memory were measured on different machines and cannot be set in relation: {}.",
            several.join("; ")
        )),
    }
}
