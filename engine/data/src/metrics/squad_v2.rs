//! `squad_v2`: exact match and F1 as the official SQuAD 2.0 script counts them (Rajpurkar et al. 2018, arXiv
//! 1806.03822; `evaluate-v2.0.py`), to the last character of its text handling. Knows no file and no model.

use std::{collections::HashMap, sync::LazyLock};

use regex::Regex;

use super::{Figures, TextMetric};

/// Exact match and F1 against the best of several gold answers; a question without gold answers wants the empty text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SquadV2 {
    no_answer: Option<String>,
}

impl SquadV2 {
    /// The metric; a prediction that normalises to the same as `no_answer` counts as the empty text.
    pub fn new(no_answer: Option<&str>) -> Self {
        Self { no_answer: no_answer.map(normalize) }
    }
}

impl TextMetric for SquadV2 {
    fn score(&self, prediction: &str, references: &[String]) -> Figures {
        let prediction = normalize(prediction);
        let prediction = if self.no_answer.as_ref() == Some(&prediction) { "" } else { prediction.as_str() };
        let golds: Vec<String> =
            references.iter().map(|gold| normalize(gold)).filter(|gold| !gold.is_empty()).collect();
        let best = |score: fn(&str, &str) -> f64| match golds.as_slice() {
            [] => score("", prediction),
            golds => golds.iter().map(|gold| score(gold, prediction)).fold(0.0, f64::max),
        };
        figures(best(exact), best(f1), references)
    }

    fn failed(&self, references: &[String]) -> Figures {
        figures(0.0, 0.0, references)
    }

    fn summary(&self, rows: &[Figures]) -> Figures {
        let mut summary = Figures::new();
        let mut part = |prefix: &str, wanted: fn(f64) -> bool| {
            let rows: Vec<&Figures> = rows.iter().filter(|row| wanted(figure(row, HAS_ANSWER))).collect();
            if rows.is_empty() {
                return;
            }
            for name in ["exact", "f1"] {
                let sum: f64 = rows.iter().map(|row| figure(row, name)).sum();
                summary.insert(format!("{prefix}{name}"), 100.0 * sum / rows.len() as f64);
            }
            summary.insert(format!("{prefix}total"), rows.len() as f64);
        };
        part("", |_| true);
        part("has_ans_", |has_answer| has_answer > 0.5);
        part("no_ans_", |has_answer| has_answer < 0.5);
        summary
    }

    fn headline(&self) -> &'static [&'static str] {
        &["exact", "f1", "has_ans_exact", "no_ans_exact"]
    }
}

/// The figure of a row that says whether its question has an answer.
const HAS_ANSWER: &str = "has_answer";

fn figures(exact: f64, f1: f64, references: &[String]) -> Figures {
    let has_answer = if references.is_empty() { 0.0 } else { 1.0 };
    Figures::from([("exact".into(), exact), ("f1".into(), f1), (HAS_ANSWER.into(), has_answer)])
}

fn figure(row: &Figures, name: &str) -> f64 {
    row.get(name).copied().unwrap_or_default()
}

/// A text as it is compared: lower case, without ASCII punctuation and English articles, words one space apart.
pub fn normalize(text: &str) -> String {
    let bare: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let kept = match WORD.as_ref() {
        Some(word) => word.replace_all(&bare, |found: &regex::Captures<'_>| match &found[0] {
            "a" | "an" | "the" => " ".to_owned(),
            word => word.to_owned(),
        }),
        None => bare.as_str().into(),
    };
    kept.split(is_python_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A run of what Python's `\w` matches, so that a whole run is what stands between two of its `\b`. Rust's `\w` is
/// another set: it holds marks, as `an` before a combining tilde.
static WORD: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"[\p{L}\p{N}_]+").ok());

/// What Python's `str.split` splits at: Unicode's white space and four separators of ASCII.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn exact(gold: &str, prediction: &str) -> f64 {
    if gold == prediction { 1.0 } else { 0.0 }
}

/// The harmonic mean of precision and recall over words, each counted as often as it occurs.
fn f1(gold: &str, prediction: &str) -> f64 {
    let words = |text: &'_ str| text.split(' ').filter(|word| !word.is_empty()).count();
    let (gold_words, predicted_words) = (words(gold), words(prediction));
    if gold_words == 0 || predicted_words == 0 {
        return if gold_words == predicted_words { 1.0 } else { 0.0 };
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in gold.split(' ') {
        *left.entry(word).or_default() += 1;
    }
    let mut same = 0_usize;
    for word in prediction.split(' ') {
        if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            same += 1;
        }
    }
    if same == 0 {
        return 0.0;
    }
    let precision = same as f64 / predicted_words as f64;
    let recall = same as f64 / gold_words as f64;
    2.0 * precision * recall / (precision + recall)
}

/// A scored question of a system that also says how likely it is that there is no answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Question {
    /// The probability that there is no answer.
    pub no_answer: f64,
    /// Exact match or F1 of the predicted text, from 0 to 1.
    pub score: f64,
    /// Whether the question has an answer.
    pub has_answer: bool,
    /// Whether the predicted text is empty.
    pub is_empty: bool,
}

/// The score of a question when the answer is withheld above a probability of no answer.
pub fn at_threshold(question: &Question, threshold: f64) -> f64 {
    match question.no_answer > threshold {
        true if question.has_answer => 0.0,
        true => 1.0,
        false => question.score,
    }
}

/// The best score in percent that withholding answers can reach, and the probability of no answer above which they
/// are withheld. Of questions that are equally probable, the first come first; there is no score of no question.
pub fn best_threshold(questions: &[Question]) -> Option<(f64, f64)> {
    if questions.is_empty() {
        return None;
    }
    let mut order: Vec<&Question> = questions.iter().collect();
    order.sort_by(|a, b| a.no_answer.total_cmp(&b.no_answer));
    let mut score = questions.iter().filter(|question| !question.has_answer).count() as f64;
    let (mut best, mut threshold) = (score, 0.0);
    for question in order {
        score += match (question.has_answer, question.is_empty) {
            (true, _) => question.score,
            (false, true) => 0.0,
            (false, false) => -1.0,
        };
        if score > best {
            (best, threshold) = (score, question.no_answer);
        }
    }
    Some((100.0 * best / questions.len() as f64, threshold))
}

#[cfg(test)]
mod tests;
