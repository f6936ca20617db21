//! `matthews`: the correlation of predicted and right classes, for any number of them. Gorodkin 2004, "Comparing two
//! K-category assignments by a K-category correlation coefficient". Knows no model.

use std::collections::BTreeMap;

use super::{ClassMetric, ClassRow, Figures};

/// Matthews' correlation, from −1 to 1; 0 where one side is constant. A row that failed is of a class of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Matthews;

impl ClassMetric for Matthews {
    fn summary(&self, rows: &[ClassRow], _labels: &[String]) -> Figures {
        if rows.is_empty() {
            return Figures::new();
        }
        let (mut predicted, mut right) = (BTreeMap::<Option<usize>, f64>::new(), BTreeMap::<Option<usize>, f64>::new());
        let mut hits = 0.0;
        for row in rows {
            *predicted.entry(row.predicted).or_default() += 1.0;
            *right.entry(Some(row.right)).or_default() += 1.0;
            hits += f64::from(u8::from(row.predicted == Some(row.right)));
        }
        let total = rows.len() as f64;
        let product: f64 =
            right.iter().map(|(class, count)| count * predicted.get(class).copied().unwrap_or_default()).sum();
        let spread = |counts: &BTreeMap<Option<usize>, f64>| {
            total * total - counts.values().map(|count| count * count).sum::<f64>()
        };
        let below = (spread(&predicted) * spread(&right)).sqrt();
        let matthews = if below == 0.0 { 0.0 } else { (hits * total - product) / below };
        Figures::from([("matthews".into(), matthews), ("total".into(), total)])
    }

    fn headline(&self) -> &'static [&'static str] {
        &["matthews"]
    }
}
