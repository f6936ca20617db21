//! What metrics of classes have in common: they are computed from how often each class was predicted for each. Knows no
//! particular metric.

use std::collections::BTreeMap;

use super::meaning::Meanings;
use super::uncertainty::{Drawn, bootstrap_counts, bootstrap_signature};
use super::{Counted, Figures, Signature, Uncertainties, signature};

/// A row's class and the one that was predicted, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClassRow {
    /// The predicted class; none for a row that failed, which is wrong.
    pub predicted: Option<usize>,
    /// The right one.
    pub right: usize,
}

/// Rows, and how many there are of each.
pub type Pairs = Vec<(ClassRow, f64)>;

/// A metric that compares classes.
pub trait ClassMetric: Send + Sync {
    /// Why the metric cannot be counted with these classes.
    fn fault(&self, labels: &[String]) -> Option<String> {
        let _ = labels;
        None
    }

    /// The figures of all rows together, of which there are some.
    fn of_pairs(&self, pairs: &Pairs, labels: &[String]) -> Figures;

    /// How sure the figures are.
    fn uncertainty(&self, rows: &[ClassRow], labels: &[String]) -> Uncertainties {
        let (kinds, numbers) = kinds(rows);
        bootstrap_counts(&numbers, kinds.len(), |counts| {
            let pairs = kinds.iter().copied().zip(counts.iter().copied()).filter(|(_, count)| *count > 0.0).collect();
            self.of_pairs(&pairs, labels).into_iter().filter(|(name, _)| self.has_meaning(name)).collect()
        })
    }

    /// The shown figures of rows that are drawn from these.
    fn drawn<'a>(&'a self, rows: &[ClassRow], labels: &'a [String]) -> Drawn<'a> {
        let (kinds, numbers) = kinds(rows);
        Box::new(move |drawn| {
            let mut counts = vec![0.0; kinds.len()];
            for row in drawn {
                counts[numbers[*row]] += 1.0;
            }
            let pairs = kinds.iter().copied().zip(counts).filter(|(_, count)| *count > 0.0).collect();
            let mut figures = self.of_pairs(&pairs, labels);
            figures.retain(|name, _| self.headline().contains(&name.as_str()));
            figures
        })
    }

    /// What the figures mean; those without a meaning are counts.
    fn meanings(&self) -> Meanings;

    /// The summary's figures that tables, locks and progress show, the first of them first.
    fn headline(&self) -> &'static [&'static str];

    /// How it counts, but for its version.
    fn signature(&self) -> Signature {
        bootstrap_signature().to_vec()
    }

    /// Whether a figure is more than a count.
    fn has_meaning(&self, name: &str) -> bool {
        self.meanings().iter().any(|(known, _)| *known == name)
    }

    /// The figures of all rows together; there are none of no row.
    fn summary(&self, rows: &[ClassRow], labels: &[String]) -> Figures {
        if rows.is_empty() {
            return Figures::new();
        }
        let (kinds, numbers) = kinds(rows);
        let mut pairs: Pairs = kinds.into_iter().map(|pair| (pair, 0.0)).collect();
        for number in numbers {
            pairs[number].1 += 1.0;
        }
        let mut figures = self.of_pairs(&pairs, labels);
        figures.insert("total".to_owned(), rows.len() as f64);
        figures
    }

    /// Counts rows.
    fn count(&self, rows: &[ClassRow], labels: &[String]) -> Counted {
        let correct = |row: &ClassRow| f64::from(u8::from(row.predicted == Some(row.right)));
        let mut parts = self.signature();
        parts.push(("version", "1".to_owned()));
        Counted {
            rows: rows.iter().map(|row| Figures::from([("correct".to_owned(), correct(row))])).collect(),
            summary: self.summary(rows, labels),
            uncertainty: self.uncertainty(rows, labels),
            signature: signature(parts),
            headline: self.headline(),
        }
    }
}

/// The different rows, and which of them each is.
fn kinds(rows: &[ClassRow]) -> (Vec<ClassRow>, Vec<usize>) {
    let mut known: BTreeMap<ClassRow, usize> = BTreeMap::new();
    let mut kinds = Vec::new();
    let numbers = rows
        .iter()
        .map(|row| {
            *known.entry(*row).or_insert_with(|| {
                kinds.push(*row);
                kinds.len() - 1
            })
        })
        .collect();
    (kinds, numbers)
}
