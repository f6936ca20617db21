//! How long rows are: what tokenize stages say of their splits. Knows their summaries; no token.

use std::collections::BTreeMap;

use serde::Deserialize;
use spec::{files, job::Failure};

use super::{
    axis::Axis,
    chart::{Chart, Size, Undrawn},
    member::{Member, malformed, unreadable},
    numbers,
    plots::Plot,
    table::{Cell, Line, Sheet},
};

/// What a tokenize stage says of a split.
#[derive(Debug, Deserialize)]
struct Split {
    rows: u64,
    tokens: u64,
    #[serde(default)]
    longest: u64,
    #[serde(default)]
    dropped: u64,
    #[serde(default)]
    truncated: u64,
    #[serde(default)]
    failed: u64,
    /// Rows by the power of two that their length reaches.
    #[serde(default)]
    lengths: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Summary {
    splits: BTreeMap<String, Split>,
}

/// The splits of all tokenize stages, and how their lengths are spread.
///
/// # Errors
/// When a summary cannot be read, or a plot not be drawn.
pub fn sheet(members: &[Member]) -> Result<Option<(Sheet, Vec<Plot>)>, Failure> {
    let columns = ["Rows", "Tokens", "Mean length", "Longest", "Truncated", "Dropped", "Too long to be asked"];
    let mut sheet = Sheet { columns: columns.map(String::from).to_vec(), ..Sheet::default() };
    let mut plots = Vec::new();
    for member in members.iter().filter(|member| member.input.kind == "tokenize") {
        let path = member.input.file(files::SUMMARY);
        let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        let summary: Summary = serde_json::from_str(&text).map_err(|error| malformed(&path, error.line(), &error))?;
        for (name, split) in &summary.splits {
            let label = format!("{}/{name}", member.input.name());
            let mean = (split.rows > 0).then(|| numbers::fixed(split.tokens as f64 / split.rows as f64, 1));
            let counts = [split.longest, split.truncated, split.dropped, split.failed].map(numbers::count);
            let first = [Some(numbers::count(split.rows)), Some(numbers::count(split.tokens)), mean];
            let cells = first.into_iter().chain(counts.map(Some)).map(Cell::of).collect();
            plots.extend(histogram(&label, split)?);
            sheet.lines.push(Line { label, aside: None, row: None, cells });
        }
    }
    Ok((!sheet.lines.is_empty()).then_some((sheet, plots)))
}

/// How many rows there are of each length: a bar a power of two.
fn histogram(label: &str, split: &Split) -> Result<Option<Plot>, Undrawn> {
    let mut bars: Vec<(u64, u64)> =
        split.lengths.iter().filter_map(|(least, rows)| Some((least.parse().ok()?, *rows))).collect();
    bars.sort_unstable();
    let most = bars.iter().map(|(_, rows)| *rows).max().unwrap_or_default();
    if most == 0 {
        return Ok(None);
    }
    let range = |least: u64| {
        let upto = (least.max(1) * 2 - 1).min(split.longest.max(least));
        if upto > least { format!("{least}–{upto}") } else { least.to_string() }
    };
    let ranges = Axis::names(bars.iter().map(|(least, _)| range(*least)));
    let size = Size { width: 480.0, height: 190.0, left: 42.0, right: 12.0, top: 14.0, bottom: 40.0 };
    let mut chart = Chart::new(size, ranges, Axis::linear(0.0, most as f64))?;
    chart.frame("tokens")?;
    for (x, (least, count)) in (0..).map(f64::from).zip(&bars) {
        let said = format!("{} tokens: {} rows", range(*least), numbers::count(*count));
        chart.bar([(x - 0.38, *count as f64), (x + 0.38, 0.0)], 1, &said)?;
    }
    Ok(Some(Plot {
        title: format!("Lengths of {label}"),
        svg: chart
            .finish(&format!("How many of the {} rows of {label} have how many tokens", numbers::count(split.rows))),
        note: String::new(),
        legend: Vec::new(),
    }))
}
