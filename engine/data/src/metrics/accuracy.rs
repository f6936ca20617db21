//! `accuracy`: the part of rows whose class is right. Knows no model.

use super::{ClassMetric, ClassRow, Figures};

/// The part of rows whose class is right, in percent. A row that failed is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accuracy;

impl ClassMetric for Accuracy {
    fn summary(&self, rows: &[ClassRow], _labels: &[String]) -> Figures {
        if rows.is_empty() {
            return Figures::new();
        }
        let right = rows.iter().filter(|row| row.predicted == Some(row.right)).count() as f64;
        Figures::from([("accuracy".into(), 100.0 * right / rows.len() as f64), ("total".into(), rows.len() as f64)])
    }

    fn headline(&self) -> &'static [&'static str] {
        &["accuracy"]
    }
}
