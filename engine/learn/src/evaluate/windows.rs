//! Long texts in windows that a model can read: each token is predicted once, by the tokens of its window that stand before it.
//! As lm-evaluation-harness' `get_rolling_token_windows` and `make_disjoint_window` cut texts. Knows ids; no model.

use std::ops::Range;

use crate::batches::LossRow;

/// How texts are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    /// The most tokens that are read at once.
    pub length: usize,
    /// In all windows but the first: how many tokens stand before the first one that is predicted, at least 1 and at most
    /// `length`.
    pub context: usize,
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Its tokens; all but the last are read.
    pub tokens: Range<usize>,
    /// Those that are predicted: up to the last.
    pub predicted: Range<usize>,
}

impl Windows {
    /// The windows of a text of so many tokens, of which the first is not predicted.
    pub fn of(self, tokens: usize) -> Vec<Window> {
        let length = self.length.max(1);
        let each = (length + 1).saturating_sub(self.context.max(1)).max(1);
        let mut windows = Vec::new();
        let mut done = 1;
        while done < tokens {
            let most = if done == 1 { length } else { each };
            let end = tokens.min(done + most);
            windows.push(Window { tokens: (end - 1).saturating_sub(length)..end, predicted: done..end });
            done = end;
        }
        windows
    }

    /// A row's windows, as far as they predict a token that counts.
    pub fn cut(self, row: &LossRow) -> Vec<LossRow> {
        let part = |window: Window| {
            let ids = row.ids.get(window.tokens.clone())?;
            let counts = |at| window.predicted.contains(&at) && row.targets.get(at).copied().unwrap_or(false);
            LossRow::new(row.id.clone(), ids, window.tokens.clone().map(counts))
        };
        self.of(row.ids.len()).into_iter().filter_map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn texts_are_cut_as_the_harness_cuts_them() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/lm_eval.json");
        let vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let cases = vectors["rolling_windows"].as_array().unwrap();
        assert_eq!(cases.len(), 10);
        let mut compared = 0;
        for case in cases {
            let numbers = |value: &Value| -> Vec<i64> {
                value.as_array().unwrap().iter().map(|number| number.as_i64().unwrap()).collect()
            };
            let size = |key: &str| usize::try_from(case[key].as_u64().unwrap()).unwrap();
            let mut ids = vec![case["prefix_token"].as_i64().unwrap()];
            ids.extend(numbers(&case["tokens"]));
            let windows = Windows { length: size("max_seq_len"), context: size("context_len") }.of(ids.len());
            for (name, from) in [
                ("windows", (|window| window.tokens.start..window.tokens.end - 1) as fn(&Window) -> Range<usize>),
                ("disjoint", |window| window.tokens.start..window.predicted.start),
            ] {
                let found: Vec<[Vec<i64>; 2]> = windows
                    .iter()
                    .map(|window| [ids[from(window)].to_vec(), ids[window.predicted.clone()].to_vec()])
                    .collect();
                let expected: Vec<[Vec<i64>; 2]> = case["expected"][name]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|pair| [numbers(&pair[0]), numbers(&pair[1])])
                    .collect();
                assert_eq!(found, expected, "{} {name}", case["id"]);
                compared += found.len();
            }
        }
        assert!(compared > 50, "{compared} windows");
    }

    #[test]
    fn a_row_keeps_what_counts() {
        let targets: Vec<bool> = (0..9).map(|at| at > 4).collect();
        let row = LossRow::new("a", &[10, 11, 12, 13, 14, 15, 16, 17, 18], targets).unwrap();
        let found = Windows { length: 3, context: 1 }.cut(&row);
        let ids: Vec<&[i32]> = found.iter().map(|row| row.ids.as_slice()).collect();
        assert_eq!(ids, [&[13, 14, 15, 16][..], &[15, 16, 17, 18]]);
        let counted: Vec<&[bool]> = found.iter().map(|row| row.targets.as_slice()).collect();
        assert_eq!(counted, [[false, false, true, true], [false, false, true, true]]);
    }
}
