//! Which answer the scores of starts and ends mean: the best pair over all windows of a text, or no answer. As
//! transformers' `postprocess_qa_predictions` decides it. Knows scores and places; no model.

use std::cmp::Ordering;

use spec::protocol::{NoAnswer, Span};

/// The scores of one window of a text.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Window {
    /// That an answer starts at each token.
    pub starts: Vec<f64>,
    /// That it ends there.
    pub ends: Vec<f64>,
    /// Where each token stands in the text, in bytes; none for a token outside it.
    pub places: Vec<Option<(usize, usize)>>,
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// How many of the best starts and ends are put together.
    pub candidates: usize,
    /// The most tokens of an answer.
    pub max_tokens: usize,
    /// Where there may be no answer, whose score is that of the first token: by how much that must be above the best answer's
    /// (transformers' `null_score_diff_threshold`).
    pub none_above: Option<f64>,
}

impl From<&Span> for Rule {
    fn from(span: &Span) -> Self {
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        Self {
            candidates: size(span.candidates),
            max_tokens: size(span.max_answer_tokens),
            none_above: (span.no_answer == NoAnswer::Candidate).then_some(span.null_threshold),
        }
    }
}

/// An answer: where it stands in the text, in bytes. An empty range is no answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Its place.
    pub place: std::ops::Range<usize>,
    /// How much better no answer would be, where there may be none: above the rule's threshold, there is none.
    pub none_is_better_by: Option<f64>,
}

/// The best answer of all windows; nothing where no start and end go together and there must be an answer.
pub fn best(windows: &[Window], rule: Rule) -> Option<Found> {
    let none = windows.iter().map(|window| first(&window.starts) + first(&window.ends)).min_by(f64::total_cmp)?;
    let mut best: Option<(f64, std::ops::Range<usize>)> = None;
    for window in windows {
        for &start in &highest(&window.starts, rule.candidates) {
            for &end in &highest(&window.ends, rule.candidates) {
                let place = |token: usize| window.places.get(token).copied().flatten();
                let (Some((from, _)), Some((_, to))) = (place(start), place(end)) else { continue };
                if end < start || end - start + 1 > rule.max_tokens {
                    continue;
                }
                let score = window.starts[start] + window.ends[end];
                if from < to && best.as_ref().is_none_or(|(most, _)| score > *most) {
                    best = Some((score, from..to));
                }
            }
        }
    }
    match (best, rule.none_above) {
        (Some((score, place)), Some(threshold)) => {
            let better = none - score;
            Some(Found { place: if better > threshold { 0..0 } else { place }, none_is_better_by: Some(better) })
        }
        (Some((_, place)), None) => Some(Found { place, none_is_better_by: None }),
        (None, Some(_)) => Some(Found { place: 0..0, none_is_better_by: None }),
        (None, None) => None,
    }
}

fn first(scores: &[f64]) -> f64 {
    scores.first().copied().unwrap_or(f64::NEG_INFINITY)
}

/// The indices of the highest scores, the highest first; of equal ones the last.
fn highest(scores: &[f64], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|one, other| match scores[*other].total_cmp(&scores[*one]) {
        Ordering::Equal => other.cmp(one),
        unequal => unequal,
    });
    order.truncate(count);
    order
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_case_of_the_vectors() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/qa_span.json");
        let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let (mut compared, mut without) = (0, 0);
        for case in vectors["cases"].as_array().unwrap() {
            // Windows that leave tokens to their neighbours are not what is decided here.
            let context = case["context"].as_str().unwrap();
            let features = case["features"].as_array().unwrap();
            if features.iter().any(|feature| feature.get("token_is_max_context").is_some()) {
                continue;
            }
            let byte =
                |number: u64| context.char_indices().nth(number as usize).map_or(context.len(), |(byte, _)| byte);
            let numbers = |value: &Value| -> Vec<f64> {
                value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
            };
            let place = |value: &Value| Some((byte(value[0].as_u64()?), byte(value[1].as_u64()?)));
            let windows: Vec<Window> = features
                .iter()
                .enumerate()
                .map(|(index, feature)| Window {
                    starts: numbers(&case["start_logits"][index]),
                    ends: numbers(&case["end_logits"][index]),
                    places: feature["offset_mapping"].as_array().unwrap().iter().map(place).collect(),
                })
                .collect();
            let rule = Rule {
                candidates: case["n_best_size"].as_u64().unwrap() as usize,
                max_tokens: case["max_answer_length"].as_u64().unwrap() as usize,
                none_above: case["version_2_with_negative"]
                    .as_bool()
                    .unwrap()
                    .then(|| case["null_score_diff_threshold"].as_f64().unwrap()),
            };
            let found = best(&windows, rule);
            let text = found.as_ref().map_or("", |found| &context[found.place.clone()]);
            // Where nothing goes together the script answers with the word `empty`; here that is no answer.
            let expected = case["expected"]["prediction"].as_str().unwrap();
            assert_eq!(text, if expected == "empty" { "" } else { expected }, "{}", case["id"]);
            without += usize::from(text.is_empty());
            compared += 1;
        }
        assert!(compared >= 20 && without > 0, "{compared} compared, {without} without an answer");
    }
}
