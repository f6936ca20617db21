//! What metrics of texts have in common: each row gives numbers of its own, on all cores, and the whole is computed from
//! these. Knows no particular metric.

use rayon::prelude::*;

use super::uncertainty::{Drawn, of_drawn_sums};
use super::{Counted, Figures, Signature, Uncertainties, signature};

/// An answer and what it is compared with.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TextRow {
    /// The answer; none for a row that got none, such as one whose prompt did not fit: it is wrong, whatever was asked.
    pub prediction: Option<String>,
    /// The right answers.
    pub references: Vec<String>,
    /// How likely it is that there is no answer, on any scale, where the protocol says so.
    pub no_answer: Option<f64>,
}

impl TextRow {
    /// A row of a protocol that only answers.
    pub fn new(prediction: Option<String>, references: Vec<String>) -> Self {
        Self { prediction, references, no_answer: None }
    }
}

/// A metric that compares a text with the row's references.
pub trait TextMetric: Send + Sync {
    /// Counts rows.
    fn count(&self, rows: &[TextRow]) -> Counted;

    /// The shown figures of rows that are drawn from these.
    fn drawn(&self, rows: &[TextRow]) -> Drawn<'static>;

    /// The summary's figures that tables, locks and progress show, the first of them first.
    fn headline(&self) -> &'static [&'static str];

    /// Whether a row without references is a mistake, rather than one that asks for the empty text.
    fn wants_references(&self) -> bool;
}

/// What all rows together are said to be.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Whole {
    /// The figures.
    pub summary: Figures,
    /// How sure they are.
    pub uncertainty: Uncertainties,
}

/// A metric whose whole is computed from numbers that each row gives: the sufficient statistics.
pub(super) trait Statistics: Send + Sync {
    /// What a row gives.
    type Row: Send + Sync;

    /// The summary's figures that are shown.
    const HEADLINE: &'static [&'static str];

    /// Whether a row without references is a mistake.
    const WANTS_REFERENCES: bool = true;

    /// What a row gives; a row without an answer is wrong.
    fn row(&self, row: &TextRow) -> Self::Row;

    /// The figures of a row.
    fn figures(&self, row: &Self::Row) -> Figures;

    /// The figures of all rows, of which there are some.
    fn whole(&self, rows: &[Self::Row]) -> Whole;

    /// The shown figures of rows that are drawn from these: means of the rows' own, in percent, where it is not said
    /// otherwise.
    fn of_drawn(&self, rows: &[Self::Row]) -> Drawn<'static> {
        let of_row = |row: &Self::Row| {
            let figures = self.figures(row);
            let each = Self::HEADLINE.iter().map(|name| figures.get(*name).copied().unwrap_or(f64::NAN));
            each.chain([1.0]).collect::<Vec<f64>>()
        };
        let width = Self::HEADLINE.len();
        of_drawn_sums(rows.par_iter().flat_map_iter(of_row).collect(), width + 1, move |sums| {
            let mean = |(name, sum): (&&str, &f64)| ((*name).to_owned(), 100.0 * sum / sums[width]);
            Self::HEADLINE.iter().zip(sums).map(mean).collect()
        })
    }

    /// How it counts, but for the number of references.
    fn signature(&self) -> Signature;
}

impl<M: Statistics> TextMetric for M {
    fn count(&self, rows: &[TextRow]) -> Counted {
        let statistics: Vec<M::Row> = rows.par_iter().map(|row| self.row(row)).collect();
        let whole = if statistics.is_empty() { Whole::default() } else { self.whole(&statistics) };
        let mut parts = vec![("nrefs", references(rows))];
        parts.extend(Statistics::signature(self));
        Counted {
            rows: statistics.par_iter().map(|row| self.figures(row)).collect(),
            summary: whole.summary,
            uncertainty: whole.uncertainty,
            signature: signature(parts),
            headline: M::HEADLINE,
        }
    }

    fn drawn(&self, rows: &[TextRow]) -> Drawn<'static> {
        let statistics: Vec<M::Row> = rows.par_iter().map(|row| self.row(row)).collect();
        self.of_drawn(&statistics)
    }

    fn headline(&self) -> &'static [&'static str] {
        M::HEADLINE
    }

    fn wants_references(&self) -> bool {
        M::WANTS_REFERENCES
    }
}

/// How many references each row has: a number, or `var`.
fn references(rows: &[TextRow]) -> String {
    let mut counts = rows.iter().map(|row| row.references.len());
    let first = counts.next().unwrap_or_default();
    if counts.all(|count| count == first) { first.to_string() } else { "var".to_owned() }
}

/// A figure's name, and what it is of a row.
pub(super) type OfRow<'n, R> = (&'n str, fn(&R) -> f64);

/// Means of rows' figures in percent, each with its standard error.
pub(super) fn percentages<R>(rows: &[R], figures: &[OfRow<'_, R>]) -> Whole {
    let mut whole = Whole::default();
    for (name, figure) in figures {
        let values = rows.iter().map(|row| 100.0 * figure(row));
        whole.uncertainty.extend(super::uncertainty::standard_error(values.clone()).map(|e| ((*name).to_owned(), e)));
        whole.summary.extend(super::uncertainty::mean(values).map(|mean| ((*name).to_owned(), mean)));
    }
    whole
}
