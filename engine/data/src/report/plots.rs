//! The plots of a report: scores as dots, losses as lines. Knows what is drawn, not how a tick or a file is written.

use std::collections::BTreeSet;

use super::{
    axis::Axis,
    chart::{Chart, Size, Undrawn},
    layout::{Group, Layout},
    member::{Member, Trained},
    numbers,
    svg::Class,
    table,
    widths::widest,
};
use crate::metrics::meaning;
use spec::stage::Published;

/// A plot and the words around it.
#[derive(Debug)]
pub struct Plot {
    /// What is seen.
    pub title: String,
    /// The picture.
    pub svg: String,
    /// How it was drawn.
    pub note: String,
    /// What is seen, for the legend: the number of its colour, and its name.
    pub legend: Vec<(usize, String)>,
}

/// Points that are drawn of one line at most: more steps are averaged.
const POINTS: usize = 60;

/// Lines that are drawn at most: there are as many colours.
pub const LINES: usize = 8;

/// One plot for each headline figure of a group: a dot a member, a line at the mean. None of a single score.
///
/// # Errors
/// When it cannot be drawn, as in all that follows.
pub fn scores(layout: &Layout<'_>, group: &Group<'_>, published: &[Published]) -> Result<Vec<Plot>, Undrawn> {
    if group.members.iter().flatten().count() < 2 {
        return Ok(Vec::new());
    }
    let names = table::headline(group);
    let decimals = table::percent_decimals(group);
    let titles = table::titles(&names);
    let mut plots = Vec::new();
    for (name, title) in names.iter().zip(&titles) {
        let rows: Vec<(usize, Vec<(String, f64)>)> = group
            .filled()
            .map(|(row, members)| {
                let value = |member: &&&Member| {
                    Some((member.input.name(), member.scored.as_ref()?.figures.get(name).copied()?))
                };
                (row, members.iter().filter_map(|member| value(&member)).collect())
            })
            .filter(|(_, values): &(usize, Vec<(String, f64)>)| !values.is_empty())
            .collect();
        if rows.is_empty() {
            continue;
        }
        let others = |row: usize| {
            published.iter().filter_map(move |from| {
                let value = from.rows.get(&layout.rows[row])?.get(name)?;
                Some((from.source.as_str(), *value))
            })
        };
        let all =
            rows.iter().flat_map(|(row, values)| values.iter().map(|(_, v)| *v).chain(others(*row).map(|(_, v)| v)));
        let (low, high) = bounds(all);
        let is_percent = meaning(name).is_some_and(|meaning| meaning.is_percent);
        // Percentages show their whole range, so that plots can be compared, but where all of them are close and high.
        let x = match is_percent && (high - low > 25.0 || high < 50.0) {
            true => Axis::counts(100.0),
            false => Axis::linear(low, high),
        };
        let y = Axis::names(rows.iter().map(|(row, _)| layout.rows[*row].clone())).reversed();
        let height = 26.0 * rows.len() as f64 + 34.0;
        let mut chart =
            Chart::new(Size { width: 480.0, height, left: 54.0, right: 80.0, top: 4.0, bottom: 30.0 }, x, y)?;
        chart.columns()?;
        for (y, (row, values)) in (0..).map(f64::from).zip(&rows) {
            let figures: Vec<f64> = values.iter().map(|(_, value)| *value).collect();
            let Some((mean, _)) = numbers::mean_and_deviation(&figures) else { continue };
            for (source, value) in others(*row) {
                let text = format!("{}, {source}: {}", layout.rows[*row], numbers::plain(value));
                chart.diamond((value, y), &text)?;
            }
            let (least, most) = bounds(figures.iter().copied());
            chart.line(&[(least, y), (most, y)], Class::Range.of(*row))?;
            chart.line(&[(mean, y - 0.3), (mean, y + 0.3)], Class::Mean.of(*row))?;
            for (member, value) in values {
                let text = format!("{member}: {}", table::written(meaning(name), *value, decimals));
                chart.dot((*value, y), 4.5, *row, &text)?;
            }
            chart.value(y, &table::written(meaning(name), mean, decimals))?;
        }
        let unit = if is_percent { " (%)" } else { "" };
        let direction = match meaning(name).map(|meaning| meaning.more_is_better) {
            Some(true) => ", more is better",
            Some(false) => ", less is better",
            None => "",
        };
        plots.push(Plot {
            title: format!("{title}{unit}"),
            svg: chart.finish(&format!("{title} of {}{direction}", rows_of(layout, &rows))),
            note: String::new(),
            legend: Vec::new(),
        });
    }
    Ok(plots)
}

/// The ends of values.
pub fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)))
}

fn rows_of(layout: &Layout<'_>, rows: &[(usize, Vec<(String, f64)>)]) -> String {
    rows.iter().map(|(row, _)| layout.rows[*row].as_str()).collect::<Vec<_>>().join(", ")
}

/// The training loss of a stage's members and, where there are some, the validation loss and each figure that was counted
/// on the way.
pub fn losses(layout: &Layout<'_>, group: &Group<'_>) -> Result<Vec<Plot>, Undrawn> {
    let longest = group.members.iter().flatten().filter_map(|m| Some(m.trained.as_ref()?.losses.len())).max();
    let size = longest.unwrap_or_default().div_ceil(POINTS).max(1);
    let loss = |title| Seen { title, noun: "loss", is_linear: false };
    let training = curves(layout, group, &loss("Training loss"), |member| {
        member.trained.as_ref().map(|trained| binned(&trained.losses, size)).unwrap_or_default()
    })?;
    let validation = curves(layout, group, &loss("Validation loss"), |member| {
        member.trained.as_ref().map(|trained| trained.validation.clone()).unwrap_or_default()
    })?;
    let training = training.map(|mut plot| {
        if size > 1 {
            plot.note = format!("Each point is the mean of up to {size} steps.{}", prefixed(&plot.note));
        }
        plot
    });
    let rate = Seen { title: "Learning rate", noun: "learning rate", is_linear: true };
    let varies = |trained: &Trained| trained.rates.windows(2).any(|pair| pair[0].1 != pair[1].1);
    let rates = curves(layout, group, &rate, |member| match &member.trained {
        Some(trained) if varies(trained) => binned(&trained.rates, size),
        _ => Vec::new(),
    })?;
    Ok(training.into_iter().chain(validation).chain(asked(layout, group)?).chain(rates).collect())
}

/// The figures of metrics that were counted on the way.
fn asked(layout: &Layout<'_>, group: &Group<'_>) -> Result<Vec<Plot>, Undrawn> {
    let trained = || group.members.iter().flatten().filter_map(|member| member.trained.as_ref());
    let names: BTreeSet<&String> = trained().flat_map(|trained| trained.asked.keys()).collect();
    let names: Vec<String> = names.into_iter().cloned().collect();
    let titles = table::titles(&names);
    let plot = |(name, title): (&String, &String)| {
        let is_percent = meaning(name).is_some_and(|meaning| meaning.is_percent);
        let title = format!("{title}{} in validation", if is_percent { " (%)" } else { "" });
        let points = |member: &Member| member.trained.as_ref()?.asked.get(name).cloned();
        let seen = Seen { title: &title, noun: "figure", is_linear: is_percent };
        curves(layout, group, &seen, |member| points(member).unwrap_or_default()).transpose()
    };
    names.iter().zip(&titles).filter_map(plot).collect()
}

fn prefixed(note: &str) -> String {
    if note.is_empty() { String::new() } else { format!(" {note}") }
}

/// The same line with fewer points: `size` steps are averaged into each.
fn binned(losses: &[(f64, f64)], size: usize) -> Points {
    losses
        .chunks(size)
        .map(|chunk| {
            let size = chunk.len() as f64;
            (chunk.iter().map(|(step, _)| step).sum::<f64>() / size, chunk.iter().map(|(_, y)| y).sum::<f64>() / size)
        })
        .collect()
}

type Points = Vec<(f64, f64)>;

/// What curves show.
struct Seen<'a> {
    title: &'a str,
    noun: &'a str,
    /// Percentages and learning rates keep a linear scale.
    is_linear: bool,
}

fn curves(
    layout: &Layout<'_>,
    group: &Group<'_>,
    seen: &Seen<'_>,
    points: impl Fn(&Member) -> Points,
) -> Result<Option<Plot>, Undrawn> {
    let Seen { title, noun, is_linear } = *seen;
    let rows: Vec<(usize, Vec<Points>)> = group
        .filled()
        .map(|(row, members)| {
            (row, members.iter().map(|member| points(member)).filter(|points| points.len() > 1).collect())
        })
        .filter(|(_, lines): &(usize, Vec<Points>)| !lines.is_empty())
        .collect();
    let left_out = rows.len().saturating_sub(LINES);
    let rows = &rows[..rows.len() - left_out];
    if rows.is_empty() {
        return Ok(None);
    }
    let all = || rows.iter().flat_map(|(_, lines)| lines.iter().flatten());
    let steps = all().map(|(step, _)| *step).fold(0.0, f64::max);
    let (low, high) = bounds(all().map(|(_, loss)| *loss));
    let is_log = !is_linear && low > 0.0 && high / low > 12.0;
    let y = if is_log { Axis::log(low, high) } else { Axis::linear(low, high) };
    let labels = widest(rows.iter().map(|(row, _)| layout.rows[*row].as_str())).clamp(40.0, 190.0);
    let size = Size { width: 560.0, height: 300.0, left: 42.0, right: labels + 14.0, top: 12.0, bottom: 40.0 };
    let mut chart = Chart::new(size, Axis::counts(steps), y)?;
    chart.frame("optimiser step")?;
    let mut ends = Vec::new();
    let mut has_bands = false;
    for (row, lines) in rows {
        let shared = lines.iter().map(Vec::len).min().unwrap_or_default();
        let over = |pick: fn(f64, f64) -> f64| -> Points {
            (0..shared)
                .map(|i| (lines[0][i].0, lines.iter().map(|line| line[i].1).reduce(pick).unwrap_or_default()))
                .collect()
        };
        if lines.len() > 1 {
            chart.band(&over(f64::max), &over(f64::min), *row)?;
            has_bands = true;
        }
        let size = lines.len() as f64;
        let mean: Points = over(|a, b| a + b).into_iter().map(|(step, sum)| (step, sum / size)).collect();
        chart.line(&mean, Class::Curve.of(*row))?;
        // Validations are few: each is a point of its own.
        if mean.len() <= 20 {
            for (step, loss) in &mean {
                let text =
                    format!("{}, step {}: {}", layout.rows[*row], numbers::fixed(*step, 0), numbers::plain(*loss));
                chart.dot((*step, *loss), 3.5, *row, &text)?;
            }
        }
        ends.extend(mean.last().map(|end| (*row, *end, layout.rows[*row].as_str())));
    }
    chart.ends(&ends)?;
    let mut note = Vec::new();
    if has_bands {
        note.push("Lines are means; bands reach from the least to the greatest member.".to_owned());
    }
    if is_log {
        note.push(format!("The scale of the {noun} is logarithmic."));
    }
    if left_out > 0 {
        note.push(format!("The first {LINES} rows; {left_out} more are in the table."));
    }
    Ok(Some(Plot {
        title: format!("{title}, {}", group.name),
        svg: chart.finish(&format!(
            "{title} of {} over {} optimiser steps",
            rows.iter().map(|(row, _)| layout.rows[*row].as_str()).collect::<Vec<_>>().join(", "),
            numbers::count(steps as u64)
        )),
        note: note.join(" "),
        legend: rows.iter().map(|(row, _)| (*row, layout.rows[*row].clone())).collect(),
    }))
}
