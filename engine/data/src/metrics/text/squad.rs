//! Answers as SQuAD's scripts compare them: normal forms and the overlap of words. Knows no metric.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::python;

/// A text as it is compared: lower case, without ASCII punctuation and English articles, words one space apart.
pub fn normalize(text: &str) -> String {
    let bare: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let mut kept = String::with_capacity(bare.len());
    // A run of word characters is what stands between two of Python's `\b`; `a`, `an` and `the` become white space. A space
    // is owed where white space was passed.
    let mut owed = false;
    let mut rest = bare.as_str();
    while let Some(first) = rest.chars().next() {
        let end = match python::is_word(first) {
            true => rest.find(|c| !python::is_word(c)).unwrap_or(rest.len()),
            false => first.len_utf8(),
        };
        let (run, behind) = rest.split_at(end);
        rest = behind;
        if matches!(run, "a" | "an" | "the") || python::is_space(first) {
            owed = true;
            continue;
        }
        if owed && !kept.is_empty() {
            kept.push(' ');
        }
        owed = false;
        kept.push_str(run);
    }
    kept
}

/// How many words two normal texts have in common, each counted as often as it occurs, and how many each has.
pub fn overlap(gold: &str, prediction: &str) -> (usize, usize, usize) {
    let words = |text: &'_ str| text.split(' ').filter(|word| !word.is_empty()).count();
    let mut left: HashMap<&str, usize, FixedState> = HashMap::default();
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
    (same, words(gold), words(prediction))
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
