//! `normalized_accuracy`: which choice is the likeliest for its length. Knows no model and no tokenizer.

use spec::metric::Measure;

use super::{ChoiceMetric, ChoiceRow, Figures};

/// The part of rows whose right choice has the highest log-likelihood divided by its length, in percent. A row that failed
/// is wrong. lm-evaluation-harness: `acc_norm` by characters, `acc_bytes` by bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NormalizedAccuracy(pub Measure);

impl ChoiceMetric for NormalizedAccuracy {
    fn score(&self, row: &ChoiceRow) -> Figures {
        let length = |choice: &super::ChoiceScore| match self.0 {
            Measure::Characters => choice.characters,
            Measure::Bytes => choice.bytes,
            Measure::Tokens => choice.tokens,
        };
        let chosen = first_best(row.choices.iter().map(|choice| choice.log_likelihood / length(choice) as f64));
        Figures::from([("correct".to_owned(), f64::from(u8::from(chosen == Some(row.right))))])
    }

    fn summary(&self, rows: &[Figures]) -> Figures {
        if rows.is_empty() {
            return Figures::new();
        }
        let right: f64 = rows.iter().filter_map(|row| row.get("correct")).sum();
        Figures::from([
            ("normalized_accuracy".into(), 100.0 * right / rows.len() as f64),
            ("total".into(), rows.len() as f64),
        ])
    }

    fn headline(&self) -> &'static [&'static str] {
        &["normalized_accuracy"]
    }
}

/// The number of the greatest, of equals the first, as NumPy's `argmax`, which takes what is no number for the greatest;
/// none where there is none.
pub fn first_best(scores: impl Iterator<Item = f64>) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (number, score) in scores.enumerate() {
        if score.is_nan() {
            return Some(number);
        }
        if best.is_none_or(|(_, highest)| score > highest) {
            best = Some((number, score));
        }
    }
    best.map(|(number, _)| number)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::metrics::ChoiceScore;

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
            let by = |measure| NormalizedAccuracy(measure).score(&row)["correct"];
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
        let correct = |choices| metric.score(&ChoiceRow { choices, right: 0 })["correct"];
        assert_eq!(correct(vec![choice(-1.0), choice(-2.0)]), 1.0);
        assert_eq!(correct(Vec::new()), 0.0);
        let summary = metric.summary(&[metric.score(&ChoiceRow { choices: Vec::new(), right: 0 })]);
        assert_eq!(summary["normalized_accuracy"], 0.0);
        assert!(metric.summary(&[]).is_empty());
    }
}
