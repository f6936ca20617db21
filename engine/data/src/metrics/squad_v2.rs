//! `squad_v2`: exact match and F1 as the official SQuAD 2.0 script counts them (Rajpurkar et al. 2018, arXiv
//! 1806.03822; `evaluate-v2.0.py`), to the last character of its text handling. Knows no file and no model.

use super::meaning::{Meaning, Meanings};
use super::text::squad::{f1, normalize};
use super::texts::{Statistics, TextRow, Whole};
use super::thresholds::{Question, average_precisions, best_threshold};
use super::uncertainty::{Drawn, mean, of_drawn_sums, standard_error};
use super::{Figures, Signature};

/// What the figures mean.
pub(super) const MEANINGS: Meanings = &[
    ("exact", Meaning::percent("Exact match")),
    ("f1", Meaning::percent("F1")),
    ("has_ans_exact", Meaning::percent("HasAns exact")),
    ("has_ans_f1", Meaning::percent("HasAns F1")),
    ("no_ans_exact", Meaning::percent("NoAns exact")),
    ("no_ans_f1", Meaning::percent("NoAns F1")),
    ("best_exact", Meaning::percent("Best exact")),
    ("best_f1", Meaning::percent("Best F1")),
    ("pr_exact_ap", Meaning::percent("Exact AP")),
    ("pr_f1_ap", Meaning::percent("F1 AP")),
    ("pr_oracle_ap", Meaning::percent("Oracle AP")),
];

/// Exact match and F1 against the best of several gold answers; a question without gold answers wants the empty text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SquadV2 {
    no_answer: Option<String>,
}

/// A scored question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// Exact match and F1, from 0 to 1.
    pub scores: [f64; 2],
    /// Whether the question has an answer.
    pub has_answer: bool,
    /// Whether the answer is empty or means that there is none.
    pub is_empty: bool,
    /// How likely it is that there is no answer.
    pub no_answer: Option<f64>,
}

impl SquadV2 {
    /// The metric; a prediction that normalises to the same as `no_answer` counts as the empty text.
    pub fn new(no_answer: Option<&str>) -> Self {
        Self { no_answer: no_answer.map(normalize) }
    }
}

/// F1 where two texts without words are the same, and one without is another.
fn f1_or_empty(gold: &str, prediction: &str) -> f64 {
    match gold.is_empty() || prediction.is_empty() {
        true => f64::from(u8::from(gold == prediction)),
        false => f1(gold, prediction),
    }
}

const EXACT_AND_F1: [&str; 2] = ["exact", "f1"];

impl Statistics for SquadV2 {
    type Row = Scored;

    const HEADLINE: &'static [&'static str] = &["exact", "f1", "has_ans_exact", "no_ans_exact"];
    const WANTS_REFERENCES: bool = false;

    fn row(&self, row: &TextRow) -> Scored {
        let has_answer = !row.references.is_empty();
        let Some(text) = row.prediction.as_deref() else {
            return Scored { scores: [0.0; 2], has_answer, is_empty: false, no_answer: row.no_answer };
        };
        let mut prediction = normalize(text);
        let mut is_empty = text.is_empty();
        if self.no_answer.as_ref() == Some(&prediction) {
            prediction.clear();
            is_empty = true;
        }
        let mut golds: Vec<String> =
            row.references.iter().map(|gold| normalize(gold)).filter(|gold| !gold.is_empty()).collect();
        if golds.is_empty() {
            golds.push(String::new());
        }
        let scores = golds.iter().fold([0.0_f64; 2], |[exact, best], gold| {
            [exact.max(f64::from(u8::from(*gold == prediction))), best.max(f1_or_empty(gold, &prediction))]
        });
        Scored { scores, has_answer, is_empty, no_answer: row.no_answer }
    }

    fn figures(&self, row: &Scored) -> Figures {
        let [exact, f1] = row.scores;
        let has_answer = f64::from(u8::from(row.has_answer));
        Figures::from([("exact".to_owned(), exact), ("f1".to_owned(), f1), ("has_answer".to_owned(), has_answer)])
    }

    fn whole(&self, rows: &[Scored]) -> Whole {
        let mut whole = Whole::default();
        let mut part = |prefix: &str, wanted: fn(&Scored) -> bool| {
            let rows: Vec<&Scored> = rows.iter().filter(|row| wanted(row)).collect();
            if rows.is_empty() {
                return;
            }
            for (index, name) in EXACT_AND_F1.into_iter().enumerate() {
                let name = format!("{prefix}{name}");
                let values = rows.iter().map(|row| 100.0 * row.scores[index]);
                whole.uncertainty.extend(standard_error(values.clone()).map(|error| (name.clone(), error)));
                whole.summary.extend(mean(values).map(|mean| (name, mean)));
            }
            whole.summary.insert(format!("{prefix}total"), rows.len() as f64);
        };
        part("", |_| true);
        part("has_ans_", |row| row.has_answer);
        part("no_ans_", |row| !row.has_answer);
        whole.summary.extend(withheld(rows));
        whole
    }

    fn of_drawn(&self, rows: &[Scored]) -> Drawn<'static> {
        let of_row = |row: &Scored| {
            let [exact, f1] = row.scores;
            let [has, has_not] = if row.has_answer { [1.0, 0.0] } else { [0.0, 1.0] };
            [exact, f1, 1.0, exact * has, has, exact * has_not, has_not]
        };
        of_drawn_sums(rows.iter().flat_map(of_row).collect(), 7, |sums| {
            let parts = [(0, 2), (1, 2), (3, 4), (5, 6)].map(|(sum, rows)| (sums[sum], sums[rows]));
            let some = Self::HEADLINE.iter().zip(parts).filter(|(_, (_, rows))| *rows > 0.0);
            some.map(|(name, (sum, rows))| ((*name).to_owned(), 100.0 * sum / rows)).collect()
        })
    }

    fn signature(&self) -> Signature {
        let no_answer = match &self.no_answer {
            Some(text) => format!("{text:?}"),
            None => "empty".to_owned(),
        };
        vec![("no_answer", no_answer), ("like", "evaluate-v2.0.py".to_owned()), ("version", "1".to_owned())]
    }
}

/// What withholding answers could reach, where every question says how likely it is that there is no answer.
fn withheld(rows: &[Scored]) -> Figures {
    let mut figures = Figures::new();
    for (index, name) in EXACT_AND_F1.into_iter().enumerate() {
        let question = |row: &Scored| {
            let Scored { scores, has_answer, is_empty, no_answer } = *row;
            Some(Question { no_answer: no_answer?, score: scores[index], has_answer, is_empty })
        };
        let Some(questions) = rows.iter().map(question).collect::<Option<Vec<Question>>>() else { return figures };
        if let Some((best, threshold)) = best_threshold(&questions) {
            figures.insert(format!("best_{name}"), best);
            figures.insert(format!("best_{name}_thresh"), threshold);
        }
        if let Some((precision, oracle)) = average_precisions(&questions) {
            figures.insert(format!("pr_{name}_ap"), precision);
            figures.insert("pr_oracle_ap".to_owned(), oracle);
        }
    }
    figures
}

#[cfg(test)]
mod tests;
