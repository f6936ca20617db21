//! The table of forward times: a row for each row of the report, a column for each size of batch. Knows what a cell means;
//! knows no Markdown and no HTML.

use std::collections::{BTreeMap, BTreeSet};

use spec::observed::Latency;

use super::{
    layout::{Group, Layout},
    member::Member,
    numbers,
    plots::{LINES, Plot},
    svg::{Area, Picture, Scale},
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
pub fn plot(layout: &Layout<'_>, group: &Group<'_>) -> Option<Plot> {
    let line = |(row, members): (usize, &[&Member])| {
        let mut points: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
        for batch in members.iter().filter_map(|member| member.latency.as_ref()).flat_map(|latency| &latency.batches) {
            points.entry(batch.size).or_default().push(1000.0 * batch.median_seconds);
        }
        let mean = |(size, values): (u64, Vec<f64>)| Some((size as f64, numbers::mean_and_deviation(&values)?.0));
        (row, points.into_iter().filter_map(mean).collect::<Vec<(f64, f64)>>())
    };
    let lines: Vec<(usize, Vec<(f64, f64)>)> =
        group.filled().map(line).filter(|(_, points)| points.len() > 1).take(LINES).collect();
    let all = || lines.iter().flat_map(|(_, points)| points);
    let greatest = |of: fn(&(f64, f64)) -> f64| all().map(of).fold(f64::MIN, f64::max);
    let smallest = all().map(|(size, _)| *size).fold(f64::MAX, f64::min);
    if lines.is_empty() {
        return None;
    }
    let (width, height) = (480.0, 260.0);
    let area = Area { left: 52.0, right: width - 16.0, top: 14.0, bottom: height - 44.0 };
    let x = Scale::log(smallest, greatest(|(size, _)| *size), area.left + 8.0, area.right - 8.0);
    let y = Scale::linear(0.0, greatest(|(_, time)| *time), area.bottom, area.top);
    let mut picture = Picture::new(width, height);
    picture.frame(area, &x, &y, "rows of a batch");
    for (row, points) in &lines {
        let placed: Vec<(f64, f64)> = points.iter().map(|(size, time)| (x.at(*size), y.at(*time))).collect();
        picture.path(&placed, *row, "curve");
        for ((size, time), place) in points.iter().zip(placed) {
            let said = format!("{}, {size} rows: {} ms", layout.rows[*row], numbers::plain(*time));
            picture.dot(place, 4.0, *row, "dot", &said);
        }
    }
    Some(Plot {
        title: "Median forward time (ms)".to_owned(),
        svg: picture.finish(&format!(
            "Median forward time in milliseconds by rows of a batch, a line each for {} rows",
            lines.len()
        )),
        note: String::new(),
        legend: lines.iter().map(|(row, _)| (*row, layout.rows[*row].clone())).collect(),
    })
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
