//! `chrf`: the F-score of character n-grams (Popović 2015), with words chrF++ (Popović 2017), as sacreBLEU 2 counts it.
//! Knows no model.

use spec::metric::{self, Case, ChrfSmoothing, Whitespace};

use super::meaning::{Meaning, Meanings};
use super::text::{Vocabulary, ngrams, python};
use super::texts::{Statistics, TextRow, Whole};
use super::uncertainty::{Drawn, bootstrap, bootstrap_signature, of_drawn_sums, sums};
use super::{Figures, Signature};

/// What the figures mean.
pub(super) const MEANINGS: Meanings = &[("chrf", Meaning::more("chrF"))];

/// chrF, from 0 to 100.
#[derive(Debug, Clone, PartialEq)]
pub struct Chrf {
    settings: metric::Chrf,
    characters: usize,
    words: usize,
}

/// What stands for nothing under `smoothing: epsilon`.
const EPSILON: f64 = 1e-16;

impl Chrf {
    /// The metric with a pipeline's settings.
    pub fn new(settings: &metric::Chrf) -> Self {
        let (characters, words) = (settings.char_order.max(1) as usize, settings.word_order as usize);
        Self { settings: settings.clone(), characters, words }
    }

    fn width(&self) -> usize {
        3 * (self.characters + self.words)
    }

    /// The text in the case that is compared.
    fn cased(&self, text: &str) -> String {
        match self.settings.case {
            Case::Mixed => text.to_owned(),
            Case::Lower => text.to_lowercase(),
        }
    }

    fn characters(&self, text: &str) -> Vec<u32> {
        let is_dropped = |c: &char| self.settings.whitespace == Whitespace::Dropped && python::is_space(*c);
        text.chars().filter(|c| !is_dropped(c)).map(u32::from).collect()
    }

    /// From the n-grams of both sides, for each order those of the answer, those of the reference and those in common.
    fn of(&self, statistics: &[f64]) -> f64 {
        let factor = f64::from(self.settings.beta).powi(2);
        let (mut smoothed, mut precisions, mut recalls, mut orders) = (0.0, 0.0, 0.0, 0.0);
        for order in statistics.chunks_exact(3) {
            let (answer, reference, common) = (order[0], order[1], order[2]);
            let part = |whole: f64| if whole > 0.0 { common / whole } else { EPSILON };
            let (precision, recall) = (part(answer), part(reference));
            let below = factor * precision + recall;
            smoothed += if below > 0.0 { (1.0 + factor) * precision * recall / below } else { EPSILON };
            if answer > 0.0 && reference > 0.0 {
                precisions += precision;
                recalls += recall;
                orders += 1.0;
            }
        }
        match self.settings.smoothing {
            ChrfSmoothing::Epsilon => 100.0 * smoothed / (self.characters + self.words) as f64,
            ChrfSmoothing::Effective if precisions + recalls == 0.0 => 0.0,
            ChrfSmoothing::Effective => {
                let (precision, recall) = (precisions / orders, recalls / orders);
                100.0 * ((1.0 + factor) * precision * recall / (factor * precision + recall))
            }
        }
    }

    /// Adds, for each reference and order, the answer's n-grams, the reference's and those in common.
    fn add(statistics: &mut [Vec<f64>], answer: &[u32], references: &[Vec<u32>], kinds: usize, most: usize) {
        let mut ours = answer.to_vec();
        let mut theirs = references.to_vec();
        let mut kinds = kinds;
        for order in 1..=most {
            if order > 1 {
                let mut longer = ngrams::Longer::default();
                ours = longer.of(&ours, answer, order);
                for (ngrams, symbols) in theirs.iter_mut().zip(references) {
                    *ngrams = longer.of(ngrams, symbols, order);
                }
                kinds = longer.len();
            }
            let counted = ngrams::counts(&ours, kinds);
            for (statistics, reference) in statistics.iter_mut().zip(&theirs) {
                let common = ngrams::common(&counted, &ngrams::counts(reference, kinds));
                // An order that the reference does not have counts for neither.
                let answered = if reference.is_empty() { 0 } else { ours.len() };
                statistics.extend([answered as f64, reference.len() as f64, common as f64]);
            }
        }
    }
}

/// Words, with punctuation of ASCII at their end or else at their begin alone.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for word in python::split(text) {
        let mut characters = word.char_indices();
        let (Some((_, first)), Some((last_at, last))) = (characters.next(), characters.next_back()) else {
            words.push(word);
            continue;
        };
        match (last.is_ascii_punctuation(), first.is_ascii_punctuation()) {
            (true, _) => words.extend([&word[..last_at], &word[last_at..]]),
            (false, true) => words.extend([&word[..first.len_utf8()], &word[first.len_utf8()..]]),
            (false, false) => words.push(word),
        }
    }
    words
}

/// Symbols as numbers from 0 on, equal ones equal.
fn dense(answer: Vec<u32>, references: Vec<Vec<u32>>) -> (Vec<u32>, Vec<Vec<u32>>, usize) {
    let mut single = ngrams::Longer::default();
    let zeros = vec![0; references.iter().map(Vec::len).chain([answer.len()]).max().unwrap_or_default()];
    let answer = single.of(&zeros, &answer, 1);
    let references = references.iter().map(|symbols| single.of(&zeros, symbols, 1)).collect();
    (answer, references, single.len())
}

impl Statistics for Chrf {
    type Row = Vec<f64>;

    const HEADLINE: &'static [&'static str] = &["chrf"];

    /// Of several references the one that scores best, the first of equals.
    fn row(&self, row: &TextRow) -> Vec<f64> {
        let answer = self.cased(row.prediction.as_deref().unwrap_or_default());
        let references: Vec<String> = row.references.iter().map(|text| self.cased(text)).collect();
        let mut statistics = vec![Vec::with_capacity(self.width()); references.len()];
        let characters = references.iter().map(|text| self.characters(text)).collect();
        let (ours, theirs, kinds) = dense(self.characters(&answer), characters);
        Self::add(&mut statistics, &ours, &theirs, kinds, self.characters);
        if self.words > 0 {
            let mut numbers = Vocabulary::default();
            let ours = numbers.numbers(words(&answer));
            let theirs: Vec<Vec<u32>> = references.iter().map(|text| numbers.numbers(words(text))).collect();
            Self::add(&mut statistics, &ours, &theirs, numbers.len(), self.words);
        }
        let mut best: Option<(f64, Vec<f64>)> = None;
        for statistics in statistics {
            let score = self.of(&statistics);
            if best.as_ref().is_none_or(|(most, _)| score > *most) {
                best = Some((score, statistics));
            }
        }
        best.map_or_else(|| vec![0.0; self.width()], |(_, statistics)| statistics)
    }

    fn figures(&self, row: &Vec<f64>) -> Figures {
        Figures::from([("chrf".to_owned(), self.of(row) / 100.0)])
    }

    fn whole(&self, rows: &[Vec<f64>]) -> Whole {
        let statistics = rows.concat();
        let figure = |sums: &[f64]| Figures::from([("chrf".to_owned(), self.of(sums))]);
        let mut summary = figure(&sums(&statistics, self.width()));
        summary.insert("total".to_owned(), rows.len() as f64);
        Whole { summary, uncertainty: bootstrap(&statistics, self.width(), figure) }
    }

    fn of_drawn(&self, rows: &[Vec<f64>]) -> Drawn<'static> {
        let metric = self.clone();
        let figure = move |sums: &[f64]| Figures::from([("chrf".to_owned(), metric.of(sums))]);
        of_drawn_sums(rows.concat(), self.width(), figure)
    }

    fn signature(&self) -> Signature {
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        let mut parts = vec![
            ("case", if self.settings.case == Case::Lower { "lc" } else { "mixed" }.to_owned()),
            ("eff", yes(self.settings.smoothing == ChrfSmoothing::Effective)),
            ("nc", self.characters.to_string()),
            ("nw", self.words.to_string()),
            ("beta", self.settings.beta.to_string()),
            ("space", yes(self.settings.whitespace == Whitespace::Kept)),
        ];
        parts.extend(bootstrap_signature());
        parts.extend([("like", "sacrebleu-2.6.0".to_owned()), ("version", "1".to_owned())]);
        parts
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::metrics::TextMetric;

    fn rows(case: &Value) -> Vec<TextRow> {
        let text = |text: &Value| text.as_str().unwrap().to_owned();
        let references = case["references"].as_array().unwrap().iter();
        let references = references.map(|list| list.as_array().unwrap().iter().map(text).collect());
        let predictions = case["predictions"].as_array().unwrap().iter();
        predictions.zip(references).map(|(answer, references)| TextRow::new(Some(text(answer)), references)).collect()
    }

    #[test]
    fn every_case_of_the_vectors() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/chrf.json");
        let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let mut compared = 0;
        for case in vectors["cases"].as_array().unwrap() {
            for (name, expected) in case["expected"].as_object().unwrap() {
                let settings = match name.as_str() {
                    "chrf" => json!({}),
                    "chrf_pp" => json!({ "word_order": 2 }),
                    "chrf_lowercase" => json!({ "case": "lower" }),
                    "chrf_whitespace" => json!({ "whitespace": "kept" }),
                    "chrf_eps" => json!({ "smoothing": "epsilon" }),
                    "chrf_pp_eps" => json!({ "word_order": 2, "smoothing": "epsilon" }),
                    "chrf_beta1" => json!({ "beta": 1 }),
                    "chrf_char3" => json!({ "char_order": 3 }),
                    other => panic!("{other}"),
                };
                let metric = Chrf::new(&serde_json::from_value(settings).unwrap());
                let found = metric.count(&rows(case)).summary["chrf"];
                let wanted = expected.as_f64().unwrap();
                assert!((found - wanted).abs() <= 1e-12 * wanted.abs(), "{} {name}: {found}, not {wanted}", case["id"]);
                compared += 1;
            }
        }
        assert_eq!(compared, 79 * 8);
    }

    #[test]
    fn a_million_characters_take_no_square_of_time() {
        let long = "ab cd ".repeat(170_000);
        let metric = Chrf::new(&metric::Chrf::default());
        let row = TextRow::new(Some(long), vec!["ab cd".to_owned()]);
        let counted = metric.count(&[row]);
        assert!(counted.summary["chrf"] > 0.0 && counted.summary["chrf"] < 1.0);
        assert_eq!(
            counted.signature,
            "nrefs:1|case:mixed|eff:yes|nc:6|nw:0|beta:2|space:no|bs:1000|seed:12345|like:sacrebleu-2.6.0|version:1"
        );
    }
}
