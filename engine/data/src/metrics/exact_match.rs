//! `exact_match`: the part of answers that are one of their references. Knows no model.

use spec::metric::{self, Case, Punctuation};

use super::meaning::{Meaning, Meanings};
use super::text::python;
use super::texts::{Statistics, TextRow, Whole, percentages};
use super::{Figures, Signature};

/// What the figures mean.
pub(super) const MEANINGS: Meanings = &[("exact_match", Meaning::percent("Exact match"))];

/// Whether the answer is one of the references, white space at both ends aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExactMatch {
    case: Case,
    punctuation: Punctuation,
}

impl ExactMatch {
    /// The metric with a pipeline's settings.
    pub fn new(settings: &metric::ExactMatch) -> Self {
        Self { case: settings.case, punctuation: settings.punctuation }
    }

    fn compared(&self, text: &str) -> String {
        let text = match self.case {
            Case::Mixed => text.to_owned(),
            Case::Lower => text.to_lowercase(),
        };
        let text = match self.punctuation {
            Punctuation::Kept => text,
            Punctuation::Dropped => text.chars().filter(|c| !c.is_ascii_punctuation()).collect(),
        };
        python::strip(&text).to_owned()
    }
}

impl Statistics for ExactMatch {
    type Row = bool;

    const HEADLINE: &'static [&'static str] = &["exact_match"];

    fn row(&self, row: &TextRow) -> bool {
        let Some(prediction) = row.prediction.as_deref().map(|text| self.compared(text)) else { return false };
        row.references.iter().any(|reference| self.compared(reference) == prediction)
    }

    fn figures(&self, row: &bool) -> Figures {
        Figures::from([("exact_match".to_owned(), f64::from(u8::from(*row)))])
    }

    fn whole(&self, rows: &[bool]) -> Whole {
        let mut whole = percentages(rows, &[("exact_match", |row| f64::from(u8::from(*row)))]);
        whole.summary.insert("total".to_owned(), rows.len() as f64);
        whole
    }

    fn signature(&self) -> Signature {
        let case = if self.case == Case::Lower { "lc" } else { "mixed" };
        let punctuation = if self.punctuation == Punctuation::Dropped { "no" } else { "yes" };
        vec![("case", case.to_owned()), ("punct", punctuation.to_owned()), ("version", "1".to_owned())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{TextMetric, Uncertainty};

    fn row(prediction: Option<&str>, references: &[&str]) -> TextRow {
        TextRow::new(prediction.map(str::to_owned), references.iter().map(|text| (*text).to_owned()).collect())
    }

    #[test]
    fn any_reference_will_do() {
        let metric = ExactMatch::default();
        let rows = [
            row(Some(" true\n"), &["false", "true"]),
            row(Some("True"), &["true"]),
            row(None, &[""]),
            row(Some(""), &[""]),
        ];
        let counted = metric.count(&rows);
        let right: Vec<f64> = counted.rows.iter().map(|row| row["exact_match"]).collect();
        assert_eq!(right, [1.0, 0.0, 0.0, 1.0]);
        assert_eq!((counted.summary["exact_match"], counted.summary["total"]), (50.0, 4.0));
        let error = 100.0 * (1.0_f64 / 3.0 / 4.0).sqrt();
        assert!(
            matches!(counted.uncertainty["exact_match"], Uncertainty::StandardError(found) if (found - error).abs() < 1e-12)
        );
        assert_eq!(counted.signature, "nrefs:var|case:mixed|punct:yes|version:1");
    }

    #[test]
    fn case_and_punctuation_can_be_left_out() {
        let lower = ExactMatch { case: Case::Lower, punctuation: Punctuation::Dropped };
        assert!(lower.row(&row(Some("Yes!"), &["yes"])));
        assert!(!lower.row(&row(Some("Yes, yes"), &["yes"])));
        assert!(!ExactMatch::default().row(&row(Some("Yes!"), &["yes"])));
    }
}
