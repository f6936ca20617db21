//! `perplexity`: how surprised a model is by a token, from the log-likelihoods of each row. Knows no model.

use super::{Figures, TokenMetric};

/// What a row's own tokens got; rows are added up before anything is divided.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TokenScore {
    /// The sum of the negative log-likelihoods of the tokens that count, in nats.
    pub nll: f64,
    /// How many tokens count.
    pub tokens: u64,
    /// Of how many of them the model held the right one the likeliest.
    pub correct: u64,
}

impl std::iter::Sum for TokenScore {
    fn sum<I: Iterator<Item = Self>>(rows: I) -> Self {
        rows.fold(Self::default(), |sum, row| Self {
            nll: sum.nll + row.nll,
            tokens: sum.tokens + row.tokens,
            correct: sum.correct + row.correct,
        })
    }
}

/// `exp(mean nll)` over all tokens of all rows together, and the part of them that was the likeliest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Perplexity;

impl TokenMetric for Perplexity {
    fn score(&self, row: &TokenScore) -> Figures {
        let tokens = row.tokens as f64;
        Figures::from([("nll".into(), row.nll), ("tokens".into(), tokens), ("correct".into(), row.correct as f64)])
    }

    fn summary(&self, rows: &[TokenScore]) -> Figures {
        let all: TokenScore = rows.iter().copied().sum();
        if all.tokens == 0 {
            return Figures::new();
        }
        let tokens = all.tokens as f64;
        let mean = all.nll / tokens;
        Figures::from([
            ("perplexity".into(), mean.exp()),
            ("mean_nll".into(), mean),
            ("token_accuracy".into(), 100.0 * all.correct as f64 / tokens),
            ("tokens".into(), tokens),
            ("total".into(), rows.len() as f64),
        ])
    }

    fn headline(&self) -> &'static [&'static str] {
        &["perplexity", "token_accuracy"]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

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

    #[test]
    fn every_case_of_the_vectors() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/causal_lm.json");
        let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let mut compared = 0;
        for case in vectors["cases"].as_array().unwrap() {
            let rows: Vec<TokenScore> = case["logits"]
                .as_array()
                .unwrap()
                .iter()
                .zip(case["labels"].as_array().unwrap())
                .map(|(logits, labels)| score(logits, labels, case["ignore_index"].as_i64().unwrap()))
                .collect();
            let summary = Perplexity.summary(&rows);
            for (ours, theirs, scale) in [
                ("tokens", "num_tokens", 1.0),
                ("mean_nll", "loss_mean", 1.0),
                ("perplexity", "perplexity_exp_mean", 1.0),
                ("token_accuracy", "token_accuracy_micro", 100.0),
            ] {
                let Some(wanted) = case["expected"][theirs].as_f64().map(|value| value * scale) else { continue };
                let found = summary.get(ours).copied().unwrap_or_default();
                let what = format!("{} {ours}: {found}, expected {wanted}", case["id"]);
                assert!((found - wanted).abs() <= 1e-12 * wanted.abs(), "{what}");
                compared += 1;
            }
        }
        assert!(compared > 100, "only {compared} figures compared");
    }

    #[test]
    fn long_rows_weigh_more() {
        let rows = [TokenScore { nll: 8.0, tokens: 1, correct: 0 }, TokenScore { nll: 1.0, tokens: 8, correct: 8 }];
        let summary = Perplexity.summary(&rows);
        assert_eq!(summary["perplexity"], 1f64.exp());
        assert_eq!(summary["token_accuracy"], 800.0 / 9.0);
    }
}
