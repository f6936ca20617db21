//! Plots of what `inspect` stages found: changes by layer and by step, heat maps of subspaces, magnitude against direction.
//! Knows what is drawn, not how a tick is written.

use std::collections::BTreeMap;

use spec::inspection::{Inspection, Similarity};

use super::{
    inspection::{Names, mean, pairs, roles},
    numbers,
    plots::Plot,
    svg::{Area, Picture, Scale, spread, text_width},
};

/// The most plots of one sort; the tables of the stage hold all.
const MOST: usize = 8;

/// All plots of what was found.
pub fn all(found: &Inspection, names: &Names<'_>) -> Vec<Plot> {
    let mut plots: Vec<Plot> = roles(found).into_iter().filter_map(|role| by_layer(found, names, role)).collect();
    plots.extend(by_step(found, names));
    for (of, whose) in [("a", "A"), ("update", "ΔW")] {
        plots.extend(pairs(found, of).iter().take(MOST).filter_map(|pair| heat_map(pair, names, whose)));
    }
    plots.extend(found.members.iter().take(MOST).filter_map(|member| scatter(found, names, &member.name)));
    plots
}

/// A line of a plot: whose it is, and its points.
type Series<'a> = (&'a str, Vec<(f64, f64)>);

/// ‖ΔW‖ / ‖W‖ over the layers, of matrices that do the same.
fn by_layer(found: &Inspection, names: &Names<'_>, role: &str) -> Option<Plot> {
    let series = found.members.iter().map(|member| {
        let own = found
            .update_norms
            .iter()
            .filter(|entry| entry.member == member.name && entry.step == member.kept_step && entry.matrix.role == role);
        let points = own.filter_map(|entry| Some((entry.matrix.layer? as f64, 100.0 * entry.relative?)));
        (member.name.as_str(), points.collect())
    });
    lines(series.collect(), names, &format!("‖ΔW‖ / ‖W‖ (%) of {role} by layer"), "layer")
}

/// The mean of ‖ΔW‖ / ‖W‖ over the steps.
fn by_step(found: &Inspection, names: &Names<'_>) -> Option<Plot> {
    let series = found.members.iter().map(|member| {
        let at = |step: &u64| {
            let own = found.update_norms.iter().filter(|entry| entry.member == member.name && entry.step == *step);
            Some((*step as f64, 100.0 * mean(own.filter_map(|entry| entry.relative))?))
        };
        (member.name.as_str(), member.steps.iter().filter_map(at).collect())
    });
    lines(series.collect(), names, "‖ΔW‖ / ‖W‖ (%) by step, mean over matrices", "optimiser step")
}

/// Lines of members with points; nothing where no line has two.
fn lines(series: Vec<Series<'_>>, names: &Names<'_>, title: &str, x_title: &str) -> Option<Plot> {
    let series: Vec<Series<'_>> = series.into_iter().filter(|(_, points)| points.len() > 1).collect();
    let all = || series.iter().flat_map(|(_, points)| points);
    let right = all().map(|(x, _)| *x).reduce(f64::max)?;
    let high = all().map(|(_, y)| *y).fold(0.0, f64::max);
    let labels = series.iter().map(|(name, _)| text_width(&names.of(name))).fold(40.0, f64::max).min(170.0);
    let height = (18.0 * series.len() as f64 + 80.0).max(260.0);
    let area = Area { left: 56.0, right: 560.0 - labels - 14.0, top: 12.0, bottom: height - 44.0 };
    let (x, y) = (Scale::exact(0.0, right, area.left, area.right), Scale::linear(0.0, high, area.bottom, area.top));
    let mut picture = Picture::new(560.0, height);
    picture.frame(area, &x, &y, x_title);
    let mut ends: Vec<(usize, f64)> = Vec::new();
    for (index, (name, points)) in series.iter().enumerate() {
        let (colour, short) = (names.place(name), names.of(name));
        let placed: Vec<(f64, f64)> = points.iter().map(|(at, value)| (x.at(*at), y.at(*value))).collect();
        picture.path(&placed, colour, "curve");
        for ((at, value), place) in points.iter().zip(&placed) {
            let text = format!("{short}, {x_title} {}: {} %", numbers::fixed(*at, 0), numbers::plain(*value));
            picture.dot(*place, 3.0, colour, "dot", &text);
        }
        ends.extend(placed.last().map(|(_, y)| (index, *y)));
    }
    spread(&mut ends, 16.0, area.bottom);
    for (index, place) in ends {
        let Some((name, _)) = series.get(index) else { continue };
        picture.label((area.right + 8.0, place + 4.5), &names.of(name), names.place(name));
    }
    let of = series.iter().map(|(name, _)| names.of(name)).collect::<Vec<_>>().join(", ");
    Some(Plot {
        title: title.to_owned(),
        svg: picture.finish(&format!("{title}: {of}")),
        note: String::new(),
        legend: Vec::new(),
    })
}

/// φ(i, j) of a pair of members, the mean over the matrices that have the same numbers of directions.
fn heat_map(pair: &[&Similarity], names: &Names<'_>, whose: &str) -> Option<Plot> {
    let mut shapes: BTreeMap<(&[u64], &[u64]), Vec<&Similarity>> = BTreeMap::new();
    for entry in pair {
        shapes.entry((entry.i.as_slice(), entry.j.as_slice())).or_default().push(entry);
    }
    let ((i, j), alike) = shapes.into_iter().max_by_key(|(shape, alike)| (alike.len(), *shape))?;
    let entry = alike.first()?;
    let (first, second) = (names.of(&entry.first), names.of(&entry.second));
    let size = (250.0 / i.len().max(j.len()).max(1) as f64).min(40.0);
    let (width, height) = (size * j.len() as f64, size * i.len() as f64);
    let (left, top) = ((480.0 - width) / 2.0, 10.0);
    let mut picture = Picture::new(480.0, top + height + 48.0);
    for (row, number) in i.iter().enumerate() {
        let y = top + size * row as f64;
        picture.text((left - 8.0, y + size / 2.0 + 4.0), &number.to_string(), "tick", "end");
        for (column, other) in j.iter().enumerate() {
            let phi = |entry: &&&Similarity| entry.phi.get(row).and_then(|line| line.get(column)).copied();
            let value = mean(alike.iter().filter_map(|entry| phi(&entry)))?;
            let text = format!("φ({number}, {other}) = {}", numbers::fixed(value, 3));
            picture.cell((left + size * column as f64, y), size, value, &text);
        }
    }
    for (column, number) in j.iter().enumerate() {
        let x = left + size * (column as f64 + 0.5);
        picture.text((x, top + height + 16.0), &number.to_string(), "tick", "middle");
    }
    picture.text((left - 34.0, top + height / 2.0 + 4.0), "i", "name", "middle");
    picture.text((left + width / 2.0, top + height + 38.0), "j", "name", "middle");
    let title = format!("φ(i, j) of {whose}: {first} (i), {second} (j)");
    let note = format!(
        "Mean over {} matrices; the stronger the colour, the more in common: from 0 to 1. By chance {} in the last corner.",
        alike.len(),
        numbers::plain(i.last().max(j.last()).copied().unwrap_or_default() as f64 / entry.inputs.max(1) as f64)
    );
    Some(Plot { svg: picture.finish(&title), title, note, legend: Vec::new() })
}

/// ΔM against ΔD of a member, a point for each matrix and step.
fn scatter(found: &Inspection, names: &Names<'_>, member: &str) -> Option<Plot> {
    let own: Vec<_> =
        found.magnitude_direction.iter().filter(|entry| entry.member == member && entry.step > 0).collect();
    if own.len() < 2 {
        return None;
    }
    let bounds = |values: &dyn Fn(usize) -> f64| {
        let all = (0..own.len()).map(values);
        all.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)))
    };
    let (direction, magnitude) = (|at: usize| own[at].direction, |at: usize| own[at].magnitude);
    let area = Area { left: 74.0, right: 460.0, top: 12.0, bottom: 246.0 };
    let ((left, right), (low, high)) = (bounds(&direction), bounds(&magnitude));
    let x = Scale::linear(left, right, area.left, area.right);
    let y = Scale::linear(low, high, area.bottom, area.top);
    let (short, colour) = (names.of(member), names.place(member));
    let mut picture = Picture::new(480.0, 290.0);
    picture.frame(area, &x, &y, "ΔD, change of direction");
    let whole = found.correlations.iter().find(|entry| entry.member == member && entry.role.is_none());
    if let Some(slope) = whole.and_then(|entry| entry.slope) {
        let middle = |values: &dyn Fn(usize) -> f64| mean((0..own.len()).map(values)).unwrap_or_default();
        let (at, height) = (middle(&direction), middle(&magnitude));
        let end = |place: f64| (x.at(place), y.at(height + slope * (place - at)));
        picture.path(&[end(left), end(right)], colour, "range");
    }
    for entry in &own {
        let (d, m) = (numbers::plain(entry.direction), numbers::plain(entry.magnitude));
        let text = format!("{}, step {}: ΔD {d}, ΔM {m}", entry.matrix.module, numbers::count(entry.step));
        picture.dot((x.at(entry.direction), y.at(entry.magnitude)), 3.5, colour, "dot", &text);
    }
    let title = format!("ΔM against ΔD: {short}");
    let note = match whole.and_then(|entry| Some((entry.correlation?, entry.points))) {
        Some((correlation, points)) => {
            format!(
                "A point for each matrix and step, {points} in all; correlation {}.",
                numbers::fixed(correlation, 2)
            )
        }
        None => "A point for each matrix and step; too few, or too alike, for a correlation.".to_owned(),
    };
    Some(Plot { svg: picture.finish(&title), title, note, legend: Vec::new() })
}
