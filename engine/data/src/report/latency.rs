//! The table of forward times: a row for each row of the report, a column for each size of batch. Knows what a cell means;
//! knows no Markdown and no HTML.

use std::collections::{BTreeMap, BTreeSet};

use spec::observed::Latency;

use super::{
    axis::Axis,
    chart::{Chart, Point, Size, Undrawn},
    layout::{Group, Layout},
    member::Member,
    numbers,
    plots::{LINES, Plot, bounds},
    svg::Class,
    table::{Cell, Line, Sheet, machines},
};

/// The forward times of a group's members; nothing where none was measured. Of several members of a row, their mean.
pub fn sheet(layout: &Layout<'_>, group: &Group<'_>) -> Option<Sheet> {
    let all = || group.members.iter().flatten().filter(|member| member.latency.is_some());
    let measured = || all().filter_map(|member| member.latency.as_ref());
    let sizes: BTreeSet<u64> = measured().flat_map(|latency| latency.batches.iter().map(|batch| batch.size)).collect();
    if sizes.is_empty() {
        return None;
    }
    let mut sheet = Sheet { title: group.name.clone(), ..Sheet::default() };
    sheet.columns.push("Weights".to_owned());
    sheet.columns.extend(sizes.iter().map(|size| if *size == 1 { "1 row".into() } else { format!("{size} rows") }));
    for (row, members) in group.filled() {
        let found: Vec<&Latency> = members.iter().filter_map(|member| member.latency.as_ref()).collect();
        let Some(first) = found.first() else { continue };
        let cell = |text: String| Cell { text, ..Cell::default() };
        let mut cells = vec![cell(first.weights.words().to_owned())];
        cells.extend(sizes.iter().map(|size| cell(times(&found, *size).unwrap_or_default())));
        sheet.lines.push(Line::own(layout, row, cells));
    }
    let passes: BTreeSet<(u64, u64)> = measured().map(|latency| (latency.iterations, latency.warmup)).collect();
    let passes: Vec<String> = passes.iter().map(|(of, warmup)| format!("{of} passes after {warmup}")).collect();
    sheet.notes.push(format!(
        "Milliseconds of a forward pass by rows of a batch: median / 95th percentile of {}.",
        passes.join(", or of ")
    ));
    let lengths: BTreeSet<Vec<(u64, u64)>> =
        measured().map(|latency| latency.batches.iter().map(|batch| (batch.size, batch.length)).collect()).collect();
    if let (Some(lengths), 1) = (lengths.first(), lengths.len()) {
        let each: Vec<String> = lengths.iter().map(|(size, length)| format!("{length} ({size})")).collect();
        sheet.notes.push(format!("Rows have the split's own lengths, padded to so many tokens: {}.", each.join(", ")));
    }
    sheet.notes.extend(machines(all().copied()));
    Some(sheet)
}

/// The median time by rows of a batch, a line a row of the report; nothing of a single size.
///
/// # Errors
/// When it cannot be drawn.
pub fn plot(layout: &Layout<'_>, group: &Group<'_>) -> Result<Option<Plot>, Undrawn> {
    let line = |(row, members): (usize, &[&Member])| {
        let mut points: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for batch in members.iter().filter_map(|member| member.latency.as_ref()).flat_map(|latency| &latency.batches) {
            points.entry(batch.size).or_default().push(1000.0 * batch.median_seconds);
        }
        let mean = |(size, values): (u64, Vec<f64>)| Some((size as f64, numbers::mean_and_deviation(&values)?.0));
        (row, points.into_iter().filter_map(mean).collect::<Vec<Point>>())
    };
    let lines: Vec<(usize, Vec<Point>)> =
        group.filled().map(line).filter(|(_, points)| points.len() > 1).take(LINES).collect();
    if lines.is_empty() {
        return Ok(None);
    }
    let all = || lines.iter().flat_map(|(_, points)| points);
    let (smallest, largest) = bounds(all().map(|(size, _)| *size));
    let longest = all().map(|(_, time)| *time).fold(0.0, f64::max);
    let sizes = Axis::log(smallest, largest).marked_at(all().map(|(size, _)| *size));
    let size = Size { width: 480.0, height: 260.0, left: 42.0, right: 16.0, top: 14.0, bottom: 40.0 };
    let mut chart = Chart::new(size, sizes, Axis::linear(0.0, longest))?;
    chart.frame("rows of a batch")?;
    for (row, points) in &lines {
        chart.line(points, Class::Curve.of(*row))?;
        for (size, time) in points {
            let said = format!("{}, {size} rows: {} ms", layout.rows[*row], numbers::plain(*time));
            chart.dot((*size, *time), 4.0, *row, &said)?;
        }
    }
    Ok(Some(Plot {
        title: "Median forward time (ms)".to_owned(),
        svg: chart.finish(&format!(
            "Median forward time in milliseconds by rows of a batch, a line each for {} rows",
            lines.len()
        )),
        note: String::new(),
        legend: lines.iter().map(|(row, _)| (*row, layout.rows[*row].clone())).collect(),
    }))
}

/// Median and 95th percentile of a size in milliseconds.
fn times(found: &[&Latency], size: u64) -> Option<String> {
    let of = || found.iter().flat_map(|latency| &latency.batches).filter(|batch| batch.size == size);
    let mean = |values: Vec<f64>| numbers::mean_and_deviation(&values).map(|(mean, _)| numbers::plain(1000.0 * mean));
    let median = mean(of().map(|batch| batch.median_seconds).collect())?;
    Some(format!("{median} / {}", mean(of().map(|batch| batch.p95_seconds).collect())?))
}

/// The figures of a member by name, for other programs.
pub fn figures(member: &Member) -> Vec<(String, f64)> {
    let batches = member.latency.iter().flat_map(|latency| &latency.batches);
    batches
        .flat_map(|batch| {
            let name = |what: &str| format!("latency.{}.{what}", batch.size);
            [(name("median_seconds"), batch.median_seconds), (name("p95_seconds"), batch.p95_seconds)]
        })
        .collect()
}
