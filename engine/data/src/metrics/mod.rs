//! The metrics: one file each, and the registry that maps a pipeline's `metrics` to them. Counts texts and
//! likelihoods that others made; knows no model and no file.

mod accuracy;
mod f1;
mod matthews;
mod normalized_accuracy;
mod pearson;
mod perplexity;
mod spearman;
mod squad_v2;

use std::collections::BTreeMap;

use rayon::prelude::*;
use spec::metric::{F1Of, Metric};

pub use accuracy::Accuracy;
pub use f1::{Averaged, F1};
pub use matthews::Matthews;
pub use normalized_accuracy::{NormalizedAccuracy, first_best};
pub use pearson::Pearson;
pub use perplexity::{Perplexity, TokenScore};
pub use spearman::Spearman;
pub use squad_v2::{Question, SquadV2, at_threshold, best_threshold};

/// The figures of one row, or of all rows together, by name.
pub type Figures = BTreeMap<String, f64>;

/// A metric that compares a generated text with the row's references.
pub trait TextMetric: Send + Sync {
    /// The figures of one row: 1 is right and 0 is wrong, whatever the unit of the summary.
    fn score(&self, prediction: &str, references: &[String]) -> Figures;

    /// The figures of a row that got no prediction, such as one whose prompt did not fit: wrong, whatever was asked.
    fn failed(&self, references: &[String]) -> Figures;

    /// The figures of all rows together. Every row counts, failed ones too; there are no figures of no row.
    fn summary(&self, rows: &[Figures]) -> Figures;

    /// The summary's figures that tables, locks and progress show, the first of them first.
    fn headline(&self) -> &'static [&'static str];
}

/// A metric that counts the likelihood of a row's own tokens.
pub trait TokenMetric: Send + Sync {
    /// The figures of one row.
    fn score(&self, row: &TokenScore) -> Figures;

    /// The figures of all rows together, of every token alike.
    fn summary(&self, rows: &[TokenScore]) -> Figures;

    /// The summary's figures that tables, locks and progress show, the first of them first.
    fn headline(&self) -> &'static [&'static str];
}

/// A row's class and the one that was predicted, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassRow {
    /// The predicted class; none for a row that failed, which is wrong.
    pub predicted: Option<usize>,
    /// The right one.
    pub right: usize,
}

/// A metric that compares classes.
pub trait ClassMetric: Send + Sync {
    /// Why the metric cannot be counted with these classes.
    fn fault(&self, labels: &[String]) -> Option<String> {
        let _ = labels;
        None
    }

    /// The figures of all rows together; there are no figures of no row.
    fn summary(&self, rows: &[ClassRow], labels: &[String]) -> Figures;

    /// The summary's figures that tables, locks and progress show, the first of them first.
    fn headline(&self) -> &'static [&'static str];
}

/// What a model makes of a choice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChoiceScore {
    /// The sum of the log-likelihoods of its tokens, in nats.
    pub log_likelihood: f64,
    /// Its tokens, with those of what stands between it and the prompt.
    pub tokens: usize,
    /// Its characters.
    pub characters: usize,
    /// Its bytes in UTF-8.
    pub bytes: usize,
}

/// A row's choices and the right one.
#[derive(Debug, Clone, PartialEq)]
pub struct ChoiceRow {
    /// The choices; none where the row failed.
    pub choices: Vec<ChoiceScore>,
    /// The number of the right one.
    pub right: usize,
}

/// A metric that compares the likelihoods of choices.
pub trait ChoiceMetric: Send + Sync {
    /// The figures of one row.
    fn score(&self, row: &ChoiceRow) -> Figures;

    /// The figures of all rows together; there are no figures of no row.
    fn summary(&self, rows: &[Figures]) -> Figures;

    /// The summary's figures that tables, locks and progress show, the first of them first.
    fn headline(&self) -> &'static [&'static str];
}

/// A row's number and the one that was predicted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NumberRow {
    /// The predicted number; none for a row that failed, which no correlation can count.
    pub predicted: Option<f64>,
    /// The right one.
    pub right: f64,
}

/// A metric that compares numbers.
pub trait NumberMetric: Send + Sync {
    /// The figures of all rows together.
    fn summary(&self, rows: &[NumberRow]) -> Figures;

    /// The summary's figures that tables, locks and progress show, the first of them first.
    fn headline(&self) -> &'static [&'static str];
}

/// The predicted and the right numbers of the rows that did not fail.
fn sides(rows: &[NumberRow]) -> (Vec<f64>, Vec<f64>) {
    rows.iter().filter_map(|row| Some((row.predicted?, row.right))).unzip()
}

/// A metric of a pipeline file, ready to count.
pub enum Counter {
    /// Counts texts: for the protocol `generate`.
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

/// The registry: what counts for each metric that a pipeline file can name.
pub fn counter(metric: &Metric) -> Counter {
    match metric {
        Metric::SquadV2(settings) => Counter::Text(Box::new(SquadV2::new(settings.no_answer.as_deref()))),
        Metric::Perplexity(_) => Counter::Tokens(Box::new(Perplexity)),
        Metric::Accuracy(_) => Counter::Classes(Box::new(Accuracy)),
        Metric::NormalizedAccuracy(settings) => Counter::Choices(Box::new(NormalizedAccuracy(settings.by))),
        Metric::F1(settings) => Counter::Classes(Box::new(F1::new(match &settings.of {
            F1Of::Class(name) => Averaged::Class(name.clone()),
            F1Of::MacroMean(_) => Averaged::MacroMean,
            F1Of::Second(_) => Averaged::Second,
        }))),
        Metric::Matthews(_) => Counter::Classes(Box::new(Matthews)),
        Metric::Pearson(_) => Counter::Numbers(Box::new(Pearson)),
        Metric::Spearman(_) => Counter::Numbers(Box::new(Spearman)),
    }
}

/// The name of each metric, as figures are named after: `squad_v2`, and `squad_v2_2` where one stands a second time.
pub fn names(metrics: &[Metric]) -> Vec<String> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let name = |metric: &Metric| {
        let times = seen.entry(metric.name()).or_default();
        *times += 1;
        if *times == 1 { metric.name().to_owned() } else { format!("{}_{times}", metric.name()) }
    };
    metrics.iter().map(name).collect()
}

/// The headline figures of a metric named `name`, as `name.figure`; a figure that the rows do not have is left out.
pub fn headline(name: &str, keys: &[&str], summary: &Figures) -> Figures {
    let entry = |key: &&str| summary.get(*key).map(|value| (format!("{name}.{key}"), *value));
    keys.iter().filter_map(entry).collect()
}

/// What a figure means to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// The figure's name in words.
    pub title: &'static str,
    /// Whether it is a percentage.
    pub is_percent: bool,
    /// Whether more is better.
    pub more_is_better: bool,
}

/// What a figure means, by `metric.figure`; nothing for a figure that no metric here counts, or that is a mere count.
pub fn meaning(name: &str) -> Option<Meaning> {
    let (metric, figure) = name.split_once('.')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let metric = metric.rsplit_once('_').filter(|(_, times)| is_number(times)).map_or(metric, |(first, _)| first);
    let percent = |title| Some(Meaning { title, is_percent: true, more_is_better: true });
    match (metric, figure) {
        ("squad_v2", "exact") => percent("Exact match"),
        ("squad_v2", "f1") => percent("F1"),
        ("squad_v2", "has_ans_exact") => percent("HasAns exact"),
        ("squad_v2", "has_ans_f1") => percent("HasAns F1"),
        ("squad_v2", "no_ans_exact") => percent("NoAns exact"),
        ("squad_v2", "no_ans_f1") => percent("NoAns F1"),
        ("perplexity", "token_accuracy") => percent("Token accuracy"),
        ("accuracy", "accuracy") => percent("Accuracy"),
        ("normalized_accuracy", "normalized_accuracy") => percent("Accuracy by length"),
        ("f1", "f1") => percent("F1"),
        ("f1", "precision") => percent("Precision"),
        ("f1", "recall") => percent("Recall"),
        ("matthews", "matthews") => {
            Some(Meaning { title: "Matthews correlation", is_percent: false, more_is_better: true })
        }
        ("pearson", "pearson") => {
            Some(Meaning { title: "Pearson correlation", is_percent: false, more_is_better: true })
        }
        ("spearman", "spearman") => {
            Some(Meaning { title: "Spearman correlation", is_percent: false, more_is_better: true })
        }
        ("perplexity", "perplexity") => Some(Meaning { title: "Perplexity", is_percent: false, more_is_better: false }),
        ("perplexity", "mean_nll") => Some(Meaning { title: "Mean NLL", is_percent: false, more_is_better: false }),
        _ => None,
    }
}

/// Scores many rows at once; a row without a prediction has failed.
pub fn score_texts(metric: &dyn TextMetric, rows: &[(Option<String>, Vec<String>)]) -> Vec<Figures> {
    let score = |(prediction, references): &(Option<String>, Vec<String>)| match prediction {
        Some(text) => metric.score(text, references),
        None => metric.failed(references),
    };
    rows.par_iter().map(score).collect()
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
            let keys = match counter(&metric) {
                Counter::Text(metric) => metric.headline(),
                Counter::Tokens(metric) => metric.headline(),
                Counter::Classes(metric) => metric.headline(),
                Counter::Choices(metric) => metric.headline(),
                Counter::Numbers(metric) => metric.headline(),
            };
            for key in keys {
                assert!(meaning(&format!("{name}.{key}")).is_some(), "{name}.{key}");
                assert_eq!(meaning(&format!("{name}_2.{key}")), meaning(&format!("{name}.{key}")));
            }
        }
    }
}

#[cfg(test)]
mod classification;
