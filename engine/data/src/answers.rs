//! Which answer the scores of starts and ends mean: the best pair over all windows of a text, or no answer. As
//! transformers' `postprocess_qa_predictions` decides it. Knows scores and places; no model.

use std::cmp::Ordering;
use std::collections::HashMap;

use spec::protocol::{NoAnswer, Span, Starts};

/// The scores of one window of a text.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Window {
    /// That an answer starts at each token.
    pub starts: Vec<f64>,
    /// That it ends there.
    pub ends: Vec<f64>,
    /// Where each token stands in the text, in bytes; none for a token outside it.
    pub places: Vec<Option<(usize, usize)>>,
    /// Whether an answer that starts at each token is another window's to give. Empty where none is.
    pub left_to_others: Vec<bool>,
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
    /// Which windows may start an answer at a token that several have.
    pub starts: Starts,
}

impl From<&Span> for Rule {
    fn from(span: &Span) -> Self {
        let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        Self {
            candidates: size(span.candidates),
            max_tokens: size(span.max_answer_tokens),
            none_above: (span.no_answer == NoAnswer::Candidate).then_some(span.null_threshold),
            starts: span.starts,
        }
    }
}

/// Leaves each start to the window in which its token has the most context: the fewer of the tokens that stand on its left
/// and on its right there, and a hundredth of the window's tokens; the first window of equal ones. As BERT's
/// `run_squad.py` has it (`_check_is_max_context`), and transformers' scripts where features have `token_is_max_context`.
fn by_context(mut windows: Vec<Window>) -> Vec<Window> {
    let mut most: HashMap<(usize, usize), (f64, usize)> = HashMap::new();
    for (index, window) in windows.iter().enumerate() {
        let of_text: Vec<(usize, usize)> = window.places.iter().copied().flatten().collect();
        for (token, place) in of_text.iter().enumerate() {
            let context = token.min(of_text.len() - 1 - token) as f64 + 0.01 * of_text.len() as f64;
            let best = most.entry(*place).or_insert((context, index));
            if context > best.0 {
                *best = (context, index);
            }
        }
    }
    for (index, window) in windows.iter_mut().enumerate() {
        let others = |place: &Option<(usize, usize)>| {
            place.and_then(|place| most.get(&place)).is_some_and(|(_, window)| *window != index)
        };
        window.left_to_others = window.places.iter().map(others).collect();
    }
    windows
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
pub fn best(windows: Vec<Window>, rule: Rule) -> Option<Found> {
    let windows = match rule.starts {
        Starts::AnyWindow => windows,
        Starts::MostContext => by_context(windows),
    };
    let none = windows.iter().map(|window| first(&window.starts) + first(&window.ends)).min_by(f64::total_cmp)?;
    let mut best: Option<(f64, std::ops::Range<usize>)> = None;
    for window in &windows {
        for &start in &highest(&window.starts, rule.candidates) {
            for &end in &highest(&window.ends, rule.candidates) {
                let place = |token: usize| window.places.get(token).copied().flatten();
                let (Some((from, _)), Some((_, to))) = (place(start), place(end)) else { continue };
                let another_windows = window.left_to_others.get(start).copied().unwrap_or(false);
                if another_windows || end < start || end - start + 1 > rule.max_tokens {
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
        let (mut compared, mut without, mut dealt_out) = (0, 0, 0);
        for case in vectors["cases"].as_array().unwrap() {
            let context = case["context"].as_str().unwrap();
            let features = case["features"].as_array().unwrap();
            let byte =
                |number: u64| context.char_indices().nth(number as usize).map_or(context.len(), |(byte, _)| byte);
            let numbers = |value: &Value| -> Vec<f64> {
                value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
            };
            // As in the script: a token that is not named is another window's.
            let left_to_others = |feature: &Value| -> Vec<bool> {
                let Some(most) = feature.get("token_is_max_context") else { return Vec::new() };
                let tokens = feature["offset_mapping"].as_array().unwrap().len();
                (0..tokens).map(|token| most[token.to_string()] != Value::Bool(true)).collect()
            };
            let place = |value: &Value| Some((byte(value[0].as_u64()?), byte(value[1].as_u64()?)));
            let windows: Vec<Window> = features
                .iter()
                .enumerate()
                .map(|(index, feature)| Window {
                    starts: numbers(&case["start_logits"][index]),
                    ends: numbers(&case["end_logits"][index]),
                    places: feature["offset_mapping"].as_array().unwrap().iter().map(place).collect(),
                    left_to_others: left_to_others(feature),
                })
                .collect();
            dealt_out += usize::from(windows.iter().any(|window| window.left_to_others.contains(&true)));
            let rule = Rule {
                candidates: case["n_best_size"].as_u64().unwrap() as usize,
                max_tokens: case["max_answer_length"].as_u64().unwrap() as usize,
                none_above: case["version_2_with_negative"]
                    .as_bool()
                    .unwrap()
                    .then(|| case["null_score_diff_threshold"].as_f64().unwrap()),
                // Which windows have what is given, not counted here.
                starts: Starts::AnyWindow,
            };
            let found = best(windows, rule);
            let text = found.as_ref().map_or("", |found| &context[found.place.clone()]);
            // Where nothing goes together the script answers with the word `empty`; here that is no answer.
            let expected = case["expected"]["prediction"].as_str().unwrap();
            assert_eq!(text, if expected == "empty" { "" } else { expected }, "{}", case["id"]);
            without += usize::from(text.is_empty());
            compared += 1;
        }
        assert!(without > 0 && dealt_out > 0, "{without} without an answer, {dealt_out} with tokens of other windows");
        assert_eq!(compared, vectors["cases"].as_array().unwrap().len());
    }

    /// The example of BERT's `run_squad.py`: "the man went to the store and bought a gallon of milk" in windows of five
    /// words, two apart at a time by three. "bought" has four words on its left and none on its right in the second
    /// window, one and three in the third, so the third has it.
    #[test]
    fn a_start_belongs_to_the_window_with_the_most_context() {
        let window = |words: std::ops::Range<usize>| {
            let mut places = vec![None];
            places.extend(words.map(|word| Some((10 * word, 10 * word + 5))));
            places.push(None);
            Window { places, ..Window::default() }
        };
        let windows = || vec![window(0..5), window(3..8), window(6..11), window(9..12)];
        let own = |windows: &[Window]| -> Vec<Vec<usize>> {
            let words = |window: &Window| {
                let tokens = window.places.iter().zip(&window.left_to_others);
                tokens.filter_map(|(place, others)| (!others).then_some((*place)?.0 / 10)).collect()
            };
            windows.iter().map(words).collect()
        };
        // "to" (3) has one word on its right in the first window and none on its left in the second; "and" (6) has one
        // on its right in the second and none on its left in the third; "gallon" and "of" have 1.05 and 0.05 in the third
        // against 0.03 and 1.03 in the fourth.
        let dealt_out = by_context(windows());
        assert_eq!(own(&dealt_out), [vec![0, 1, 2, 3], vec![4, 5, 6], vec![7, 8, 9], vec![10, 11]]);
    }
}
