//! What correlations of numbers have in common: an interval by Fisher's transformation. Knows no particular metric.

use super::uncertainty::Drawn;
use super::{Counted, Figures, Uncertainties, Uncertainty, signature};

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
    /// The metric's name, which is that of its figure.
    fn name(&self) -> &'static str;

    /// The correlation of the predicted and the right numbers; nothing where one side is constant, or holds no number.
    fn correlation(&self, predicted: &[f64], right: &[f64]) -> Option<f64>;

    /// The variance of Fisher's `atanh` of a correlation, times the number of rows less three.
    fn spread(&self, correlation: f64) -> f64;

    /// The summary's figures that tables, locks and progress show, the first of them first.
    fn headline(&self) -> &'static [&'static str];

    /// The figures of all rows together.
    fn summary(&self, rows: &[NumberRow]) -> Figures {
        if rows.is_empty() {
            return Figures::new();
        }
        let (predicted, right) = sides(rows);
        let counts = [("total".to_owned(), rows.len() as f64), ("counted".to_owned(), right.len() as f64)];
        let mut figures = Figures::from(counts);
        figures.extend(self.correlation(&predicted, &right).map(|value| (self.name().to_owned(), value)));
        figures
    }

    /// The correlation of rows that are drawn from these.
    fn drawn<'a>(&'a self, rows: &[NumberRow]) -> Drawn<'a> {
        let rows = rows.to_vec();
        Box::new(move |drawn| {
            let some: Vec<NumberRow> = drawn.iter().map(|row| rows[*row]).collect();
            let (predicted, right) = sides(&some);
            self.correlation(&predicted, &right).map(|value| (self.name().to_owned(), value)).into_iter().collect()
        })
    }

    /// Counts rows.
    fn count(&self, rows: &[NumberRow]) -> Counted {
        let error = |row: &NumberRow| row.predicted.map(|found| ("error".to_owned(), found - row.right));
        let summary = self.summary(rows);
        let counted = summary.get("counted").copied().unwrap_or_default();
        let interval = |value: &f64| {
            let half = 1.959_963_984_540_054 * (self.spread(*value) / (counted - 3.0)).sqrt();
            let end = |side: f64| (value.atanh() + side * half).tanh();
            let interval = Uncertainty::Interval { low: end(-1.0), high: end(1.0) };
            (counted > 3.0 && value.abs() < 1.0).then(|| (self.name().to_owned(), interval))
        };
        let uncertainty: Uncertainties = summary.get(self.name()).and_then(interval).into_iter().collect();
        Counted {
            rows: rows.iter().map(|row| error(row).into_iter().collect()).collect(),
            uncertainty,
            signature: signature(vec![("ci", "fisher".to_owned()), ("version", "1".to_owned())]),
            headline: self.headline(),
            summary,
        }
    }
}

/// The predicted and the right numbers of the rows that did not fail.
fn sides(rows: &[NumberRow]) -> (Vec<f64>, Vec<f64>) {
    rows.iter().filter_map(|row| Some((row.predicted?, row.right))).unzip()
}
