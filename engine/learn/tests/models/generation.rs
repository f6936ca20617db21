//! Greedy generation against continuations that transformers made one by one without a cache.

use crate::fixtures::{VARIANTS, Variant};
use learn::adapters::Frozen;
use learn::generate::{Continuation, Limits, Progress, greedy};
use learn::models::Model;
use serde_json::Value;
use tch::Device;

fn ids(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect()
}

struct Case {
    model: Model,
    prompts: Vec<Vec<i64>>,
    end_ids: Vec<i64>,
    max_new_tokens: usize,
    expected: Vec<Continuation>,
}

fn case(name: &str) -> Case {
    let variant = Variant::read(name);
    let golden = &variant.values["generation"];
    let expected = golden["greedy"].as_array().unwrap().iter();
    Case {
        model: variant.model(&Frozen),
        prompts: golden["prompts"].as_array().unwrap().iter().map(ids).collect(),
        end_ids: ids(&golden["end_ids"]),
        max_new_tokens: golden["max_new_tokens"].as_u64().unwrap() as usize,
        expected: expected.map(|row| Continuation { tokens: ids(&row["tokens"]), end: row["end"].as_i64() }).collect(),
    }
}

impl Case {
    fn run(&self, prompts: &[Vec<i64>], batch: usize) -> (Vec<Continuation>, Vec<Progress>) {
        let limits = Limits { end_ids: self.end_ids.clone(), max_new_tokens: self.max_new_tokens, batch };
        let mut seen = Vec::new();
        let result = greedy(&self.model.network, prompts, &limits, Device::Cpu, &mut |step| seen.push(step));
        (result.unwrap(), seen)
    }
}

#[test]
fn any_batch_of_mixed_lengths_equals_one_by_one() {
    for name in VARIANTS {
        let case = case(name);
        for batch in [1, 2, 3, 6, 100] {
            assert_eq!(case.run(&case.prompts, batch).0, case.expected, "{name}, {batch} rows together");
        }
    }
}

#[test]
fn the_order_of_the_prompts_does_not_matter() {
    let case = case("untied_grouped");
    let reversed: Vec<_> = case.prompts.iter().rev().cloned().collect();
    let expected: Vec<_> = case.expected.iter().rev().cloned().collect();
    assert_eq!(case.run(&reversed, 4).0, expected);
}

#[test]
fn a_cache_that_grows_and_rows_that_leave_change_nothing() {
    let case = case("tied_multi_head");
    let run = |end_ids: Vec<i64>, batch| {
        let limits = Limits { end_ids, max_new_tokens: 150, batch };
        greedy(&case.model.network, &case.prompts, &limits, Device::Cpu, &mut |_| ()).unwrap()
    };
    let free = run(vec![], 6);
    assert!(free.iter().all(|row| row.tokens.len() == 150 && row.end.is_none()));
    assert_eq!(free, run(vec![], 1));
    // Each row that ends early is the same row, cut at its first end.
    let end = free[0].tokens[20];
    for (cut, whole) in run(vec![end], 6).iter().zip(&free) {
        let at = whole.tokens.iter().position(|&id| id == end);
        assert_eq!(cut.tokens, whole.tokens[..at.unwrap_or(150)]);
        assert_eq!(cut.end, at.map(|_| end));
    }
}

#[test]
fn progress_counts_rows_and_tokens() {
    let case = case("biases");
    let (results, seen) = case.run(&case.prompts, 2);
    let tokens = results.iter().map(|row| row.tokens.len()).sum();
    assert_eq!(seen.last(), Some(&Progress { rows: 6, of: 6, tokens }));
    assert!(seen.windows(2).all(|pair| pair[0].rows <= pair[1].rows && pair[0].tokens <= pair[1].tokens));
}

#[test]
fn prompts_that_cannot_be_continued_are_named() {
    let case = case("biases");
    let limits = Limits { end_ids: vec![], max_new_tokens: 3, batch: 2 };
    let problem = |prompts: &[Vec<i64>], limits: &Limits| {
        greedy(&case.model.network, prompts, limits, Device::Cpu, &mut |_| ()).unwrap_err().to_string()
    };
    assert_eq!(problem(&[vec![1], vec![]], &limits), "prompt 1: has no token to continue");
    assert_eq!(problem(&[vec![1, 61]], &limits), "prompt 0: holds the token id 61, the model knows 0 to 60");
    assert_eq!(problem(&[vec![1]], &Limits { batch: 0, ..limits.clone() }), "batch: is 0");
    let none = Limits { max_new_tokens: 0, ..limits };
    let empty = greedy(&case.model.network, &[vec![1]], &none, Device::Cpu, &mut |_| ()).unwrap();
    assert_eq!(empty, [Continuation { tokens: vec![], end: None }]);
}
