//! `normalized_accuracy`: which choice is the likeliest for its length. Knows no model and no tokenizer.

use spec::metric::Measure;

use super::choices::{ChoiceMetric, ChoiceRow, ChoiceScore, first_best};
use super::meaning::{Meaning, Meanings};
use super::uncertainty::{Drawn, mean, of_drawn_sums, standard_error};
use super::{Counted, Figures, signature};

const NAME: &str = "normalized_accuracy";

/// What the figures mean.
pub(super) const MEANINGS: Meanings = &[(NAME, Meaning::percent("Accuracy by length"))];

/// The part of rows whose right choice has the highest log-likelihood divided by its length, in percent. A row that failed
/// is wrong. lm-evaluation-harness: `acc_norm` by characters, `acc_bytes` by bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NormalizedAccuracy(pub Measure);

impl NormalizedAccuracy {
    fn is_right(self, row: &ChoiceRow) -> bool {
        let length = |choice: &ChoiceScore| match self.0 {
            Measure::Characters => choice.characters,
            Measure::Bytes => choice.bytes,
            Measure::Tokens => choice.tokens,
        };
        let chosen = first_best(row.choices.iter().map(|choice| choice.log_likelihood / length(choice) as f64));
        chosen == Some(row.right)
    }
}

impl ChoiceMetric for NormalizedAccuracy {
    fn count(&self, rows: &[ChoiceRow]) -> Counted {
        let correct: Vec<f64> = rows.iter().map(|row| f64::from(u8::from(self.is_right(row)))).collect();
        let percent = correct.iter().map(|correct| 100.0 * correct);
        let by = match self.0 {
            Measure::Characters => "characters",
            Measure::Bytes => "bytes",
            Measure::Tokens => "tokens",
        };
        let mut summary: Figures = mean(percent.clone()).map(|mean| (NAME.to_owned(), mean)).into_iter().collect();
        if !rows.is_empty() {
            summary.insert("total".to_owned(), rows.len() as f64);
        }
        Counted {
            rows: correct.iter().map(|correct| Figures::from([("correct".to_owned(), *correct)])).collect(),
            summary,
            uncertainty: standard_error(percent).map(|error| (NAME.to_owned(), error)).into_iter().collect(),
            signature: signature(vec![("by", by.to_owned()), ("version", "1".to_owned())]),
            headline: self.headline(),
        }
    }

    fn drawn(&self, rows: &[ChoiceRow]) -> Drawn<'static> {
        let of_row = |row: &ChoiceRow| [f64::from(u8::from(self.is_right(row))), 1.0];
        of_drawn_sums(rows.iter().flat_map(of_row).collect(), 2, |sums| {
            Figures::from([(NAME.to_owned(), 100.0 * sums[0] / sums[1])])
        })
    }

    fn headline(&self) -> &'static [&'static str] {
        &[NAME]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::metrics::Uncertainty;

    #[test]
    fn rows_are_scored_as_the_harness_scores_them() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/lm_eval.json");
        let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let cases = vectors["scoring"].as_array().unwrap();
        assert_eq!(cases.len(), 141);
        for case in cases {
            let choices = case["choices"].as_array().unwrap().iter().zip(case["loglikelihoods"].as_array().unwrap());
            let choices = choices.map(|(text, log_likelihood)| {
                let text = text.as_str().unwrap();
                let log_likelihood =
                    log_likelihood.as_f64().unwrap_or_else(|| log_likelihood.as_str().unwrap().parse().unwrap());
                ChoiceScore { log_likelihood, tokens: 1, characters: text.chars().count(), bytes: text.len() }
            });
            let right = usize::try_from(case["gold"].as_u64().unwrap()).unwrap();
            let row = ChoiceRow { choices: choices.collect(), right };
            let best = first_best(row.choices.iter().map(|choice| choice.log_likelihood)).unwrap();
            let by = |measure| f64::from(u8::from(NormalizedAccuracy(measure).is_right(&row)));
            for (name, expected) in case["expected"].as_object().unwrap() {
                let found = match name.as_str() {
                    "acc" => Value::from(f64::from(u8::from(best == right))),
                    "acc_norm" => by(Measure::Characters).into(),
                    "acc_bytes" => by(Measure::Bytes).into(),
                    "f1" | "mcc" => vec![right, best].into(),
                    other => panic!("no such figure: {other}"),
                };
                assert_eq!(found, *expected, "{case}: {name}");
            }
        }
    }

    #[test]
    fn a_row_that_failed_is_wrong() {
        let choice = |log_likelihood| ChoiceScore { log_likelihood, tokens: 2, characters: 3, bytes: 3 };
        let metric = NormalizedAccuracy(Measure::Tokens);
        let row = |choices| ChoiceRow { choices, right: 0 };
        let counted = metric.count(&[row(vec![choice(-1.0), choice(-2.0)]), row(Vec::new())]);
        assert_eq!([&counted.rows[0]["correct"], &counted.rows[1]["correct"]], [&1.0, &0.0]);
        assert_eq!(counted.summary["normalized_accuracy"], 50.0);
        assert_eq!(counted.uncertainty["normalized_accuracy"], Uncertainty::StandardError(50.0));
        assert!(metric.count(&[]).summary.is_empty());
    }
}
