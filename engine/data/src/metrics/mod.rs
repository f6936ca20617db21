//! The metrics: one file each, and the registry that maps a pipeline's `metrics` to them. Counts texts and
//! likelihoods that others made; knows no model and no file.

mod perplexity;
mod squad_v2;

use std::collections::BTreeMap;

use rayon::prelude::*;
use spec::metric::Metric;

pub use perplexity::{Perplexity, TokenScore};
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

/// A metric of a pipeline file, ready to count.
pub enum Counter {
    /// Counts texts: for the protocol `generate`.
    Text(Box<dyn TextMetric>),
    /// Counts likelihoods: for the protocol `perplexity`.
    Tokens(Box<dyn TokenMetric>),
}

/// The registry: what counts for each metric that a pipeline file can name.
pub fn counter(metric: &Metric) -> Counter {
    match metric {
        Metric::SquadV2(settings) => Counter::Text(Box::new(SquadV2::new(settings.no_answer.as_deref()))),
        Metric::Perplexity(_) => Counter::Tokens(Box::new(Perplexity)),
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
            };
            for key in keys {
                assert!(meaning(&format!("{name}.{key}")).is_some(), "{name}.{key}");
                assert_eq!(meaning(&format!("{name}_2.{key}")), meaning(&format!("{name}.{key}")));
            }
        }
    }
}
