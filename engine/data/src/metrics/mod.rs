//! The metrics: one file each, and the registry that maps a pipeline's `metrics` to them. Counts texts and
//! likelihoods that others made; knows no model and no file.

mod accuracy;
mod bleu;
mod choices;
mod chrf;
mod classes;
mod exact_match;
mod f1;
mod hf_bleu;
mod matthews;
mod meaning;
mod meteor;
mod normalized_accuracy;
mod numbers;
mod pearson;
mod perplexity;
mod rouge;
mod row_score;
mod spearman;
mod squad_v1;
mod squad_v2;
mod text;
mod texts;
mod thresholds;
mod token_accuracy;
mod tokens;
mod uncertainty;
mod wordnet;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use spec::metric::{F1Of, Metric};

use crate::Error;

pub use accuracy::Accuracy;
pub use bleu::Bleu;
pub use choices::{ChoiceMetric, ChoiceRow, ChoiceScore, first_best};
pub use chrf::Chrf;
pub use classes::{ClassMetric, ClassRow};
pub use exact_match::ExactMatch;
pub use f1::{Averaged, F1};
pub use hf_bleu::HfBleu;
pub use matthews::Matthews;
pub use meaning::{Meaning, meaning};
pub use meteor::{Meteor, Synonyms};
pub use normalized_accuracy::NormalizedAccuracy;
pub use numbers::{NumberMetric, NumberRow};
pub use pearson::Pearson;
pub use perplexity::Perplexity;
pub use rouge::Rouge;
pub use row_score::{RowScore, row_score};
pub use spearman::Spearman;
pub use spec::metric::names;
pub use squad_v1::SquadV1;
pub use squad_v2::SquadV2;
pub use text::python::{pieces, strip};
pub use texts::{TextMetric, TextRow};
pub use thresholds::{Question, at_threshold, average_precisions, best_threshold};
pub use token_accuracy::TokenAccuracy;
pub use tokens::{TokenMetric, TokenScore};
pub use uncertainty::{Drawn, SEED, Uncertainties, Uncertainty, drawn};
pub use wordnet::WordNet;

/// The figures of one row, or of all rows together, by name.
pub type Figures = BTreeMap<String, f64>;

/// What a metric says of rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Counted {
    /// The figures of each row: 1 is right and 0 is wrong, whatever the unit of the whole.
    pub rows: Vec<Figures>,
    /// The figures of all rows together. Every row counts, failed ones too; there are no figures of no row.
    pub summary: Figures,
    /// How sure those are.
    pub uncertainty: Uncertainties,
    /// How they were counted: options, tokenizer, the implementation whose numbers these are, the metric's version.
    pub signature: String,
    /// The summary's figures that tables, locks and progress show, the first of them first.
    pub headline: &'static [&'static str],
}

/// A signature's parts, in their order.
type Signature = Vec<(&'static str, String)>;

/// A signature as text, `case:mixed|tok:13a|version:1`.
fn signature(parts: Signature) -> String {
    parts.into_iter().map(|(name, value)| format!("{name}:{value}")).collect::<Vec<_>>().join("|")
}

/// A metric of a pipeline file, ready to count.
pub enum Counter {
    /// Counts texts: for the protocols `generate` and `span`.
    Text(Box<dyn TextMetric>),
    /// Counts likelihoods: for the protocol `perplexity`.
    Tokens(Box<dyn TokenMetric>),
    /// Compares classes: for the protocol `classify`.
    Classes(Box<dyn ClassMetric>),
    /// Compares likelihoods: for the protocol `choices`.
    Choices(Box<dyn ChoiceMetric>),
    /// Compares numbers: for the protocol `regress`.
    Numbers(Box<dyn NumberMetric>),
}

impl Counter {
    /// The summary's figures that tables, locks and progress show, the first of them first.
    pub fn headline(&self) -> &'static [&'static str] {
        match self {
            Self::Text(metric) => metric.headline(),
            Self::Tokens(metric) => metric.headline(),
            Self::Classes(metric) => metric.headline(),
            Self::Choices(metric) => metric.headline(),
            Self::Numbers(metric) => metric.headline(),
        }
    }
}

/// The registry: what counts for each metric that a pipeline file can name.
pub fn counter(metric: &Metric) -> Counter {
    match metric {
        Metric::SquadV2(settings) => Counter::Text(Box::new(SquadV2::new(settings.no_answer.as_deref()))),
        Metric::SquadV1(_) => Counter::Text(Box::new(SquadV1)),
        Metric::ExactMatch(settings) => Counter::Text(Box::new(ExactMatch::new(settings))),
        Metric::Bleu(settings) => Counter::Text(Box::new(Bleu::new(settings))),
        Metric::HfBleu(settings) => Counter::Text(Box::new(HfBleu::new(settings))),
        Metric::Chrf(settings) => Counter::Text(Box::new(Chrf::new(settings))),
        Metric::Rouge(settings) => Counter::Text(Box::new(Rouge::new(settings))),
        Metric::Meteor(settings) => Counter::Text(Box::new(Meteor::new(settings))),
        Metric::Perplexity(_) => Counter::Tokens(Box::new(Perplexity)),
        Metric::TokenAccuracy(_) => Counter::Tokens(Box::new(TokenAccuracy)),
        Metric::Accuracy(_) => Counter::Classes(Box::new(Accuracy)),
        Metric::NormalizedAccuracy(settings) => Counter::Choices(Box::new(NormalizedAccuracy(settings.by))),
        Metric::F1(settings) => Counter::Classes(Box::new(F1::new(match &settings.of {
            F1Of::Class(name) => Averaged::Class(name.clone()),
            F1Of::MacroMean(_) => Averaged::MacroMean,
            F1Of::WeightedMean(_) => Averaged::WeightedMean,
            F1Of::Second(_) => Averaged::Second,
        }))),
        Metric::Matthews(_) => Counter::Classes(Box::new(Matthews)),
        Metric::Pearson(_) => Counter::Numbers(Box::new(Pearson)),
        Metric::Spearman(_) => Counter::Numbers(Box::new(Spearman)),
    }
}

/// What counts for a metric that reads the folder of another stage: `meteor` with synonyms. Other metrics read none.
///
/// # Errors
/// Where the folder is missing or holds something else.
pub fn counter_from(metric: &Metric, folder: Option<&Path>) -> Result<Counter, Error> {
    match metric {
        Metric::Meteor(settings) if settings.synonyms.is_some() => {
            let hint = "run `engine run` again";
            let folder = folder.ok_or_else(|| Error::new("the job names no folder with synonyms").hint(hint))?;
            let synonyms = Arc::new(WordNet::open(folder)?);
            Ok(Counter::Text(Box::new(Meteor::new(settings).with_synonyms(synonyms))))
        }
        metric => Ok(counter(metric)),
    }
}

/// The headline figures of a metric named `name`, as `name.figure`; a figure that the rows do not have is left out.
pub fn headline(name: &str, keys: &[&str], summary: &Figures) -> Figures {
    let entry = |key: &&str| summary.get(*key).map(|value| (format!("{name}.{key}"), *value));
    keys.iter().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_that_stands_twice_has_two_names() {
        let metrics: Vec<Metric> =
            serde_json::from_str(r#"["squad_v2", {"squad_v2": {"no_answer": "none"}}, "perplexity"]"#).unwrap();
        assert_eq!(names(&metrics), ["squad_v2", "squad_v2_2", "perplexity"]);
    }

    #[test]
    fn headline_figures_are_named_after_the_metric() {
        let summary = Figures::from([("exact".into(), 50.0), ("total".into(), 2.0)]);
        let headline = headline("squad_v2", &["exact", "no_ans_exact"], &summary);
        assert_eq!(headline, Figures::from([("squad_v2.exact".into(), 50.0)]));
    }

    #[test]
    fn every_headline_figure_has_a_meaning() {
        for name in Metric::NAMES {
            let metric: Metric = serde_json::from_value((*name).into()).unwrap();
            let keys = counter(&metric).headline();
            assert!(Metric::HEADLINES.contains(&(*name, keys)), "{name}: {keys:?}");
            for key in keys {
                assert!(meaning(&format!("{name}.{key}")).is_some(), "{name}.{key}");
                assert_eq!(meaning(&format!("{name}_2.{key}")), meaning(&format!("{name}.{key}")));
            }
        }
    }

    /// The figures that a metric draws of rows, and those that it counts of just these.
    fn drawn_and_counted(counter: &Counter, drawn: &[usize]) -> (Figures, Figures) {
        let all = 0..12_usize;
        let labels = ["no".to_owned(), "yes".to_owned()];
        macro_rules! both {
            ($metric:expr, $rows:expr $(, $labels:expr)?) => {{
                let rows: Vec<_> = $rows.collect();
                let some: Vec<_> = drawn.iter().map(|row| rows[*row].clone()).collect();
                ($metric.drawn(&rows $(, $labels)?)(drawn), $metric.count(&some $(, $labels)?).summary)
            }};
        }
        match counter {
            Counter::Text(metric) => {
                let texts = ["a b c d", "a b c", "x y z w v", "a c", "b"];
                let none = |row: usize| row % 3 == 2 && !metric.wants_references();
                let references = |row: usize| if none(row) { Vec::new() } else { vec![texts[row * 2 % 5].to_owned()] };
                let answer = |row: usize| (row % 4 != 3).then(|| texts[row % 5].to_owned());
                both!(metric, all.map(|row| TextRow::new(answer(row), references(row))))
            }
            Counter::Tokens(metric) => both!(
                metric,
                all.map(|row| TokenScore {
                    nll: 0.5 + row as f64,
                    tokens: 3,
                    correct: row as u64 % 3,
                    words: 2,
                    bytes: 9
                })
            ),
            Counter::Classes(metric) => both!(
                metric,
                all.map(|row| ClassRow { predicted: (row % 5 != 4).then_some(row % 2), right: row / 2 % 2 }),
                &labels
            ),
            Counter::Choices(metric) => {
                let score = |row: usize, at: usize| ChoiceScore {
                    log_likelihood: -(((row + 3 * at) % 5) as f64),
                    tokens: 1 + at,
                    characters: 2 + at,
                    bytes: 3,
                };
                both!(metric, all.map(|row| ChoiceRow { choices: vec![score(row, 0), score(row, 1)], right: row % 2 }))
            }
            Counter::Numbers(metric) => {
                both!(metric, all.map(|row| NumberRow { predicted: Some((row * row % 7) as f64), right: row as f64 }))
            }
        }
    }

    #[test]
    fn figures_of_drawn_rows_are_those_of_just_these_rows() {
        for name in Metric::NAMES {
            let metric: Metric = serde_json::from_value((*name).into()).unwrap();
            let counter = counter(&metric);
            for rows in
                [vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], vec![3, 3, 0, 7, 11, 1, 1, 1, 4, 9, 2, 5], vec![6, 0]]
            {
                let (drawn, counted) = drawn_and_counted(&counter, &rows);
                for figure in counter.headline() {
                    let (one, other) = (drawn.get(*figure).copied(), counted.get(*figure).copied());
                    let close = match (one, other) {
                        (Some(one), Some(other)) => (one - other).abs() <= 1e-9 * other.abs().max(1.0),
                        (one, other) => one == other,
                    };
                    assert!(close, "{name}.{figure} of {rows:?}: {one:?}, not {other:?}");
                }
            }
        }
    }

    #[test]
    fn no_row_has_no_figure_and_every_metric_a_signature() {
        for name in Metric::NAMES {
            let metric: Metric = serde_json::from_value((*name).into()).unwrap();
            let counted = match counter(&metric) {
                Counter::Text(metric) => metric.count(&[]),
                Counter::Tokens(metric) => metric.count(&[]),
                Counter::Classes(metric) => metric.count(&[], &["no".to_owned(), "yes".to_owned()]),
                Counter::Choices(metric) => metric.count(&[]),
                Counter::Numbers(metric) => metric.count(&[]),
            };
            assert!(counted.rows.is_empty() && counted.uncertainty.is_empty(), "{name}: {counted:?}");
            assert!(counted.summary.is_empty(), "{name}: {counted:?}");
            assert!(counted.signature.contains("version:"), "{name}: {}", counted.signature);
        }
    }
}

#[cfg(test)]
mod classification;
