//! `f1`: the harmonic mean of precision and recall of classes, as scikit-learn counts it. Knows no model.

use super::{ClassMetric, ClassRow, Figures};

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
    /// The second of two.
    Second,
}

impl F1 {
    /// F1 of these classes.
    pub fn new(of: Averaged) -> Self {
        Self { of }
    }
}

/// Precision, recall and F1 of a class, each zero where nothing is divided by nothing.
fn of_class(rows: &[ClassRow], class: usize) -> [f64; 3] {
    let count = |of: &dyn Fn(&ClassRow) -> bool| rows.iter().filter(|row| of(row)).count() as f64;
    let hits = count(&|row| row.predicted == Some(class) && row.right == class);
    let predicted = count(&|row| row.predicted == Some(class));
    let right = count(&|row| row.right == class);
    let part = |part: f64, whole: f64| if whole == 0.0 { 0.0 } else { part / whole };
    [part(hits, predicted), part(hits, right), part(2.0 * hits, predicted + right)]
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

    fn summary(&self, rows: &[ClassRow], labels: &[String]) -> Figures {
        if rows.is_empty() {
            return Figures::new();
        }
        let classes: Vec<usize> = match &self.of {
            Averaged::Class(name) => labels.iter().position(|label| label == name).into_iter().collect(),
            Averaged::Second => vec![1],
            Averaged::MacroMean => {
                let seen = |class: &usize| rows.iter().any(|row| row.right == *class || row.predicted == Some(*class));
                (0..labels.len()).filter(seen).collect()
            }
        };
        let all: Vec<[f64; 3]> = classes.iter().map(|class| of_class(rows, *class)).collect();
        let mean = |which: fn(&[f64; 3]) -> f64| 100.0 * all.iter().map(which).sum::<f64>() / all.len().max(1) as f64;
        Figures::from([
            ("precision".into(), mean(|class| class[0])),
            ("recall".into(), mean(|class| class[1])),
            ("f1".into(), mean(|class| class[2])),
            ("total".into(), rows.len() as f64),
        ])
    }

    fn headline(&self) -> &'static [&'static str] {
        &["f1"]
    }
}
