//! `perplexity`: how surprised a model is by a token, a word and a byte, from the log-likelihoods of each row. Knows no
//! model.

use super::Figures;
use super::meaning::{Meaning, Meanings};
use super::tokens::{TokenMetric, TokenScore, mean_over_rows};

/// What the figures mean.
pub(super) const MEANINGS: Meanings = &[
    ("perplexity", Meaning::less("Perplexity")),
    ("mean_nll", Meaning::less("Mean NLL")),
    ("token_accuracy", Meaning::percent("Token accuracy")),
    ("word_perplexity", Meaning::less("Perplexity of a word")),
    ("byte_perplexity", Meaning::less("Perplexity of a byte")),
    ("bits_per_byte", Meaning::less("Bits per byte")),
    ("row_perplexity", Meaning::less("Mean row perplexity")),
];

/// `exp` of the mean negative log-likelihood over all tokens of all rows together, and of the same sum over the words and
/// the bytes of their text, as lm-evaluation-harness counts them; and the part of tokens that was the likeliest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Perplexity;

impl TokenMetric for Perplexity {
    fn score(&self, row: &TokenScore) -> Figures {
        let mut figures = Figures::from([
            ("nll".to_owned(), row.nll),
            ("tokens".to_owned(), row.tokens as f64),
            ("correct".to_owned(), row.correct as f64),
        ]);
        if row.words > 0 && row.bytes > 0 {
            figures.extend([("words".to_owned(), row.words as f64), ("bytes".to_owned(), row.bytes as f64)]);
        }
        figures
    }

    fn of_all(&self, all: &TokenScore) -> Figures {
        if all.tokens == 0 {
            return Figures::new();
        }
        let tokens = all.tokens as f64;
        let mean = all.nll / tokens;
        let mut figures = Figures::from([
            ("perplexity".to_owned(), mean.exp()),
            ("mean_nll".to_owned(), mean),
            ("token_accuracy".to_owned(), 100.0 * all.correct as f64 / tokens),
        ]);
        if all.words > 0 && all.bytes > 0 {
            let of_byte = all.nll / all.bytes as f64;
            figures.insert("word_perplexity".to_owned(), (all.nll / all.words as f64).exp());
            figures.insert("byte_perplexity".to_owned(), of_byte.exp());
            figures.insert("bits_per_byte".to_owned(), of_byte / std::f64::consts::LN_2);
        }
        figures
    }

    fn of_rows(&self, rows: &[TokenScore]) -> Figures {
        let mean = mean_over_rows(rows, |row| (row.nll / row.tokens as f64).exp());
        mean.map(|mean| ("row_perplexity".to_owned(), mean)).into_iter().collect()
    }

    fn meanings(&self) -> Meanings {
        MEANINGS
    }

    fn headline(&self) -> &'static [&'static str] {
        &["perplexity", "token_accuracy"]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::metrics::{Accuracy, ClassMetric, ClassRow, TokenAccuracy, Uncertainty};

    fn vectors(name: &str) -> Value {
        let path = format!("{}/../../tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    #[track_caller]
    fn close(found: f64, wanted: f64, what: &str) {
        assert!((found - wanted).abs() <= 1e-12 * wanted.abs() || found == wanted, "{what}: {found}, not {wanted}");
    }

    /// What a model with these logits would hand over; position `t` predicts the label at `t + 1`.
    fn score(logits: &Value, labels: &Value, ignored: i64) -> TokenScore {
        let mut row = TokenScore::default();
        let labels: Vec<i64> = labels.as_array().unwrap().iter().map(|label| label.as_i64().unwrap()).collect();
        for (scores, label) in logits.as_array().unwrap().iter().zip(&labels[1..]) {
            if *label == ignored {
                continue;
            }
            let scores: Vec<f64> = scores.as_array().unwrap().iter().map(|score| score.as_f64().unwrap()).collect();
            let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let partition: f64 = scores.iter().map(|score| (score - highest).exp()).sum();
            row.nll += highest + partition.ln() - scores[*label as usize];
            row.tokens += 1;
            row.correct += u64::from(scores.iter().position(|score| *score == highest) == Some(*label as usize));
        }
        row
    }

    /// A number of the vectors, or `nan` and `inf` as a text.
    fn number(value: &Value) -> f64 {
        value.as_str().map_or_else(|| value.as_f64().unwrap(), |text| text.parse().unwrap())
    }

    #[test]
    fn every_case_of_the_vectors() {
        let (mut compared, mut without) = (0, 0);
        for case in vectors("causal_lm")["cases"].as_array().unwrap() {
            let ignored = case["ignore_index"].as_i64().unwrap();
            let labels = case["labels"].as_array().unwrap();
            let rows: Vec<TokenScore> = case["logits"]
                .as_array()
                .unwrap()
                .iter()
                .zip(labels)
                .map(|(logits, labels)| score(logits, labels, ignored))
                .collect();
            let expected = case["expected"].as_object().unwrap();
            let id = &case["id"];
            close(rows.iter().map(|row| row.nll).sum(), number(&expected["nll_sum"]), &format!("{id} nll_sum"));
            for (name, of) in [
                ("sequence_perplexities", (|row| (row.nll / row.tokens as f64).exp()) as fn(&TokenScore) -> f64),
                ("token_accuracy_per_sequence", |row| row.correct as f64 / row.tokens as f64),
            ] {
                for (row, wanted) in rows.iter().zip(expected[name].as_array().unwrap()) {
                    match row.tokens {
                        0 => assert!(number(wanted).is_nan(), "{id} {name}"),
                        _ => close(of(row), number(wanted), &format!("{id} {name}")),
                    }
                }
            }
            let mut summary = Perplexity.summary(&rows);
            summary.extend(TokenAccuracy.summary(&rows));
            let pairs = [
                ("tokens", "num_tokens", 1.0),
                ("mean_nll", "loss_mean", 1.0),
                ("perplexity", "perplexity_exp_mean", 1.0),
                ("token_accuracy", "token_accuracy_micro", 100.0),
                ("row_perplexity", "hf_mean_perplexity", 1.0),
                ("row_accuracy", "llamafactory_accuracy", 100.0),
            ];
            let known = ["nll_sum", "sequence_perplexities", "token_accuracy_per_sequence"];
            assert!(expected.keys().all(|key| known.contains(&key.as_str()) || pairs.iter().any(|(_, k, _)| k == key)));
            for (ours, theirs, scale) in pairs {
                let wanted = number(&expected[theirs]) * scale;
                let found = summary.get(ours).copied();
                match (found, wanted.is_nan()) {
                    // Without a token there is no figure; a mean over rows leaves rows without one out, not undefined.
                    (None, _) => assert!(wanted.is_nan() || wanted == 0.0, "{id} {ours}"),
                    (Some(_), true) => {
                        assert!(ours.starts_with("row_") && rows.iter().any(|row| row.tokens == 0), "{id} {ours}");
                        without += 1;
                    }
                    (Some(found), false) => {
                        close(found, wanted, &format!("{id} {ours}"));
                        compared += 1;
                    }
                }
            }
        }
        assert!(compared > 200 && without < 20, "{compared} figures compared, {without} left out");
    }

    #[test]
    fn every_aggregation_of_lm_evaluation_harness() {
        for case in vectors("lm_eval")["aggregation"].as_array().unwrap() {
            let items: Vec<(f64, u64)> = serde_json::from_value(case["items"].clone()).unwrap();
            let expected = &case["expected"];
            let rows = |one: bool| -> Vec<TokenScore> {
                let row = |(ll, weight): &(f64, u64)| {
                    let weight = if one { 1 } else { *weight };
                    TokenScore { nll: -ll, tokens: 1, correct: 0, words: weight, bytes: weight }
                };
                items.iter().map(row).collect()
            };
            let weighted = Perplexity.summary(&rows(false));
            let id = case["id"].as_str().unwrap();
            close(weighted["word_perplexity"], number(&expected["weighted_perplexity"]), id);
            close(weighted["byte_perplexity"], number(&expected["weighted_perplexity"]), id);
            close(weighted["bits_per_byte"], number(&expected["bits_per_byte"]), id);
            // One likelihood a row: what counts there is a row, not its tokens.
            close(Perplexity.summary(&rows(true))["perplexity"], number(&expected["perplexity_of_ll"]), id);
            // An item is right where its log-likelihood is above −40.
            let classes: Vec<ClassRow> =
                items.iter().map(|(ll, _)| ClassRow { predicted: Some(usize::from(*ll <= -40.0)), right: 0 }).collect();
            let accuracy = Accuracy.count(&classes, &["likely".to_owned(), "unlikely".to_owned()]);
            close(accuracy.summary["accuracy"], 100.0 * number(&expected["mean_of_acc"]), id);
            match (accuracy.uncertainty.get("accuracy"), expected["mean_stderr_of_acc"].as_f64()) {
                (Some(Uncertainty::StandardError(found)), Some(wanted)) => close(*found, 100.0 * wanted, id),
                // Of one row there is none; the harness divides by zero.
                (found, wanted) => assert!(found.is_none() && wanted.is_none() && items.len() == 1, "{id}: {found:?}"),
            }
        }
    }

    #[test]
    fn long_rows_weigh_more() {
        let row = |nll, tokens, correct| TokenScore { nll, tokens, correct, ..TokenScore::default() };
        let rows = [row(8.0, 1, 0), row(1.0, 8, 8)];
        let summary = Perplexity.summary(&rows);
        assert_eq!(summary["perplexity"], 1f64.exp());
        assert_eq!(summary["token_accuracy"], 800.0 / 9.0);
        assert!(!summary.contains_key("word_perplexity"));
        let counted = Perplexity.count(&rows);
        assert!(matches!(counted.uncertainty["perplexity"], Uncertainty::Interval { low, high } if low < high));
        assert!(!counted.uncertainty.contains_key("tokens"));
    }
}
