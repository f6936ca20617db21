//! How sure the differences between rows of a table are: a paired bootstrap over the rows that were scored, and Holm's
//! correction for how many differences are looked at. Knows figures of drawn rows; no metric and no page.

use rayon::prelude::*;
use spec::job::Failure;

use super::{
    layout::{Group, Layout},
    numbers,
    recount::Recount,
    table::{self, Cell, Line, Sheet, signed},
};
use crate::metrics::{Drawn, SEED, drawn, meaning};

/// How often rows are drawn anew.
const DRAWS: usize = 10_000;

/// Below this a difference is said to be one.
const SURE: f64 = 0.05;

/// The difference of a row's figure from that of the row that it is compared with.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The row of the report.
    pub row: usize,
    /// The figure, as `metric.figure`.
    pub figure: String,
    /// The row's mean over its members less the other's.
    pub mean: f64,
    /// The 95 % interval of that over draws.
    pub interval: (f64, f64),
    /// How likely so great a difference would be if there were none, after Holm's correction.
    pub p: f64,
}

/// All rows of a group against one of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Differences {
    /// The row that the others are compared with.
    pub against: usize,
    /// The rows that were scored, and drawn.
    pub rows: usize,
    /// Row by row, figure by figure.
    pub all: Vec<Difference>,
    /// Rows of the report that scored other rows, or whose predictions say too little.
    pub left_out: Vec<usize>,
}

/// Compares each row of a group with one: members of a row (seeds, tasks) are averaged in every draw, and all members that
/// scored the same rows see the same draws. Nothing where there is no second row to compare.
///
/// # Errors
/// When predictions cannot be read.
pub fn differences(group: &Group<'_>, figures: &[String], against: usize) -> Result<Option<Differences>, Failure> {
    let mut counted: Vec<(usize, Vec<Recount>)> = Vec::new();
    let mut left_out = Vec::new();
    for (row, members) in group.filled() {
        let read =
            members.iter().map(|member| Recount::read(member)).collect::<Result<Option<Vec<Recount>>, Failure>>()?;
        match read {
            Some(read) => counted.push((row, read)),
            None => left_out.push(row),
        }
    }
    let Some(sets) = counted.iter().find(|(row, _)| *row == against).map(|(_, read)| sets(read)) else {
        return Ok(None);
    };
    let alike = |read: &[Recount]| {
        let mut places: Vec<Option<usize>> =
            read.iter().map(|one| sets.iter().position(|ids| *ids == one.ids)).collect();
        let wanted: Vec<Option<usize>> = counted
            .iter()
            .filter(|(row, _)| *row == against)
            .flat_map(|(_, read)| read.iter().map(|one| sets.iter().position(|ids| *ids == one.ids)))
            .collect();
        places.sort_unstable();
        places.dedup();
        wanted.iter().all(|place| places.contains(place)) && places.iter().all(|place| wanted.contains(place))
    };
    let (same, others): (Vec<_>, Vec<_>) = counted.iter().partition(|(_, read)| alike(read));
    left_out.extend(others.iter().map(|(row, _)| *row));
    if same.len() < 2 || sets.iter().any(|ids| ids.len() < 2) {
        return Ok(None);
    }
    let sampler = |recount| Sampler::new(recount, &sets, figures);
    let members: Vec<(usize, Vec<Sampler<'_>>)> =
        same.iter().map(|(row, read)| (*row, read.iter().map(sampler).collect())).collect();
    let of = |rows: &[Vec<usize>]| -> Vec<Vec<f64>> {
        members.iter().map(|(_, samplers)| mean_of(samplers, rows, figures.len())).collect()
    };
    let whole = of(&sets.iter().map(|ids| (0..ids.len()).collect()).collect::<Vec<_>>());
    let draw = |number: u64| -> Vec<Vec<usize>> {
        let of_set = |(set, ids): (u64, &Vec<String>)| drawn(ids.len(), number + set * DRAWS as u64).collect();
        (0..).zip(&sets).map(of_set).collect()
    };
    let draws: Vec<Vec<Vec<f64>>> = (0..DRAWS as u64).into_par_iter().map(|number| of(&draw(number))).collect();
    let other = members.iter().position(|(row, _)| *row == against).unwrap_or_default();
    let mut all = Vec::new();
    for (index, (row, _)) in members.iter().enumerate().filter(|(index, _)| *index != other) {
        for (number, figure) in figures.iter().enumerate() {
            let mean = whole[index][number] - whole[other][number];
            let mut found: Vec<f64> = draws.iter().map(|draw| draw[index][number] - draw[other][number]).collect();
            found.retain(|value| value.is_finite());
            if let Some((interval, p)) = seen(found).filter(|_| mean.is_finite()) {
                all.push(Difference { row: *row, figure: figure.clone(), mean, interval, p });
            }
        }
    }
    let mut ps: Vec<f64> = all.iter().map(|difference| difference.p).collect();
    holm(&mut ps);
    for (difference, p) in all.iter_mut().zip(ps) {
        difference.p = p;
    }
    left_out.sort_unstable();
    Ok(Some(Differences { against, rows: sets.iter().map(Vec::len).sum(), all, left_out }))
}

/// The different sets of rows that members scored, by the rows' ids.
fn sets(read: &[Recount]) -> Vec<Vec<String>> {
    let mut sets: Vec<Vec<String>> = Vec::new();
    for recount in read {
        if !sets.contains(&recount.ids) {
            sets.push(recount.ids.clone());
        }
    }
    sets
}

/// The figures of a member over drawn rows.
struct Sampler<'a> {
    recount: &'a Recount,
    /// Which set of rows it scored.
    set: usize,
    /// Each metric with its figures: where they stand among those that are wanted, and their names in it.
    metrics: Vec<(Drawn<'a>, Vec<(usize, String)>)>,
}

impl<'a> Sampler<'a> {
    fn new(recount: &'a Recount, sets: &[Vec<String>], figures: &[String]) -> Self {
        let wanted = |metric: &str| -> Vec<(usize, String)> {
            let of =
                |(at, figure): (usize, &String)| Some((at, figure.strip_prefix(metric)?.strip_prefix('.')?.to_owned()));
            figures.iter().enumerate().filter_map(of).collect()
        };
        let metrics = recount.drawn().into_iter().map(|(name, drawn)| (drawn, wanted(name)));
        let set = sets.iter().position(|ids| *ids == recount.ids).unwrap_or_default();
        Self { recount, set, metrics: metrics.filter(|(_, wanted)| !wanted.is_empty()).collect() }
    }

    /// The wanted figures of the rows that are drawn of each set; no number where there is none.
    fn of(&self, rows: &[Vec<usize>], figures: usize) -> Vec<f64> {
        let answers = self.recount.answers_to(rows[self.set].iter().copied());
        let mut values = vec![f64::NAN; figures];
        for (drawn, wanted) in &self.metrics {
            let found = drawn(&answers);
            for (at, name) in wanted {
                values[*at] = found.get(name).copied().unwrap_or(f64::NAN);
            }
        }
        values
    }
}

/// The mean over members of each figure of drawn rows.
fn mean_of(members: &[Sampler<'_>], rows: &[Vec<usize>], figures: usize) -> Vec<f64> {
    let mut sums = vec![0.0; figures];
    for member in members {
        for (sum, value) in sums.iter_mut().zip(member.of(rows, figures)) {
            *sum += value;
        }
    }
    sums.iter().map(|sum| sum / members.len() as f64).collect()
}

/// The 95 % interval of what draws gave, and twice the part of them on the rarer side of zero, those at zero on both
/// (Efron and Tibshirani 1993, §15.4 and §16.4: the level at which the interval just reaches zero).
fn seen(mut draws: Vec<f64>) -> Option<((f64, f64), f64)> {
    if draws.is_empty() {
        return None;
    }
    draws.sort_by(f64::total_cmp);
    let beyond = draws.len() / 40;
    let below = draws.iter().filter(|value| **value <= 0.0).count();
    let above = draws.iter().filter(|value| **value >= 0.0).count();
    let p = 2.0 * (below.min(above) + 1) as f64 / (draws.len() + 1) as f64;
    Some(((draws[beyond], draws[draws.len() - 1 - beyond]), p.min(1.0)))
}

/// Holm's step-down correction (Holm 1979): the smallest of m is multiplied with m, the next with m − 1, and so on, none
/// below the one before it.
fn holm(ps: &mut [f64]) {
    let mut order: Vec<usize> = (0..ps.len()).collect();
    order.sort_by(|a, b| ps[*a].total_cmp(&ps[*b]));
    let mut least: f64 = 0.0;
    for (rank, index) in order.into_iter().enumerate() {
        least = least.max(ps[index] * (ps.len() - rank) as f64).min(1.0);
        ps[index] = least;
    }
}

/// The differences as a table: a line a row, a column a figure.
pub fn sheet(layout: &Layout<'_>, group: &Group<'_>, figures: &[String], differences: &Differences) -> Sheet {
    let decimals = table::percent_decimals(group);
    let against = &layout.rows[differences.against];
    let mut sheet = Sheet { title: format!("Against {against}"), columns: table::titles(figures), ..Sheet::default() };
    let cell = |row: usize, figure: &String| {
        let of = |difference: &&Difference| difference.row == row && difference.figure == *figure;
        let Some(Difference { mean, interval: (low, high), p, .. }) = differences.all.iter().find(of) else {
            return Cell::default();
        };
        let written = |value: f64| match meaning(figure) {
            Some(meaning) if meaning.is_percent => numbers::fixed(value, decimals),
            _ => numbers::fixed(value, numbers::decimals(mean.abs().max(high - low)).max(2)),
        };
        Cell {
            text: signed(written(*mean)),
            more: Some(format!("{} to {}, p {}", signed(written(*low)), signed(written(*high)), probability(*p))),
            is_best: *p < SURE,
            ..Cell::default()
        }
    };
    for (row, _) in group.filled().filter(|(row, _)| *row != differences.against) {
        let cells: Vec<Cell> = figures.iter().map(|figure| cell(row, figure)).collect();
        if cells.iter().any(|cell| !cell.text.is_empty()) {
            sheet.lines.push(Line::own(layout, row, cells));
        }
    }
    let (rows, count) = (numbers::count(differences.rows as u64), differences.all.len());
    sheet.notes.push(format!(
        "Each row less {against}, with the 95 % interval of a paired bootstrap over the {rows} scored rows ({} draws, seed \
         {SEED}, members of a row averaged) and p after Holm's correction for {count} comparisons; bold where p is below \
         {SURE}. It speaks of other rows of the same kind, not of other seeds or other data.",
        numbers::count(DRAWS as u64),
    ));
    if !differences.left_out.is_empty() {
        let names: Vec<&str> = differences.left_out.iter().map(|row| layout.rows[*row].as_str()).collect();
        sheet
            .notes
            .push(format!("Not compared, because they scored other rows or too few of these: {}.", names.join(", ")));
    }
    sheet
}

/// The closest comparison of the best row by a figure, in a sentence.
pub fn sentence(layout: &Layout<'_>, group: &Group<'_>, figure: &str, differences: &Differences) -> Option<String> {
    let ranked = table::ranked(group, figure);
    let next = match ranked.as_slice() {
        [first, second, ..] if *first == differences.against => *second,
        [first, ..] => *first,
        [] => return None,
    };
    let of = |difference: &&Difference| difference.row == next && difference.figure == figure;
    let Difference { mean, interval: (low, high), p, .. } = differences.all.iter().find(of)?;
    let unit = if meaning(figure)?.is_percent { " points" } else { "" };
    let decimals = table::percent_decimals(group).max(1);
    let written = |value: f64| signed(numbers::fixed(value, if unit.is_empty() { 3 } else { decimals }));
    let sure = if *p < SURE { "more than chance" } else { "within what chance alone would give" };
    let title = table::titles(&[figure.to_owned()]).concat();
    Some(format!(
        "{} against {}: {}{unit} of {title} (95 % from {} to {}, p {}): {sure}.",
        layout.rows[next],
        layout.rows[differences.against],
        written(*mean),
        written(*low),
        written(*high),
        probability(*p),
    ))
}

/// A probability with two digits.
fn probability(p: f64) -> String {
    match p {
        p if p >= 0.995 => "1".to_owned(),
        p if p >= 0.1 => numbers::fixed(p, 2),
        p if p >= 0.001 => numbers::fixed(p, 3),
        _ => "< 0.001".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holm_steps_down() {
        let mut ps = [0.01, 0.04, 0.03, 0.005];
        holm(&mut ps);
        let wanted = [0.03, 0.06, 0.06, 0.02];
        assert!(ps.iter().zip(wanted).all(|(found, wanted)| (found - wanted).abs() < 1e-12), "{ps:?}");
        let mut ps = [0.9, 0.8];
        holm(&mut ps);
        assert_eq!(ps, [1.0, 1.0]);
    }

    #[test]
    fn what_is_never_on_one_side_is_sure_and_what_is_always_zero_is_not() {
        let ((low, high), p) = seen((1..=9999).map(f64::from).collect()).unwrap();
        assert_eq!((low, high), (250.0, 9750.0));
        assert!((p - 2.0 / 10000.0).abs() < 1e-12, "{p}");
        assert_eq!(seen(vec![0.0; 100]).unwrap(), ((0.0, 0.0), 1.0));
        assert_eq!(seen(Vec::new()), None);
        let (_, p) = seen((-500..=499).map(|value| f64::from(value) + 0.5).collect()).unwrap();
        assert_eq!(p, 1.0);
    }

    #[test]
    fn texts_of_figures() {
        assert_eq!(["-1.50", "0.0", "2"].map(|text| signed(text.to_owned())), ["−1.50", "0.0", "+2"]);
        assert_eq!([1.0, 0.25, 0.0123, 0.0002].map(probability), ["1", "0.25", "0.012", "< 0.001"]);
    }
}
