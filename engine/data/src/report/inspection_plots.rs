//! Plots of what `inspect` stages found: changes by layer and by step, heat maps of subspaces, magnitude against direction.
//! Knows what is drawn, not how a tick is written.

use std::collections::BTreeMap;

use spec::inspection::{Inspection, Similarity};

use super::{
    axis::Axis,
    chart::{Chart, Point, Size, Undrawn},
    inspection::{Names, mean, pairs, roles},
    numbers,
    plots::{Plot, bounds},
    svg::Class,
    widths::widest,
};

/// The most plots of one sort; the tables of the stage hold all.
const MOST: usize = 8;

/// All plots of what was found.
///
/// # Errors
/// When one cannot be drawn, as in all that follows.
pub fn all(found: &Inspection, names: &Names<'_>) -> Result<Vec<Plot>, Undrawn> {
    let roles = roles(found);
    let mut plots: Vec<Result<Option<Plot>, Undrawn>> = roles.iter().map(|role| by_layer(found, names, role)).collect();
    plots.push(by_step(found, names));
    for (of, whose) in [("a", "A"), ("update", "ΔW")] {
        plots.extend(pairs(found, of).iter().take(MOST).map(|pair| heat_map(pair, names, whose)));
    }
    plots.extend(found.members.iter().take(MOST).map(|member| scatter(found, names, &member.name)));
    plots.into_iter().filter_map(Result::transpose).collect()
}

/// A line of a plot: whose it is, and its points.
type Series<'a> = (&'a str, Vec<Point>);

/// ‖ΔW‖ / ‖W‖ over the layers, of matrices that do the same.
fn by_layer(found: &Inspection, names: &Names<'_>, role: &str) -> Result<Option<Plot>, Undrawn> {
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
fn by_step(found: &Inspection, names: &Names<'_>) -> Result<Option<Plot>, Undrawn> {
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
fn lines(series: Vec<Series<'_>>, names: &Names<'_>, title: &str, x_title: &str) -> Result<Option<Plot>, Undrawn> {
    let series: Vec<Series<'_>> = series.into_iter().filter(|(_, points)| points.len() > 1).collect();
    let all = || series.iter().flat_map(|(_, points)| points);
    let Some(last) = all().map(|(x, _)| *x).reduce(f64::max) else { return Ok(None) };
    let high = all().map(|(_, y)| *y).fold(0.0, f64::max);
    let short: Vec<String> = series.iter().map(|(name, _)| names.of(name)).collect();
    let size = Size {
        width: 560.0,
        height: (18.0 * series.len() as f64 + 80.0).max(260.0),
        left: 42.0,
        right: widest(short.iter().map(String::as_str)).clamp(40.0, 170.0) + 14.0,
        top: 12.0,
        bottom: 40.0,
    };
    let mut chart = Chart::new(size, Axis::counts(last), Axis::linear(0.0, high))?;
    chart.frame(x_title)?;
    let mut ends = Vec::new();
    for ((name, points), short) in series.iter().zip(&short) {
        let colour = names.place(name);
        chart.line(points, Class::Curve.of(colour))?;
        for (at, value) in points {
            let text = format!("{short}, {x_title} {}: {} %", numbers::fixed(*at, 0), numbers::plain(*value));
            chart.dot((*at, *value), 3.0, colour, &text)?;
        }
        ends.extend(points.last().map(|end| (colour, *end, short.as_str())));
    }
    chart.ends(&ends)?;
    Ok(Some(Plot {
        title: title.to_owned(),
        svg: chart.finish(&format!("{title}: {}", short.join(", "))),
        note: String::new(),
        legend: Vec::new(),
    }))
}

/// φ(i, j) of a pair of members, the mean over the matrices that have the same numbers of directions.
fn heat_map(pair: &[&Similarity], names: &Names<'_>, whose: &str) -> Result<Option<Plot>, Undrawn> {
    let mut shapes: BTreeMap<(&[u64], &[u64]), Vec<&Similarity>> = BTreeMap::new();
    for entry in pair {
        shapes.entry((entry.i.as_slice(), entry.j.as_slice())).or_default().push(entry);
    }
    let largest = shapes.into_iter().max_by_key(|(shape, alike)| (alike.len(), *shape));
    let Some(((i, j), alike)) = largest else { return Ok(None) };
    let Some(entry) = alike.first() else { return Ok(None) };
    let (first, second) = (names.of(&entry.first), names.of(&entry.second));
    let side = (250.0 / i.len().max(j.len()).max(1) as f64).min(40.0);
    let width = 480.0;
    let beside = (width - side * j.len() as f64) / 2.0;
    let size =
        Size { width, height: side * i.len() as f64 + 58.0, left: beside, right: beside, top: 10.0, bottom: 48.0 };
    let texts = |numbers: &[u64]| Axis::names(numbers.iter().map(u64::to_string).collect::<Vec<_>>());
    let mut chart = Chart::new(size, texts(j), texts(i).reversed())?;
    chart.names("j", "i")?;
    for (row, number) in i.iter().enumerate() {
        for (column, other) in j.iter().enumerate() {
            let phi = |entry: &&&Similarity| entry.phi.get(row).and_then(|line| line.get(column)).copied();
            let Some(value) = mean(alike.iter().filter_map(|entry| phi(&entry))) else { return Ok(None) };
            let text = format!("φ({number}, {other}) = {}", numbers::fixed(value, 3));
            chart.cell((column as f64, row as f64), value, &text)?;
        }
    }
    let title = format!("φ(i, j) of {whose}: {first} (i), {second} (j)");
    let note = format!(
        "Mean over {} matrices; the stronger the colour, the more in common: from 0 to 1. By chance {} in the last corner.",
        alike.len(),
        numbers::plain(i.last().max(j.last()).copied().unwrap_or_default() as f64 / entry.inputs.max(1) as f64)
    );
    Ok(Some(Plot { svg: chart.finish(&title), title, note, legend: Vec::new() }))
}

/// ΔM against ΔD of a member, a point for each matrix and step.
fn scatter(found: &Inspection, names: &Names<'_>, member: &str) -> Result<Option<Plot>, Undrawn> {
    let own: Vec<_> =
        found.magnitude_direction.iter().filter(|entry| entry.member == member && entry.step > 0).collect();
    if own.len() < 2 {
        return Ok(None);
    }
    let (direction, magnitude) =
        (|| own.iter().map(|entry| entry.direction), || own.iter().map(|entry| entry.magnitude));
    let ((left, right), (low, high)) = (bounds(direction()), bounds(magnitude()));
    let (short, colour) = (names.of(member), names.place(member));
    let size = Size { width: 480.0, height: 290.0, left: 42.0, right: 20.0, top: 12.0, bottom: 40.0 };
    let mut chart = Chart::new(size, Axis::linear(left, right), Axis::linear(low, high))?;
    chart.frame("ΔD, change of direction")?;
    let whole = found.correlations.iter().find(|entry| entry.member == member && entry.role.is_none());
    if let Some(slope) = whole.and_then(|entry| entry.slope) {
        let (at, height) = (mean(direction()).unwrap_or_default(), mean(magnitude()).unwrap_or_default());
        let end = |place: f64| (place, height + slope * (place - at));
        chart.line(&[end(left), end(right)], Class::Range.of(colour))?;
    }
    for entry in &own {
        let (d, m) = (numbers::plain(entry.direction), numbers::plain(entry.magnitude));
        let text = format!("{}, step {}: ΔD {d}, ΔM {m}", entry.matrix.module, numbers::count(entry.step));
        chart.dot((entry.direction, entry.magnitude), 3.5, colour, &text)?;
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
    Ok(Some(Plot { svg: chart.finish(&title), title, note, legend: Vec::new() }))
}
