//! The table of forward times: a row for each row of the report, a column for each size of batch. Knows what a cell means;
//! knows no Markdown and no HTML.

use std::collections::BTreeSet;

use spec::observed::Latency;

use super::{
    layout::{Group, Layout},
    member::Member,
    numbers,
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
        sheet.lines.push(Line { label: layout.rows[row].clone(), source: None, row: Some(row), cells });
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
