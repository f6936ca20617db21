//! What a score costs, and how it follows a number that was varied: the headline figure against trainable parameters, time
//! and memory, and against each axis whose labels are numbers. Knows figures and coordinates.

use std::collections::BTreeMap;

use super::{
    axis::Axis,
    chart::{Chart, Point, Size, Undrawn},
    layout::{Group, Layout},
    member::Member,
    numbers,
    plots::{LINES, Plot, bounds},
    svg::Class,
    table,
};
use crate::metrics::meaning;
use spec::stage::Table;

/// From so many different values on a number is worth an axis.
const VALUES: usize = 3;

/// More rows than this are dots without names.
const NAMED: usize = 12;

/// Something that a training costs.
struct Cost {
    name: &'static str,
    axis: &'static str,
    of: fn(&Member) -> Option<f64>,
    written: fn(f64) -> String,
}

const MIB: f64 = 1_048_576.0;

const COSTS: [Cost; 3] = [
    Cost {
        name: "trainable parameters",
        axis: "trainable parameters",
        of: |run| run.trained.as_ref()?.count("trainable_parameters").map(|count| count as f64),
        written: |value| numbers::count(value as u64),
    },
    Cost { name: "training time", axis: "seconds", of: |run| run.measured.seconds, written: numbers::duration },
    Cost {
        name: "peak memory",
        axis: "MiB",
        of: |run| run.measured.peak_memory_bytes.map(|bytes| bytes as f64 / MIB),
        written: |value| numbers::bytes((value * MIB) as u64),
    },
];

/// A figure against what it cost to reach it: one plot for each cost in which the rows differ.
///
/// # Errors
/// When it cannot be drawn, as in all that follows.
pub fn costs(layout: &Layout<'_>, group: &Group<'_>, figure: &str) -> Result<Vec<Plot>, Undrawn> {
    let plot = |cost: &Cost| {
        let point = |(row, members): (usize, &[&Member])| {
            let runs: Vec<f64> = layout.trained_for(members).into_iter().filter_map(cost.of).collect();
            Some((row, numbers::mean_and_deviation(&runs)?.0, table::mean(members, figure)?))
        };
        let points: Vec<(usize, f64, f64)> = group.filled().filter_map(point).collect();
        scatter(layout, figure, cost, &points).transpose()
    };
    COSTS.iter().filter_map(plot).collect()
}

fn distinct(values: impl Iterator<Item = f64>) -> usize {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    values.len()
}

/// The size of these plots.
const SIZE: Size = Size { width: 480.0, height: 280.0, left: 42.0, right: 16.0, top: 14.0, bottom: 40.0 };

/// An axis of ratios where values are far apart.
fn axis(values: impl Iterator<Item = f64>) -> Axis {
    match bounds(values) {
        (low, high) if low > 0.0 && high / low > 8.0 => Axis::log(low, high),
        (low, high) => Axis::linear(low, high),
    }
}

fn scatter(
    layout: &Layout<'_>,
    figure: &str,
    cost: &Cost,
    points: &[(usize, f64, f64)],
) -> Result<Option<Plot>, Undrawn> {
    if distinct(points.iter().map(|(_, x, _)| *x)) < 2 || points.len() < VALUES {
        return Ok(None);
    }
    let title = table::titles(&[figure.to_owned()]).concat();
    let (low, high) = bounds(points.iter().map(|(_, _, y)| *y));
    let mut chart = Chart::new(SIZE, axis(points.iter().map(|(_, x, _)| *x)), Axis::linear(low, high))?;
    chart.frame(cost.axis)?;
    for (row, value, score) in points {
        let name = &layout.rows[*row];
        let said = format!("{name}: {}, {}", numbers::plain(*score), (cost.written)(*value));
        chart.dot((*value, *score), 5.0, *row, &said)?;
    }
    if points.len() <= NAMED {
        let named: Vec<_> = points.iter().map(|(row, x, y)| (*row, (*x, *y), layout.rows[*row].as_str())).collect();
        chart.beside(&named)?;
    }
    Ok(Some(Plot {
        title: format!("{title} and {}", cost.name),
        svg: chart.finish(&format!("{title} of {} rows against {}", points.len(), cost.name)),
        note: String::new(),
        legend: Vec::new(),
    }))
}

/// A figure by each axis whose labels are numbers, a line for each combination of the other labels.
pub fn by_number(group: &Group<'_>, figure: &str, table: &Table) -> Result<Vec<Plot>, Undrawn> {
    let members = || group.members.iter().flatten();
    let mut axes: Vec<&str> = Vec::new();
    for (axis, _) in members().flat_map(|member| &member.input.coordinates) {
        if !axes.contains(&axis.as_str()) && !table.mean_over.contains(axis) {
            axes.push(axis);
        }
    }
    axes.into_iter().filter_map(|axis| line_plot(group, figure, axis, table).transpose()).collect()
}

/// Figures of members by the bits of the number that was varied: of numbers of one sign they are in the numbers' order.
type Points = BTreeMap<u64, (f64, Vec<f64>)>;

fn line_plot(group: &Group<'_>, figure: &str, by: &str, table: &Table) -> Result<Option<Plot>, Undrawn> {
    let mut lines: Vec<(String, Points)> = Vec::new();
    for member in group.members.iter().flatten() {
        let Some(label) = member.label(by) else { continue };
        let Ok(number) = label.parse::<f64>() else { return Ok(None) };
        let others: Vec<&str> = member
            .input
            .coordinates
            .iter()
            .filter(|(name, _)| name != by && name != "model" && !table.mean_over.contains(name))
            .map(|(_, label)| label.as_str())
            .collect();
        let Some(value) = member.scored.as_ref().and_then(|scored| scored.figures.get(figure).copied()) else {
            continue;
        };
        let name = others.join(" · ");
        let index = lines.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            lines.push((name, BTreeMap::new()));
            lines.len() - 1
        });
        lines[index].1.entry(number.to_bits()).or_insert_with(|| (number, Vec::new())).1.push(value);
    }
    lines.retain(|(_, points)| points.len() > 1);
    let all = || lines.iter().flat_map(|(_, points)| points.values());
    if distinct(all().map(|(number, _)| *number)) < VALUES {
        return Ok(None);
    }
    let left_out = lines.len().saturating_sub(LINES);
    lines.truncate(LINES);
    let title = table::titles(&[figure.to_owned()]).concat();
    let all = || lines.iter().flat_map(|(_, points)| points.values());
    let means = all().filter_map(|(_, values)| numbers::mean_and_deviation(values)).map(|(mean, _)| mean);
    let (low, high) = bounds(means);
    let numbers = || all().map(|(number, _)| *number);
    let mut chart = Chart::new(SIZE, axis(numbers()).marked_at(numbers()), Axis::linear(low, high))?;
    chart.frame(by)?;
    for (series, (name, points)) in (1..).zip(&lines) {
        let mut points: Vec<Point> = points
            .values()
            .filter_map(|(number, values)| Some((*number, numbers::mean_and_deviation(values)?.0)))
            .collect();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        chart.line(&points, Class::Curve.of(series))?;
        for (number, mean) in points {
            let said = format!("{name}, {by} {number}: {}", numbers::plain(mean));
            chart.dot((number, mean), 4.0, series, &said)?;
        }
    }
    let meaning = meaning(figure).map(|meaning| if meaning.is_percent { " (%)" } else { "" }).unwrap_or_default();
    Ok(Some(Plot {
        title: format!("{title}{meaning} by {by}"),
        svg: chart.finish(&format!("{title} by {by}, a line each for {} rows", lines.len())),
        note: if left_out > 0 {
            format!("The first {LINES} lines; {left_out} more are in the table.")
        } else {
            String::new()
        },
        legend: lines.iter().enumerate().map(|(series, (name, _))| (series + 1, name.clone())).collect(),
    }))
}
