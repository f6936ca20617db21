//! What metrics of a row's own tokens have in common: the likelihoods of all rows are added up before anything is divided.
//! Knows no particular metric.

use rayon::prelude::*;

use super::meaning::Meanings;
use super::uncertainty::{Drawn, bootstrap, bootstrap_signature, of_drawn_sums};
use super::{Counted, Figures, signature};

/// What a row's own tokens got.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TokenScore {
    /// The sum of the negative log-likelihoods of the tokens that count, in nats.
    pub nll: f64,
    /// How many tokens count.
    pub tokens: u64,
    /// Of how many of them the model held the right one the likeliest.
    pub correct: u64,
    /// How many words their text has: the pieces between its white space. Zero where no text is known.
    pub words: u64,
    /// How many bytes their text has. Zero where no text is known.
    pub bytes: u64,
}

impl TokenScore {
    /// Its five numbers.
    fn numbers(&self) -> [f64; 5] {
        let Self { nll, tokens, correct, words, bytes } = *self;
        [nll, tokens as f64, correct as f64, words as f64, bytes as f64]
    }

    /// Sums of such numbers.
    fn of(sums: &[f64]) -> Self {
        let [tokens, correct, words, bytes] = [1, 2, 3, 4].map(|at| sums[at] as u64);
        Self { nll: sums[0], tokens, correct, words, bytes }
    }
}

impl std::iter::Sum for TokenScore {
    fn sum<I: Iterator<Item = Self>>(rows: I) -> Self {
        rows.fold(Self::default(), |sum, row| Self {
            nll: sum.nll + row.nll,
            tokens: sum.tokens + row.tokens,
            correct: sum.correct + row.correct,
            words: sum.words + row.words,
            bytes: sum.bytes + row.bytes,
        })
    }
}

/// A metric that counts the likelihood of a row's own tokens.
pub trait TokenMetric: Send + Sync {
    /// The figures of one row.
    fn score(&self, row: &TokenScore) -> Figures;

    /// The figures of all tokens of all rows, each token alike; none where there is no token.
    fn of_all(&self, all: &TokenScore) -> Figures;

    /// The mean over rows that have tokens of a figure of their own, by its name.
    fn of_rows(&self, rows: &[TokenScore]) -> Figures;

    /// What the figures mean; those without a meaning are counts.
    fn meanings(&self) -> Meanings;

    /// The summary's figures that tables, locks and progress show, the first of them first.
    fn headline(&self) -> &'static [&'static str];

    /// The figures of all rows together.
    fn summary(&self, rows: &[TokenScore]) -> Figures {
        let all: TokenScore = rows.iter().copied().sum();
        let mut figures = self.of_all(&all);
        if !figures.is_empty() {
            figures.extend(self.of_rows(rows));
            figures.insert("tokens".to_owned(), all.tokens as f64);
            figures.insert("total".to_owned(), rows.len() as f64);
        }
        figures
    }

    /// The shown figures of rows that are drawn from these.
    fn drawn<'a>(&'a self, rows: &[TokenScore]) -> Drawn<'a> {
        let statistics: Vec<f64> = rows.iter().flat_map(TokenScore::numbers).collect();
        of_drawn_sums(statistics, 5, |sums| {
            let mut figures = self.of_all(&TokenScore::of(sums));
            figures.retain(|name, _| self.headline().contains(&name.as_str()));
            figures
        })
    }

    /// Counts rows.
    fn count(&self, rows: &[TokenScore]) -> Counted {
        let statistics: Vec<f64> = rows.iter().flat_map(TokenScore::numbers).collect();
        let mut parts = bootstrap_signature().to_vec();
        parts.push(("version", "2".to_owned()));
        Counted {
            rows: rows.par_iter().map(|row| self.score(row)).collect(),
            summary: self.summary(rows),
            uncertainty: bootstrap(&statistics, 5, |sums| {
                let figures = self.of_all(&TokenScore::of(sums));
                let has_meaning = |name: &str| self.meanings().iter().any(|(known, _)| *known == name);
                figures.into_iter().filter(|(name, _)| has_meaning(name)).collect()
            }),
            signature: signature(parts),
            headline: self.headline(),
        }
    }
}

/// The mean of a figure over the rows that have tokens.
pub(super) fn mean_over_rows(rows: &[TokenScore], of: impl Fn(&TokenScore) -> f64) -> Option<f64> {
    let values: Vec<f64> = rows.iter().filter(|row| row.tokens > 0).map(of).collect();
    super::uncertainty::mean(values.into_iter())
}
