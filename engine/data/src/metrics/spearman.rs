//! `spearman`: the correlation of ranks. Knows no model.

use super::{Figures, NumberMetric, NumberRow, pearson::correlation, sides};

/// Spearman's correlation: Pearson's of ranks, where equal numbers share the mean of theirs; absent where one side is
/// constant. Rows that failed cannot be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spearman;

impl NumberMetric for Spearman {
    fn summary(&self, rows: &[NumberRow]) -> Figures {
        let (predicted, right) = sides(rows);
        let mut figures = Figures::from([("total".into(), rows.len() as f64), ("counted".into(), right.len() as f64)]);
        if !predicted.iter().chain(&right).any(|value| value.is_nan()) {
            figures.extend(correlation(&ranks(&predicted), &ranks(&right)).map(|value| ("spearman".into(), value)));
        }
        figures
    }

    fn headline(&self) -> &'static [&'static str] {
        &["spearman"]
    }
}

/// The rank of each number, from 1 on; equal ones share the mean of their ranks.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|one, other| values[*one].total_cmp(&values[*other]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for same in order.chunk_by(|one, other| values[*one] == values[*other]) {
        let rank = first as f64 + (same.len() as f64 + 1.0) / 2.0;
        for index in same {
            ranks[*index] = rank;
        }
        first += same.len();
    }
    ranks
}
