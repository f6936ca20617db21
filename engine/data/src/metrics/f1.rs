//! `f1`: the harmonic mean of precision and recall of classes, as scikit-learn counts it. Knows no model.

use super::classes::{ClassMetric, Pairs};
use super::meaning::{Meaning, Meanings};
use super::uncertainty::bootstrap_signature;
use super::{Figures, Signature};

/// What the figures mean.
pub(super) const MEANINGS: Meanings = &[
    ("f1", Meaning::percent("F1")),
    ("precision", Meaning::percent("Precision")),
    ("recall", Meaning::percent("Recall")),
];

/// F1 of one class or of all, in percent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct F1 {
    of: Averaged,
}

/// The classes that count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Averaged {
    /// The one of this name.
    Class(String),
    /// All that occur or were predicted, each alike.
    MacroMean,
    /// The same, each as heavy as it has rows.
    WeightedMean,
    /// The second of two.
    Second,
}

impl F1 {
    /// F1 of these classes.
    pub fn new(of: Averaged) -> Self {
        Self { of }
    }
}

/// Precision, recall and F1 of a class, each zero where nothing is divided by nothing, and how many rows are of it.
fn of_class(pairs: &Pairs, class: usize) -> [f64; 4] {
    let (mut hits, mut predicted, mut right) = (0.0, 0.0, 0.0);
    for (row, count) in pairs {
        predicted += if row.predicted == Some(class) { *count } else { 0.0 };
        right += if row.right == class { *count } else { 0.0 };
        hits += if row.right == class && row.predicted == Some(class) { *count } else { 0.0 };
    }
    let part = |part: f64, whole: f64| if whole == 0.0 { 0.0 } else { part / whole };
    [part(hits, predicted), part(hits, right), part(2.0 * hits, predicted + right), right]
}

impl ClassMetric for F1 {
    fn fault(&self, labels: &[String]) -> Option<String> {
        match &self.of {
            Averaged::Class(name) if !labels.contains(name) => {
                Some(format!("there is no class `{name}`: {}", spec::suggest::did_you_mean(name, labels)))
            }
            Averaged::Second if labels.len() != 2 => Some(format!(
                "the rows have {} classes, not two: write `{{f1: {{of: macro_mean}}}}` or `{{f1: {{of: {{class: {}}}}}}}`",
                labels.len(),
                labels.first().map_or("name", String::as_str),
            )),
            _ => None,
        }
    }

    fn of_pairs(&self, pairs: &Pairs, labels: &[String]) -> Figures {
        let classes: Vec<usize> = match &self.of {
            Averaged::Class(name) => labels.iter().position(|label| label == name).into_iter().collect(),
            Averaged::Second => vec![1],
            Averaged::MacroMean | Averaged::WeightedMean => {
                let seen =
                    |class: &usize| pairs.iter().any(|(row, _)| row.right == *class || row.predicted == Some(*class));
                (0..labels.len()).filter(seen).collect()
            }
        };
        let all: Vec<[f64; 4]> = classes.iter().map(|class| of_class(pairs, *class)).collect();
        let weight = |class: &[f64; 4]| if self.of == Averaged::WeightedMean { class[3] } else { 1.0 };
        let weights = all.iter().map(weight).sum::<f64>();
        let mean = |which: fn(&[f64; 4]) -> f64| match weights > 0.0 {
            true => 100.0 * all.iter().map(|class| weight(class) * which(class)).sum::<f64>() / weights,
            false => 0.0,
        };
        Figures::from([
            ("precision".to_owned(), mean(|class| class[0])),
            ("recall".to_owned(), mean(|class| class[1])),
            ("f1".to_owned(), mean(|class| class[2])),
        ])
    }

    fn meanings(&self) -> Meanings {
        MEANINGS
    }

    fn headline(&self) -> &'static [&'static str] {
        &["f1"]
    }

    fn signature(&self) -> Signature {
        let of = match &self.of {
            Averaged::Class(name) => format!("{name:?}"),
            Averaged::MacroMean => "macro_mean".to_owned(),
            Averaged::WeightedMean => "weighted_mean".to_owned(),
            Averaged::Second => "second".to_owned(),
        };
        let mut parts = vec![("of", of)];
        parts.extend(bootstrap_signature());
        parts
    }
}
