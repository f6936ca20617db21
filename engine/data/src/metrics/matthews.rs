//! `matthews`: the correlation of predicted and right classes, for any number of them. Gorodkin 2004, "Comparing two
//! K-category assignments by a K-category correlation coefficient". Knows no model.

use std::collections::BTreeMap;

use super::Figures;
use super::classes::{ClassMetric, Pairs};
use super::meaning::{Meaning, Meanings};

/// What the figures mean.
pub(super) const MEANINGS: Meanings = &[("matthews", Meaning::more("Matthews correlation"))];

/// Matthews' correlation, from −1 to 1; 0 where one side is constant. A row that failed is of a class of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Matthews;

impl ClassMetric for Matthews {
    fn of_pairs(&self, pairs: &Pairs, _labels: &[String]) -> Figures {
        let (mut predicted, mut right) = (BTreeMap::<Option<usize>, f64>::new(), BTreeMap::<Option<usize>, f64>::new());
        let (mut hits, mut total) = (0.0, 0.0);
        for (row, count) in pairs {
            *predicted.entry(row.predicted).or_default() += count;
            *right.entry(Some(row.right)).or_default() += count;
            hits += if row.predicted == Some(row.right) { *count } else { 0.0 };
            total += count;
        }
        let product: f64 =
            right.iter().map(|(class, count)| count * predicted.get(class).copied().unwrap_or_default()).sum();
        let spread = |counts: &BTreeMap<Option<usize>, f64>| {
            total * total - counts.values().map(|count| count * count).sum::<f64>()
        };
        let below = (spread(&predicted) * spread(&right)).sqrt();
        let matthews = if below == 0.0 { 0.0 } else { (hits * total - product) / below };
        Figures::from([("matthews".to_owned(), matthews)])
    }

    fn meanings(&self) -> Meanings {
        MEANINGS
    }

    fn headline(&self) -> &'static [&'static str] {
        &["matthews"]
    }
}
