//! `spearman`: the correlation of ranks. Knows no model.

use super::meaning::{Meaning, Meanings};
use super::numbers::NumberMetric;
use super::pearson::correlation;

/// What the figures mean.
pub(super) const MEANINGS: Meanings = &[("spearman", Meaning::more("Spearman correlation"))];

/// Spearman's correlation: Pearson's of ranks, where equal numbers share the mean of theirs; absent where one side is
/// constant. Rows that failed cannot be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spearman;

impl NumberMetric for Spearman {
    fn name(&self) -> &'static str {
        "spearman"
    }

    fn correlation(&self, predicted: &[f64], right: &[f64]) -> Option<f64> {
        let is_number = !predicted.iter().chain(right).any(|value| value.is_nan());
        correlation(&ranks(predicted), &ranks(right)).filter(|_| is_number)
    }

    /// Bonett and Wright 2000, "Sample size requirements for estimating Pearson, Kendall and Spearman correlations".
    fn spread(&self, correlation: f64) -> f64 {
        1.0 + correlation.powi(2) / 2.0
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
