//! What a score costs, and how it follows a number that was varied: the headline figure against trainable parameters, time
//! and memory, and against each axis whose labels are numbers. Knows figures and coordinates.

use std::collections::BTreeMap;

use super::{
    layout::{Group, Layout},
    member::Member,
    numbers,
    plots::Plot,
    svg::{Area, Picture, Scale, text_width},
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
pub fn costs(layout: &Layout<'_>, group: &Group<'_>, figure: &str) -> Vec<Plot> {
    let plot = |cost: &Cost| {
        let point = |(row, members): (usize, &[&Member])| {
            let runs: Vec<f64> = layout.trained_for(members).into_iter().filter_map(cost.of).collect();
            Some((row, numbers::mean_and_deviation(&runs)?.0, table::mean(members, figure)?))
        };
        let points: Vec<(usize, f64, f64)> = group.filled().filter_map(point).collect();
        scatter(layout, figure, cost, &points)
    };
    COSTS.iter().filter_map(plot).collect()
}

fn distinct(values: impl Iterator<Item = f64>) -> usize {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    values.len()
}

/// The ends of values.
fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)))
}

fn scale(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Scale {
    match ends(values) {
        (low, high) if low > 0.0 && high / low > 8.0 => Scale::log(low, high, from, to),
        (low, high) => Scale::linear(low, high, from, to),
    }
}

fn scatter(layout: &Layout<'_>, figure: &str, cost: &Cost, points: &[(usize, f64, f64)]) -> Option<Plot> {
    if distinct(points.iter().map(|(_, x, _)| *x)) < 2 || points.len() < VALUES {
        return None;
    }
    let title = table::titles(&[figure.to_owned()]).concat();
    let (width, height) = (480.0, 280.0);
    let area = Area { left: 52.0, right: width - 16.0, top: 14.0, bottom: height - 44.0 };
    let x = scale(points.iter().map(|(_, x, _)| *x), area.left + 12.0, area.right - 12.0);
    let (low, high) = ends(points.iter().map(|(_, _, y)| *y));
    let y = Scale::linear(low, high, area.bottom, area.top);
    let mut picture = Picture::new(width, height);
    picture.frame(area, &x, &y, cost.axis);
    for (row, value, score) in points {
        let name = &layout.rows[*row];
        let said = format!("{name}: {}, {}", numbers::plain(*score), (cost.written)(*value));
        let (left, top) = (x.at(*value), y.at(*score));
        picture.dot((left, top), 5.0, *row, "dot", &said);
        if points.len() <= NAMED {
            match left + 9.0 + text_width(name) > area.right {
                true => picture.text((left - 9.0, top + 4.5), name, "name", "end"),
                false => picture.text((left + 9.0, top + 4.5), name, "name", "start"),
            }
        }
    }
    Some(Plot {
        title: format!("{title} and {}", cost.name),
        svg: picture.finish(&format!("{title} of {} rows against {}", points.len(), cost.name)),
        note: String::new(),
        legend: Vec::new(),
    })
}

/// A figure by each axis whose labels are numbers, a line for each combination of the other labels.
pub fn by_number(group: &Group<'_>, figure: &str, table: &Table) -> Vec<Plot> {
    let members = || group.members.iter().flatten();
    let mut axes: Vec<&str> = Vec::new();
    for (axis, _) in members().flat_map(|member| &member.input.coordinates) {
        if !axes.contains(&axis.as_str()) && !table.mean_over.contains(axis) {
            axes.push(axis);
        }
    }
    axes.into_iter().filter_map(|axis| line_plot(group, figure, axis, table)).collect()
}

/// Figures of members by the bits of the number that was varied: of numbers of one sign they are in the numbers' order.
type Points = BTreeMap<u64, (f64, Vec<f64>)>;

fn line_plot(group: &Group<'_>, figure: &str, axis: &str, table: &Table) -> Option<Plot> {
    let mut lines: Vec<(String, Points)> = Vec::new();
    for member in group.members.iter().flatten() {
        let Some(label) = member.label(axis) else { continue };
        let number: f64 = label.parse().ok()?;
        let others: Vec<&str> = member
            .input
            .coordinates
            .iter()
            .filter(|(name, _)| name != axis && name != "model" && !table.mean_over.contains(name))
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
        return None;
    }
    let left_out = lines.len().saturating_sub(8);
    lines.truncate(8);
    let title = table::titles(&[figure.to_owned()]).concat();
    let (width, height) = (480.0, 280.0);
    let area = Area { left: 52.0, right: width - 16.0, top: 14.0, bottom: height - 44.0 };
    let all = || lines.iter().flat_map(|(_, points)| points.values());
    let x = scale(all().map(|(number, _)| *number), area.left + 10.0, area.right - 10.0);
    let means: Vec<(f64, f64)> =
        all().flat_map(|(_, values)| numbers::mean_and_deviation(values)).map(|(m, _)| (m, m)).collect();
    let (low, high) = ends(means.iter().map(|(mean, _)| *mean));
    let y = Scale::linear(low, high, area.bottom, area.top);
    let mut picture = Picture::new(width, height);
    picture.frame(area, &x, &y, axis);
    for (series, (name, points)) in lines.iter().enumerate() {
        let mut points: Vec<(f64, f64)> = points
            .values()
            .filter_map(|(number, values)| Some((*number, numbers::mean_and_deviation(values)?.0)))
            .collect();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        let placed: Vec<(f64, f64)> = points.iter().map(|(number, mean)| (x.at(*number), y.at(*mean))).collect();
        picture.path(&placed, series + 1, "curve");
        for ((number, mean), place) in points.iter().zip(placed) {
            let said = format!("{name}, {axis} {number}: {}", numbers::plain(*mean));
            picture.dot(place, 4.0, series + 1, "dot", &said);
        }
    }
    let meaning = meaning(figure).map(|meaning| if meaning.is_percent { " (%)" } else { "" }).unwrap_or_default();
    Some(Plot {
        title: format!("{title}{meaning} by {axis}"),
        svg: picture.finish(&format!("{title} by {axis}, a line each for {} rows", lines.len())),
        note: if left_out > 0 {
            format!("The first 8 lines; {left_out} more are in the table.")
        } else {
            String::new()
        },
        legend: lines.iter().enumerate().map(|(series, (name, _))| (series + 1, name.clone())).collect(),
    })
}
