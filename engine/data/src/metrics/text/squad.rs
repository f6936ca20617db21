//! Answers as SQuAD's scripts compare them: normal forms and the overlap of words. Knows no metric.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::python;

/// A text as it is compared: lower case, without ASCII punctuation and English articles, words one space apart.
pub fn normalize(text: &str) -> String {
    // What a capital letter becomes may depend on its neighbours only beyond ASCII.
    let lower = if text.is_ascii() { text.to_ascii_lowercase() } else { text.to_lowercase() };
    let mut normal = Normal { text: String::with_capacity(lower.len()), run: None, owes_space: false };
    for c in lower.chars().filter(|c| !c.is_ascii_punctuation()) {
        match c {
            c if python::is_word(c) => normal.word(c),
            c if python::is_space(c) => normal.space(),
            c => normal.other(c),
        }
    }
    normal.end_run();
    normal.text
}

/// A normal text as it grows.
struct Normal {
    text: String,
    /// Of the run of word characters that is written, what stands between two of Python's `\b`: where the text ended before
    /// it, and where it begins.
    run: Option<(usize, usize)>,
    /// Whether white space was passed since the last character.
    owes_space: bool,
}

impl Normal {
    fn word(&mut self, c: char) {
        if self.run.is_none() {
            let before = self.text.len();
            self.pay_space();
            self.run = Some((before, self.text.len()));
        }
        self.text.push(c);
    }

    fn space(&mut self) {
        self.end_run();
        self.owes_space = true;
    }

    fn other(&mut self, c: char) {
        self.end_run();
        self.pay_space();
        self.text.push(c);
    }

    /// Ends a run; an article becomes white space.
    fn end_run(&mut self) {
        if let Some((before, begin)) = self.run.take()
            && matches!(&self.text[begin..], "a" | "an" | "the")
        {
            self.text.truncate(before);
            self.owes_space = true;
        }
    }

    fn pay_space(&mut self) {
        if std::mem::take(&mut self.owes_space) && !self.text.is_empty() {
            self.text.push(' ');
        }
    }
}

/// How many words two normal texts have in common, each counted as often as it occurs, and how many each has.
pub fn overlap(gold: &str, prediction: &str) -> (usize, usize, usize) {
    let words = |text: &'_ str| if text.is_empty() { 0 } else { 1 + text.bytes().filter(|byte| *byte == b' ').count() };
    let (gold_words, predicted_words) = (words(gold), words(prediction));
    let mut left: HashMap<&str, usize, FixedState> =
        HashMap::with_capacity_and_hasher(gold_words, FixedState::default());
    for word in gold.split(' ') {
        *left.entry(word).or_default() += 1;
    }
    let mut same = 0;
    for word in prediction.split(' ').filter(|word| !word.is_empty()) {
        if let Some(count) = left.get_mut(word).filter(|count| **count > 0) {
            *count -= 1;
            same += 1;
        }
    }
    (same, gold_words, predicted_words)
}

/// The harmonic mean of precision and recall over words; zero where there is none in common.
pub fn f1(gold: &str, prediction: &str) -> f64 {
    let (same, gold, predicted) = overlap(gold, prediction);
    if same == 0 {
        return 0.0;
    }
    let (precision, recall) = (same as f64 / predicted as f64, same as f64 / gold as f64);
    2.0 * precision * recall / (precision + recall)
}
