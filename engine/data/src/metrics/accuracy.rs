//! `accuracy`: the part of rows whose class is right. Knows no model.

use super::classes::{ClassMetric, ClassRow, Pairs};
use super::meaning::{Meaning, Meanings};
use super::uncertainty::standard_error;
use super::{Figures, Signature, Uncertainties};

/// What the figures mean.
pub(super) const MEANINGS: Meanings = &[("accuracy", Meaning::percent("Accuracy"))];

/// The part of rows whose class is right, in percent. A row that failed is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accuracy;

fn is_right(row: &ClassRow) -> bool {
    row.predicted == Some(row.right)
}

impl ClassMetric for Accuracy {
    fn of_pairs(&self, pairs: &Pairs, _labels: &[String]) -> Figures {
        let right: f64 = pairs.iter().filter(|(row, _)| is_right(row)).map(|(_, count)| count).sum();
        let total: f64 = pairs.iter().map(|(_, count)| count).sum();
        Figures::from([("accuracy".to_owned(), 100.0 * right / total)])
    }

    fn uncertainty(&self, rows: &[ClassRow], _labels: &[String]) -> Uncertainties {
        let values = rows.iter().map(|row| if is_right(row) { 100.0 } else { 0.0 });
        standard_error(values).map(|error| ("accuracy".to_owned(), error)).into_iter().collect()
    }

    fn meanings(&self) -> Meanings {
        MEANINGS
    }

    fn headline(&self) -> &'static [&'static str] {
        &["accuracy"]
    }

    fn signature(&self) -> Signature {
        Signature::new()
    }
}
