//! `pearson`: the linear correlation of numbers. Knows no model.

use super::meaning::{Meaning, Meanings};
use super::numbers::NumberMetric;

/// What the figures mean.
pub(super) const MEANINGS: Meanings = &[("pearson", Meaning::more("Pearson correlation"))];

/// Pearson's correlation; absent where one side is constant. Rows that failed cannot be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pearson;

impl NumberMetric for Pearson {
    fn name(&self) -> &'static str {
        "pearson"
    }

    fn correlation(&self, predicted: &[f64], right: &[f64]) -> Option<f64> {
        correlation(predicted, right)
    }

    /// Fisher 1921.
    fn spread(&self, _correlation: f64) -> f64 {
        1.0
    }

    fn headline(&self) -> &'static [&'static str] {
        &["pearson"]
    }
}

/// The linear correlation of two sides; nothing where one of them is constant, or no number.
pub(super) fn correlation(one: &[f64], other: &[f64]) -> Option<f64> {
    let constant = |side: &[f64]| side.windows(2).all(|pair| pair[0] == pair[1]);
    if one.len() < 2 || constant(one) || constant(other) {
        return None;
    }
    // Each side is moved to its mean and brought to length one first, so that neither large nor tiny numbers lose bits.
    let unit = |side: &[f64]| -> Vec<f64> {
        let mean = side.iter().sum::<f64>() / side.len() as f64;
        let moved: Vec<f64> = side.iter().map(|value| value - mean).collect();
        let largest = moved.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        let length = largest * moved.iter().map(|value| (value / largest).powi(2)).sum::<f64>().sqrt();
        moved.iter().map(|value| value / length).collect()
    };
    let product: f64 = unit(one).iter().zip(unit(other)).map(|(one, other)| one * other).sum();
    product.is_finite().then(|| product.clamp(-1.0, 1.0))
}
