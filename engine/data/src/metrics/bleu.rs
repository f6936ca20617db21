//! `bleu`: BLEU of a corpus (Papineni et al. 2002), as sacreBLEU 2 counts it (Post 2018, arXiv 1804.08771). Knows no model.

use spec::metric::{self, BleuTokenizer, Case, Orders, Smoothing};

use super::meaning::{Meaning, Meanings};
use super::text::{Vocabulary, ngrams, python, wmt_words};
use super::texts::{Statistics, TextRow, Whole};
use super::uncertainty::{Drawn, bootstrap, bootstrap_signature, of_drawn_sums, sums};
use super::{Figures, Signature};

/// What the figures mean.
pub(super) const MEANINGS: Meanings =
    &[("bleu", Meaning::more("BLEU")), ("brevity_penalty", Meaning::more("Brevity penalty"))];

/// BLEU, from 0 to 100.
#[derive(Debug, Clone, PartialEq)]
pub struct Bleu {
    settings: metric::Bleu,
    order: usize,
}

/// What a corpus adds up to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sums<'s> {
    /// Words of the answers.
    pub answered: f64,
    /// Words of the references.
    pub wanted: f64,
    /// For each order the n-grams that match.
    pub matches: &'s [f64],
    /// For each order the n-grams of the answers.
    pub totals: &'s [f64],
}

impl<'s> Sums<'s> {
    /// How many numbers a row gives.
    pub fn width(order: usize) -> usize {
        2 + 2 * order
    }

    /// The sums as a row's numbers stand.
    pub fn of(numbers: &'s [f64]) -> Self {
        let order = (numbers.len() - 2) / 2;
        let (matches, totals) = numbers[2..].split_at(order);
        Self { answered: numbers[0], wanted: numbers[1], matches, totals }
    }
}

/// A row's numbers: words of the answer, words of the reference that `chosen` prefers, matches and totals of each order.
pub(super) fn numbers(
    answer: &str,
    references: &[String],
    order: usize,
    chosen: impl Fn(usize, &[usize]) -> usize,
) -> Vec<f64> {
    let mut words = Vocabulary::default();
    let answer = words.numbers(python::split(answer));
    let references: Vec<Vec<u32>> = references.iter().map(|text| words.numbers(python::split(text))).collect();
    let lengths: Vec<usize> = references.iter().map(Vec::len).collect();
    let counted = ngrams::clipped(&answer, &references, words.len(), order);
    let mut numbers = vec![answer.len() as f64, chosen(answer.len(), &lengths) as f64];
    numbers.extend(counted.iter().map(|(matches, _)| *matches as f64));
    numbers.extend(counted.iter().map(|(_, total)| *total as f64));
    numbers
}

impl Bleu {
    /// The metric with a pipeline's settings.
    pub fn new(settings: &metric::Bleu) -> Self {
        Self { order: settings.max_order.max(1) as usize, settings: settings.clone() }
    }

    /// The text with spaces between its words.
    fn words(&self, text: &str) -> String {
        let text = match self.settings.case {
            Case::Mixed => text.to_owned(),
            Case::Lower => text.to_lowercase(),
        };
        let text = text.trim_end_matches(python::is_space);
        match self.settings.tokenizer {
            BleuTokenizer::V13a => wmt_words::v13a(text),
            BleuTokenizer::International => wmt_words::international(text),
            BleuTokenizer::Characters => wmt_words::characters(text),
            BleuTokenizer::None => text.to_owned(),
        }
    }

    /// BLEU alone.
    fn bleu(&self, sums: &[f64]) -> Figures {
        self.of(&Sums::of(sums)).remove("bleu").map(|value| ("bleu".to_owned(), value)).into_iter().collect()
    }

    /// BLEU with its parts.
    fn of(&self, sums: &Sums<'_>) -> Figures {
        let brevity = match sums.answered < sums.wanted {
            true if sums.answered > 0.0 => (1.0 - sums.wanted / sums.answered).exp(),
            true => 0.0,
            false => 1.0,
        };
        let mut precisions = vec![0.0; self.order];
        let mut orders = self.order;
        let mut halves = 1.0;
        let any = sums.matches.iter().any(|matches| *matches > 0.0);
        for (index, precision) in precisions.iter_mut().enumerate().filter(|_| any) {
            let added = match &self.settings.smoothing {
                Smoothing::AddK(k) if index > 0 => *k,
                _ => 0.0,
            };
            let (matches, total) = (sums.matches[index] + added, sums.totals[index] + added);
            if total == 0.0 {
                break;
            }
            if self.settings.orders == Orders::Effective {
                orders = index + 1;
            }
            *precision = match &self.settings.smoothing {
                _ if matches > 0.0 => 100.0 * matches / total,
                Smoothing::Exp(_) => {
                    halves *= 2.0;
                    100.0 / (halves * total)
                }
                Smoothing::Floor(floor) => 100.0 * floor / total,
                Smoothing::AddK(_) | Smoothing::None(_) => 0.0,
            };
        }
        let logarithms: f64 = precisions[..orders].iter().map(|precision| precision.ln()).sum();
        let bleu = if any { brevity * (logarithms / orders as f64).exp() } else { 0.0 };
        let mut figures = Figures::from([("bleu".to_owned(), bleu), ("brevity_penalty".to_owned(), brevity)]);
        figures.extend(precisions.into_iter().zip(1..).map(|(value, n)| (format!("precision_{n}"), value)));
        figures
    }
}

/// The length of the reference that is closest to the answer's, of two as close the shorter.
fn closest(answer: usize, references: &[usize]) -> usize {
    references.iter().copied().min_by_key(|length| (length.abs_diff(answer), *length)).unwrap_or_default()
}

impl Statistics for Bleu {
    type Row = Vec<f64>;

    const HEADLINE: &'static [&'static str] = &["bleu"];

    fn row(&self, row: &TextRow) -> Vec<f64> {
        let answer = self.words(row.prediction.as_deref().unwrap_or_default());
        let references: Vec<String> = row.references.iter().map(|text| self.words(text)).collect();
        numbers(&answer, &references, self.order, closest)
    }

    /// The row alone, of the orders that it has: without that short rows would all be as good as zero.
    fn figures(&self, row: &Vec<f64>) -> Figures {
        let alone = Self { settings: metric::Bleu { orders: Orders::Effective, ..self.settings.clone() }, ..*self };
        let bleu = alone.of(&Sums::of(row)).remove("bleu").unwrap_or_default();
        Figures::from([("bleu".to_owned(), bleu / 100.0)])
    }

    fn whole(&self, rows: &[Vec<f64>]) -> Whole {
        let width = Sums::width(self.order);
        let statistics = rows.concat();
        let sums = sums(&statistics, width);
        let mut summary = self.of(&Sums::of(&sums));
        summary.insert("answered_words".to_owned(), sums[0]);
        summary.insert("reference_words".to_owned(), sums[1]);
        summary.insert("total".to_owned(), rows.len() as f64);
        Whole { summary, uncertainty: bootstrap(&statistics, width, |sums| self.bleu(sums)) }
    }

    fn of_drawn(&self, rows: &[Vec<f64>]) -> Drawn<'static> {
        let metric = self.clone();
        of_drawn_sums(rows.concat(), Sums::width(self.order), move |sums| metric.bleu(sums))
    }

    fn signature(&self) -> Signature {
        let tokenizer = match self.settings.tokenizer {
            BleuTokenizer::V13a => "13a",
            BleuTokenizer::International => "intl",
            BleuTokenizer::Characters => "char",
            BleuTokenizer::None => "none",
        };
        let smoothing = match &self.settings.smoothing {
            Smoothing::Exp(_) => "exp".to_owned(),
            Smoothing::Floor(value) => format!("floor[{value:.2}]"),
            Smoothing::AddK(value) => format!("add-k[{value:.2}]"),
            Smoothing::None(_) => "none".to_owned(),
        };
        let mut parts = vec![
            ("case", if self.settings.case == Case::Lower { "lc" } else { "mixed" }.to_owned()),
            ("eff", if self.settings.orders == Orders::Effective { "yes" } else { "no" }.to_owned()),
            ("tok", tokenizer.to_owned()),
            ("smooth", smoothing),
        ];
        if self.order != 4 {
            parts.push(("order", self.order.to_string()));
        }
        parts.extend(bootstrap_signature());
        parts.extend([("like", "sacrebleu-2.6.0".to_owned()), ("version", "1".to_owned())]);
        parts
    }
}

#[cfg(test)]
mod tests;
