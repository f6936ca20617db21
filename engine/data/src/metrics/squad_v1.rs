//! `squad_v1`: exact match and F1 as the official SQuAD 1.1 script counts them (Rajpurkar et al. 2016, arXiv 1606.05250;
//! `evaluate-v1.1.py`). Knows no model.

use super::meaning::{Meaning, Meanings};
use super::text::squad::{f1, normalize};
use super::texts::{Statistics, TextRow, Whole, percentages};
use super::{Figures, Signature};

/// What the figures mean.
pub(super) const MEANINGS: Meanings = &[("exact", Meaning::percent("Exact match")), ("f1", Meaning::percent("F1"))];

/// Exact match and F1 against the best of several gold answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SquadV1;

impl Statistics for SquadV1 {
    /// Exact match and F1.
    type Row = [f64; 2];

    const HEADLINE: &'static [&'static str] = &["exact", "f1"];

    fn row(&self, row: &TextRow) -> [f64; 2] {
        let Some(prediction) = row.prediction.as_deref().map(normalize) else { return [0.0; 2] };
        row.references.iter().fold([0.0_f64; 2], |[exact, best], gold| {
            let gold = normalize(gold);
            [exact.max(f64::from(u8::from(gold == prediction))), best.max(f1(&gold, &prediction))]
        })
    }

    fn figures(&self, [exact, f1]: &[f64; 2]) -> Figures {
        Figures::from([("exact".to_owned(), *exact), ("f1".to_owned(), *f1)])
    }

    fn whole(&self, rows: &[[f64; 2]]) -> Whole {
        let mut whole = percentages(rows, &[("exact", |row| row[0]), ("f1", |row| row[1])]);
        whole.summary.insert("total".to_owned(), rows.len() as f64);
        whole
    }

    fn signature(&self) -> Signature {
        vec![("like", "evaluate-v1.1.py".to_owned()), ("version", "1".to_owned())]
    }
}
