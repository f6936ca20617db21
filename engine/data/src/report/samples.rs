//! A few rows as the models answered them: those on which the methods differ, then those that all got wrong. Reads
//! `predictions.jsonl` line by line, so that a large file costs no memory.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
};

use serde_json::Value;
use spec::{files, job::Failure};

use super::{
    layout::Group,
    member::{Member, flatten, malformed, unreadable},
};

/// Rows of each sort that are shown.
const EACH: usize = 3;
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
    /// (row of the report, output, whether it was right).
    pub outputs: Vec<(usize, Option<String>, bool)>,
}

/// Chooses rows of a group by its first headline figure; none where no row was scored by itself.
///
/// # Errors
/// When the predictions cannot be read or are no JSON.
pub fn samples(group: &Group<'_>, figure: &str) -> Result<Vec<Sample>, Failure> {
    let first: Vec<(usize, &Member)> = group.filled().map(|(row, members)| (row, members[0])).collect();
    let mut right: Vec<Vec<bool>> = Vec::new();
    for (_, member) in &first {
        let mut scores = Vec::new();
        each_line(member, |_, row| {
            scores.push(score(&row, figure).is_some_and(|score| score >= 1.0));
            true
        })?;
        right.push(scores);
    }
    let rows = right.iter().map(Vec::len).min().unwrap_or_default();
    let count = |row: usize| right.iter().filter(|scores| scores[row]).count();
    let differ = (0..rows).filter(|row| (1..first.len()).contains(&count(*row))).take(EACH);
    let wrong = (0..rows).filter(|row| count(*row) == 0).take(EACH);
    let mut chosen: BTreeMap<usize, Sample> = BTreeMap::new();
    let new = |why| Sample { why, prompt: String::new(), references: Vec::new(), outputs: Vec::new() };
    chosen.extend(differ.map(|row| (row, new("the methods differ"))));
    chosen.extend(wrong.map(|row| (row, new("all wrong"))));
    let Some(last) = chosen.keys().next_back().copied() else { return Ok(Vec::new()) };
    for ((report_row, member), scores) in first.iter().zip(&right) {
        each_line(member, |index, row| {
            if let Some(sample) = chosen.get_mut(&index) {
                let text = |name: &str| row.get(name).and_then(Value::as_str);
                if sample.prompt.is_empty() {
                    sample.prompt = text("prompt").map(end_of).unwrap_or_default();
                    sample.references = match row.get("references") {
                        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                        _ => Vec::new(),
                    };
                    sample.references.sort();
                    sample.references.dedup();
                }
                let output = text("output").or_else(|| text("prediction")).map(start_of);
                sample.outputs.push((*report_row, output, scores[index]));
            }
            index < last
        })?;
    }
    Ok(chosen.into_values().collect())
}

/// The row's own figure, whether its scores are named `metric.figure`, nested, or bare.
fn score(row: &Value, figure: &str) -> Option<f64> {
    let mut figures = BTreeMap::new();
    flatten(row.get("scores").or_else(|| row.get("score"))?, &mut String::new(), &mut figures);
    let bare = figure.split_once('.').map_or(figure, |(_, bare)| bare);
    figures.get(figure).or_else(|| figures.get(bare)).copied()
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
