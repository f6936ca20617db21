//! `hf_bleu`: BLEU as Hugging Face's `evaluate` counts it, from 0 to 1, which follows TensorFlow's `nmt`. Knows no model.

use spec::metric::{self, HfSmoothing};

use super::bleu::{Sums, numbers};
use super::meaning::{Meaning, Meanings};
use super::text::wmt_words;
use super::texts::{Statistics, TextRow, Whole};
use super::uncertainty::{Drawn, bootstrap, bootstrap_signature, of_drawn_sums, sums};
use super::{Figures, Signature};

/// What the figures mean.
pub(super) const MEANINGS: Meanings =
    &[("bleu", Meaning::more("BLEU (0–1)")), ("brevity_penalty", Meaning::more("Brevity penalty"))];

/// BLEU, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HfBleu {
    order: usize,
    smoothing: HfSmoothing,
}

impl HfBleu {
    /// The metric with a pipeline's settings.
    pub fn new(settings: &metric::HfBleu) -> Self {
        Self { order: settings.max_order.max(1) as usize, smoothing: settings.smoothing }
    }

    /// BLEU alone.
    fn bleu(&self, sums: &[f64]) -> Figures {
        self.of(&Sums::of(sums)).remove("bleu").map(|value| ("bleu".to_owned(), value)).into_iter().collect()
    }

    fn of(&self, sums: &Sums<'_>) -> Figures {
        let added = if self.smoothing == HfSmoothing::AddOne { 1.0 } else { 0.0 };
        let precision = |(matches, total): (&f64, &f64)| match total + added > 0.0 {
            true => (matches + added) / (total + added),
            false => 0.0,
        };
        let precisions: Vec<f64> = sums.matches.iter().zip(sums.totals).map(precision).collect();
        let mean = match precisions.iter().all(|precision| *precision > 0.0) {
            true => precisions.iter().map(|precision| precision.ln() / self.order as f64).sum::<f64>().exp(),
            false => 0.0,
        };
        let (ratio, brevity) = match sums.wanted == 0.0 || sums.answered == 0.0 {
            true => (0.0, 0.0),
            false => {
                let ratio = sums.answered / sums.wanted;
                (ratio, if ratio > 1.0 { 1.0 } else { (1.0 - 1.0 / ratio).exp() })
            }
        };
        let mut figures = Figures::from([
            ("bleu".to_owned(), mean * brevity),
            ("brevity_penalty".to_owned(), brevity),
            ("length_ratio".to_owned(), ratio),
        ]);
        figures.extend(precisions.into_iter().zip(1..).map(|(value, n)| (format!("precision_{n}"), value)));
        figures
    }
}

impl Statistics for HfBleu {
    type Row = Vec<f64>;

    const HEADLINE: &'static [&'static str] = &["bleu"];

    fn row(&self, row: &TextRow) -> Vec<f64> {
        let answer = wmt_words::v13a(row.prediction.as_deref().unwrap_or_default());
        let references: Vec<String> = row.references.iter().map(|text| wmt_words::v13a(text)).collect();
        let shortest = |_: usize, references: &[usize]| references.iter().copied().min().unwrap_or_default();
        numbers(&answer, &references, self.order, shortest)
    }

    fn figures(&self, row: &Vec<f64>) -> Figures {
        let bleu = self.of(&Sums::of(row)).remove("bleu").unwrap_or_default();
        Figures::from([("bleu".to_owned(), bleu)])
    }

    fn whole(&self, rows: &[Vec<f64>]) -> Whole {
        let width = Sums::width(self.order);
        let statistics = rows.concat();
        let sums = sums(&statistics, width);
        let mut summary = self.of(&Sums::of(&sums));
        summary.insert("translation_length".to_owned(), sums[0]);
        summary.insert("reference_length".to_owned(), sums[1]);
        summary.insert("total".to_owned(), rows.len() as f64);
        Whole { summary, uncertainty: bootstrap(&statistics, width, |sums| self.bleu(sums)) }
    }

    fn of_drawn(&self, rows: &[Vec<f64>]) -> Drawn<'static> {
        let metric = *self;
        of_drawn_sums(rows.concat(), Sums::width(self.order), move |sums| metric.bleu(sums))
    }

    fn signature(&self) -> Signature {
        let smoothing = if self.smoothing == HfSmoothing::AddOne { "add-one" } else { "none" };
        let mut parts =
            vec![("tok", "13a".to_owned()), ("smooth", smoothing.to_owned()), ("order", self.order.to_string())];
        parts.extend(bootstrap_signature());
        parts.extend([("like", "evaluate-0.4.6".to_owned()), ("version", "1".to_owned())]);
        parts
    }
}
