//! A few rows as the models answered them: those on which the methods differ most, then those that all did worst and best
//! on. Reads `predictions.jsonl` line by line, so that a large file costs no memory.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
};

use serde_json::Value;
use spec::{files, job::Failure};

use super::{
    layout::Group,
    member::{Member, malformed, unreadable},
    numbers,
};
use crate::metrics::row_score;

/// Rows of each sort that are shown.
const EACH: usize = 3;
/// Methods whose answers are shown side by side.
const METHODS: usize = 8;
/// Characters of a text that are shown.
const LONGEST: usize = 600;

/// A row, and what each method said.
#[derive(Debug)]
pub struct Sample {
    /// Why it is shown.
    pub why: &'static str,
    /// The end of the prompt.
    pub prompt: String,
    /// The right answers; empty where the right answer is none.
    pub references: Vec<String>,
    /// What the methods said.
    pub outputs: Vec<Output>,
}

/// What a method said.
#[derive(Debug)]
pub struct Output {
    /// The row of the report.
    pub row: usize,
    /// The start of the answer; nothing where the prompt did not fit.
    pub text: Option<String>,
    /// How good it was.
    pub score: Good,
}

/// How good an answer was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Good {
    /// Right.
    Right,
    /// Wrong.
    Wrong,
    /// By a score of the row.
    By(f64),
}

impl Good {
    /// In a character or two.
    pub fn mark(self) -> String {
        match self {
            Self::Right => "✓".to_owned(),
            Self::Wrong => "✗".to_owned(),
            Self::By(score) => numbers::fixed(score, 2),
        }
    }
}

/// How a method did on each row: what is more is better.
struct Scores {
    row: usize,
    of_rows: Vec<Option<f64>>,
    /// Whether a low number was good before its sign was changed.
    turned: bool,
}

/// How all methods together did on a row.
struct Known {
    row: usize,
    low: f64,
    mean: f64,
    high: f64,
}

/// Chooses rows of a group by a figure; none where no row was scored by itself.
///
/// # Errors
/// When the predictions cannot be read or are no JSON.
pub fn samples(group: &Group<'_>, figure: &str) -> Result<Vec<Sample>, Failure> {
    let first: Vec<(usize, &Member)> = group.filled().map(|(row, members)| (row, members[0])).take(METHODS).collect();
    let mut scores: Vec<Scores> = Vec::new();
    for (row, member) in &first {
        let mut of = Scores { row: *row, of_rows: Vec::new(), turned: false };
        each_line(member, |_, row| {
            let score = score(&row, figure);
            of.turned |= score.is_some_and(|(_, more_is_better)| !more_is_better);
            of.of_rows.push(score.map(|(value, more_is_better)| if more_is_better { value } else { -value }));
            true
        })?;
        scores.push(of);
    }
    let rows = scores.iter().map(|of| of.of_rows.len()).min().unwrap_or_default();
    let known = |row: usize| {
        let all: Option<Vec<f64>> = scores.iter().map(|of| of.of_rows[row]).collect();
        let all = all.filter(|all| !all.is_empty())?;
        let (low, high) = all.iter().fold((f64::MAX, f64::MIN), |(low, high), s| (low.min(*s), high.max(*s)));
        Some(Known { row, low, mean: all.iter().sum::<f64>() / all.len() as f64, high })
    };
    let known: Vec<Known> = (0..rows).filter_map(known).collect();
    let mut chosen: Vec<(usize, &'static str)> = Vec::new();
    let mut choose = |why: &'static str, by: &dyn Fn(&Known) -> Option<f64>| {
        let mut order: Vec<(usize, f64)> = known.iter().filter_map(|row| Some((row.row, by(row)?))).collect();
        order.sort_by(|one, other| other.1.total_cmp(&one.1).then(one.0.cmp(&other.0)));
        order.retain(|(row, _)| chosen.iter().all(|(other, _)| other != row));
        chosen.extend(order.into_iter().take(EACH).map(|(row, _)| (row, why)));
    };
    choose("the methods differ", &|row| (row.high > row.low).then_some(row.high - row.low));
    choose("all did badly", &|row| Some(-row.mean));
    choose("all did well", &|row| (row.low > 0.0).then_some(row.mean));
    let mut shown: BTreeMap<usize, Sample> = BTreeMap::new();
    for (row, why) in &chosen {
        shown.insert(*row, Sample { why, prompt: String::new(), references: Vec::new(), outputs: Vec::new() });
    }
    let Some(last) = shown.keys().next_back().copied() else { return Ok(Vec::new()) };
    for ((_, member), of) in first.iter().zip(&scores) {
        each_line(member, |index, row| {
            if let Some(sample) = shown.get_mut(&index) {
                if sample.prompt.is_empty() {
                    sample.prompt = asked(&row);
                    sample.references = match row.get("references") {
                        Some(Value::Array(list)) => list.iter().filter_map(said).collect(),
                        _ => Vec::new(),
                    };
                    sample.references.sort();
                    sample.references.dedup();
                }
                let text = row.get("output").and_then(said).map(|text| start_of(&text));
                let score = of.of_rows[index].unwrap_or_default();
                let score = match score {
                    score if of.turned => Good::By(-score),
                    score if score >= 1.0 => Good::Right,
                    score if score <= 0.0 => Good::Wrong,
                    score => Good::By(score),
                };
                sample.outputs.push(Output { row: of.row, text, score });
            }
            index < last
        })?;
    }
    Ok(chosen.into_iter().filter_map(|(row, _)| shown.remove(&row)).collect())
}

/// The prompt's end, and the second text where there is one.
fn asked(row: &Value) -> String {
    let text = |name: &str| row.get(name).and_then(Value::as_str);
    let texts: Vec<String> = [text("prompt"), text("pair")].into_iter().flatten().map(end_of).collect();
    texts.join("\n")
}

/// A text, or a number as text.
fn said(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => number.as_f64().map(numbers::plain),
        _ => None,
    }
}

/// How the row did by a figure, and whether more of that is better.
fn score(row: &Value, figure: &str) -> Option<(f64, bool)> {
    let (metric, figure) = figure.split_once('.')?;
    let figures = row.get("scores")?.get(metric)?.as_object()?;
    let figures = figures.iter().map(|(name, value)| (name.clone(), value.as_f64())).collect();
    let score = row_score(figure, &figures)?;
    Some((score.value?, score.more_is_better))
}

/// Reads the predictions until `read` wants no more; a member that left none has no line.
fn each_line(member: &Member, mut read: impl FnMut(usize, Value) -> bool) -> Result<(), Failure> {
    let path = member.input.file(files::PREDICTIONS);
    if !path.is_file() {
        return Ok(());
    }
    let file = File::open(&path).map_err(|error| unreadable(&path, &error))?;
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|error| unreadable(&path, &error))?;
        let row = serde_json::from_str(&line).map_err(|error| malformed(&path, index + 1, &error))?;
        if !read(index, row) {
            break;
        }
    }
    Ok(())
}

/// The end of a long prompt: the question stands there.
fn end_of(text: &str) -> String {
    let length = text.chars().count();
    if length <= LONGEST {
        return text.trim().to_owned();
    }
    format!("… {}", text.chars().skip(length - LONGEST).collect::<String>().trim())
}

/// The start of a long output.
fn start_of(text: &str) -> String {
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
