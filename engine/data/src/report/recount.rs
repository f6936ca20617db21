//! An evaluation's rows read again from its predictions, as its metrics count them: so that figures can be counted of rows
//! that were drawn anew, and of answers that nobody gave. Knows predictions and metrics; no table.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    ops::Range,
};

use serde::Deserialize;
use serde_json::{Map, Value};
use spec::{
    files,
    job::Failure,
    metric::{Metric, names},
    protocol::Protocol,
    stage::{Baseline, Evaluate, Stage},
};

use super::member::{Member, malformed, unreadable};
use crate::metrics::{
    ChoiceRow, ChoiceScore, ClassRow, Counter, Drawn, Figures, NumberRow, TextRow, TokenScore, counter, first_best,
    headline,
};

/// An evaluation's rows, and the metrics that counted them.
pub struct Recount {
    /// The rows' ids, in the order of the file; a row with several samples stands once.
    pub ids: Vec<String>,
    /// The answers of each of these rows.
    answers: Vec<Range<usize>>,
    /// The classes by name, or the choices that all rows have.
    labels: Vec<String>,
    counters: Vec<(String, Counter)>,
    rows: Rows,
}

/// What the metrics compare.
enum Rows {
    Texts(Vec<TextRow>),
    Classes(Vec<ClassRow>),
    Numbers(Vec<NumberRow>),
    Choices(Vec<ChoiceRow>),
    Tokens(Vec<TokenScore>),
}

/// What a line of the predictions may hold.
#[derive(Deserialize)]
struct Line {
    id: String,
    #[serde(default)]
    output: Value,
    extracted: Option<Value>,
    #[serde(default)]
    references: Vec<Value>,
    failed: Option<String>,
    none_is_better_by: Option<f64>,
    #[serde(default)]
    probabilities: Option<Map<String, Value>>,
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    scores: BTreeMap<String, Option<BTreeMap<String, Option<f64>>>>,
}

#[derive(Deserialize)]
struct Choice {
    text: String,
    log_likelihood: Option<f64>,
    tokens: Option<usize>,
}

impl Recount {
    /// Reads a member's rows; nothing where it left no predictions, or nobody said how it was made.
    ///
    /// # Errors
    /// When the predictions cannot be read or are no JSON.
    pub fn read(member: &Member) -> Result<Option<Self>, Failure> {
        let Some(stage) = evaluation(member) else { return Ok(None) };
        let path = member.input.file(files::PREDICTIONS);
        if !path.is_file() {
            return Ok(None);
        }
        let file = File::open(&path).map_err(|error| unreadable(&path, &error))?;
        let mut lines: Vec<Line> = Vec::new();
        for (index, line) in BufReader::new(file).lines().enumerate() {
            let line = line.map_err(|error| unreadable(&path, &error))?;
            lines.push(serde_json::from_str(&line).map_err(|error| malformed(&path, index + 1, &error))?);
        }
        let (mut ids, mut answers): (Vec<String>, Vec<Range<usize>>) = (Vec::new(), Vec::new());
        for (index, line) in lines.iter().enumerate() {
            match (ids.last(), answers.last_mut()) {
                (Some(last), Some(answers)) if *last == line.id => answers.end = index + 1,
                _ => {
                    ids.push(line.id.clone());
                    answers.push(index..index + 1);
                }
            }
        }
        // Synonyms are in another stage's folder: what needs them is not counted again.
        let counted = |metric: &Metric| !matches!(metric, Metric::Meteor(settings) if settings.synonyms.is_some());
        let counters = names(&stage.metrics).into_iter().zip(&stage.metrics);
        let counters = counters.filter(|(_, metric)| counted(metric)).map(|(name, metric)| (name, counter(metric)));
        let labels = labels(&lines);
        let rows = Rows::of(&stage.protocol, &lines, &labels);
        // Rows that do not say what they are compared with cannot be counted again: such as those of a model that answered none.
        let all = rows.len() == lines.len();
        Ok(all.then(|| Self { ids, answers, rows, labels, counters: counters.collect() }))
    }

    /// The answers to these rows, by their numbers.
    pub fn answers_to(&self, rows: impl Iterator<Item = usize>) -> Vec<usize> {
        rows.flat_map(|row| self.answers[row].clone()).collect()
    }

    /// Each metric's name, and how its shown figures follow from answers, by their numbers.
    pub fn drawn(&self) -> Vec<(&str, Drawn<'_>)> {
        let mut all: Vec<(&str, Drawn<'_>)> = Vec::new();
        for (name, counter) in &self.counters {
            let drawn: Drawn<'_> = match (&self.rows, counter) {
                (Rows::Texts(rows), Counter::Text(metric)) => metric.drawn(rows),
                (Rows::Classes(rows), Counter::Classes(metric)) => metric.drawn(rows, &self.labels),
                (Rows::Numbers(rows), Counter::Numbers(metric)) => metric.drawn(rows),
                (Rows::Tokens(rows), Counter::Tokens(metric)) => metric.drawn(rows),
                (Rows::Choices(rows), Counter::Choices(metric)) => metric.drawn(rows),
                (Rows::Choices(rows), Counter::Classes(metric)) => metric.drawn(&chosen(rows), &self.labels),
                _ => continue,
            };
            all.push((name, drawn));
        }
        all
    }

    /// The shown figures, by `metric.figure`, that the same answer to every row would get, and that answer in words. Nothing
    /// where the rows want no answer of that kind.
    pub fn always(&self, baseline: &Baseline) -> Option<(String, Figures)> {
        let (said, rows) = match &self.rows {
            Rows::Texts(rows) => {
                let answer = match baseline {
                    Baseline::EmptyAnswer(_) => String::new(),
                    Baseline::Answer(text) => text.clone(),
                    Baseline::Majority(_) => {
                        most(rows.iter().map(|row| row.references.first().cloned().unwrap_or_default()))?
                    }
                };
                let same = |row: &TextRow| TextRow { prediction: Some(answer.clone()), no_answer: None, ..row.clone() };
                let rows = Rows::Texts(rows.iter().map(same).collect());
                (if answer.is_empty() { "no answer".to_owned() } else { format!("“{answer}”") }, rows)
            }
            Rows::Classes(rows) => {
                let class = self.class(baseline, rows.iter().map(|row| row.right))?;
                let same = |row: &ClassRow| ClassRow { predicted: Some(class), right: row.right };
                (format!("“{}”", self.labels.get(class)?), Rows::Classes(rows.iter().map(same).collect()))
            }
            Rows::Choices(rows) => {
                let number = self.class(baseline, rows.iter().map(|row| row.right))?;
                let likely = |row: &ChoiceRow| {
                    let choice = |(index, choice): (usize, &ChoiceScore)| ChoiceScore {
                        log_likelihood: if index == number { 0.0 } else { f64::NEG_INFINITY },
                        ..*choice
                    };
                    ChoiceRow { choices: row.choices.iter().enumerate().map(choice).collect(), right: row.right }
                };
                let said =
                    self.labels.get(number).map_or_else(|| format!("choice {}", number + 1), |t| format!("“{t}”"));
                (said, Rows::Choices(rows.iter().map(likely).collect()))
            }
            Rows::Numbers(_) | Rows::Tokens(_) => return None,
        };
        Some((said, self.figures(&rows)))
    }

    /// The classes or choices that an answer must be one of; nothing where any text is an answer, or none is.
    pub fn classes(&self) -> Option<&[String]> {
        matches!(self.rows, Rows::Classes(_) | Rows::Choices(_)).then_some(&self.labels)
    }

    /// The number of the class, or the choice, that a baseline answers.
    fn class(&self, baseline: &Baseline, right: impl Iterator<Item = usize>) -> Option<usize> {
        match baseline {
            Baseline::Majority(_) => most(right),
            Baseline::Answer(text) => self.labels.iter().position(|label| label == text),
            Baseline::EmptyAnswer(_) => None,
        }
    }

    /// The shown figures of rows.
    fn figures(&self, rows: &Rows) -> Figures {
        let mut figures = Figures::new();
        for (name, counter) in &self.counters {
            let counted = match (rows, counter) {
                (Rows::Texts(rows), Counter::Text(metric)) => metric.count(rows),
                (Rows::Classes(rows), Counter::Classes(metric)) => metric.count(rows, &self.labels),
                (Rows::Choices(rows), Counter::Choices(metric)) => metric.count(rows),
                (Rows::Choices(rows), Counter::Classes(metric)) => metric.count(&chosen(rows), &self.labels),
                _ => continue,
            };
            figures.extend(headline(name, counted.headline, &counted.summary));
        }
        figures
    }
}

/// The evaluate stage that a member is of, where somebody said how it was made.
pub fn evaluation(member: &Member) -> Option<Box<Evaluate>> {
    let made = member.input.made.as_ref()?;
    match Stage::deserialize(&member.input.kind, &made.settings) {
        Some(Ok(Stage::Evaluate(stage))) => Some(stage),
        _ => None,
    }
}

impl Rows {
    fn len(&self) -> usize {
        match self {
            Self::Texts(rows) => rows.len(),
            Self::Classes(rows) => rows.len(),
            Self::Numbers(rows) => rows.len(),
            Self::Choices(rows) => rows.len(),
            Self::Tokens(rows) => rows.len(),
        }
    }

    fn of(protocol: &Protocol, lines: &[Line], labels: &[String]) -> Self {
        match protocol {
            Protocol::Generate(_) | Protocol::Span(_) => Self::Texts(lines.iter().map(text_row).collect()),
            Protocol::Classify(_) => Self::Classes(lines.iter().filter_map(|line| class_row(line, labels)).collect()),
            Protocol::Regress(_) => Self::Numbers(lines.iter().filter_map(number_row).collect()),
            Protocol::Choices(_) => Self::Choices(lines.iter().filter_map(choice_row).collect()),
            Protocol::Perplexity(_) => Self::Tokens(lines.iter().map(token_score).collect()),
        }
    }
}

fn text_row(line: &Line) -> TextRow {
    let prediction = match &line.extracted {
        Some(extracted) => extracted.as_str(),
        None => line.output.as_str(),
    };
    TextRow {
        prediction: prediction.filter(|_| line.failed.is_none()).map(str::to_owned),
        references: line.references.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        no_answer: line.none_is_better_by,
    }
}

fn class_row(line: &Line, labels: &[String]) -> Option<ClassRow> {
    let number = |value: &Value| labels.iter().position(|label| Some(label.as_str()) == value.as_str());
    Some(ClassRow { predicted: number(&line.output), right: number(line.references.first()?)? })
}

fn number_row(line: &Line) -> Option<NumberRow> {
    Some(NumberRow { predicted: line.output.as_f64(), right: line.references.first()?.as_f64()? })
}

fn choice_row(line: &Line) -> Option<ChoiceRow> {
    let score = |choice: &Choice| ChoiceScore {
        log_likelihood: choice.log_likelihood.unwrap_or(f64::NEG_INFINITY),
        tokens: choice.tokens.unwrap_or_default(),
        characters: choice.text.chars().count(),
        bytes: choice.text.len(),
    };
    let right = line.references.first()?.as_str()?;
    let right = line.choices.iter().position(|choice| choice.text == right)?;
    let choices = if line.failed.is_some() { Vec::new() } else { line.choices.iter().map(score).collect() };
    Some(ChoiceRow { choices, right })
}

fn token_score(line: &Line) -> TokenScore {
    let figures = line.scores.values().flatten();
    let all: BTreeMap<&str, f64> =
        figures.flat_map(|row| row.iter()).filter_map(|(name, value)| Some((name.as_str(), (*value)?))).collect();
    let count = |name: &str| all.get(name).copied().unwrap_or_default() as u64;
    TokenScore {
        nll: all.get("nll").copied().unwrap_or_default(),
        tokens: count("tokens"),
        correct: count("correct"),
        words: count("words"),
        bytes: count("bytes"),
    }
}

/// The classes by name as the rows list them, or the choices where every row has the same.
fn labels(lines: &[Line]) -> Vec<String> {
    if let Some(probabilities) = lines.iter().find_map(|line| line.probabilities.as_ref()) {
        return probabilities.keys().cloned().collect();
    }
    let texts = |line: &Line| line.choices.iter().map(|choice| choice.text.clone()).collect::<Vec<_>>();
    let first = lines.first().map(texts).unwrap_or_default();
    if lines.iter().all(|line| texts(line) == first) { first } else { Vec::new() }
}

fn chosen(rows: &[ChoiceRow]) -> Vec<ClassRow> {
    let chosen = |row: &ChoiceRow| ClassRow {
        predicted: first_best(row.choices.iter().map(|choice| choice.log_likelihood)),
        right: row.right,
    };
    rows.iter().map(chosen).collect()
}

/// What occurs most often, of equals the first in order.
fn most<T: Ord>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: BTreeMap<T, usize> = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let mut best: Option<(T, usize)> = None;
    for (value, count) in counts {
        if best.as_ref().is_none_or(|(_, most)| count > *most) {
            best = Some((value, count));
        }
    }
    best.map(|(value, _)| value)
}
