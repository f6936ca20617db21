//! `token_accuracy`: how often the right token is the likeliest. Knows no model.

use super::Figures;
use super::meaning::{Meaning, Meanings};
use super::tokens::{TokenMetric, TokenScore, mean_over_rows};

/// What the figures mean.
pub(super) const MEANINGS: Meanings =
    &[("token_accuracy", Meaning::percent("Token accuracy")), ("row_accuracy", Meaning::percent("Mean row accuracy"))];

/// The part of tokens whose right one is the likeliest, of all rows together and as the mean of rows, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenAccuracy;

impl TokenMetric for TokenAccuracy {
    fn score(&self, row: &TokenScore) -> Figures {
        Figures::from([("tokens".to_owned(), row.tokens as f64), ("correct".to_owned(), row.correct as f64)])
    }

    fn of_all(&self, all: &TokenScore) -> Figures {
        let accuracy = (all.tokens > 0).then(|| 100.0 * all.correct as f64 / all.tokens as f64);
        accuracy.map(|accuracy| ("token_accuracy".to_owned(), accuracy)).into_iter().collect()
    }

    fn of_rows(&self, rows: &[TokenScore]) -> Figures {
        let mean = mean_over_rows(rows, |row| 100.0 * row.correct as f64 / row.tokens as f64);
        mean.map(|mean| ("row_accuracy".to_owned(), mean)).into_iter().collect()
    }

    fn meanings(&self) -> Meanings {
        MEANINGS
    }

    fn headline(&self) -> &'static [&'static str] {
        &["token_accuracy"]
    }
}
