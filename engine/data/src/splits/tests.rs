//! Dividing rows into splits.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::*;

fn source(rows: usize, group: impl Fn(usize) -> usize) -> Rows {
    let row = |row| json!({"context": format!("c{}", group(row)), "n": row}).as_object().unwrap().clone();
    Rows::new((0..rows).map(row).collect())
}

fn preprocess(splits: serde_json::Value) -> Preprocess {
    serde_json::from_value(json!({"input": "x", "template": "t", "splits": splits})).unwrap()
}

fn selected(settings: &Preprocess, name: &str, source: &Rows) -> Result<Selection, Error> {
    select(settings, name, &settings.splits[name], source)
}

#[test]
fn a_split_and_the_rest_of_it_are_exactly_the_rows() {
    let source = source(1000, |row| row / 9);
    for by in [json!(null), json!("context")] {
        let settings = preprocess(json!({
            "dev": {"from": "t", "hold_out": {"rows": 200, "by": by, "seed": 5}, "shuffle": {"seed": 8}},
            "train": {"from": "t", "rest_of": "dev", "shuffle": {"seed": 9}},
        }));
        let dev = selected(&settings, "dev", &source).unwrap().rows;
        let train = selected(&settings, "train", &source).unwrap().rows;
        assert!(dev.len() >= 200 && dev.len() < 200 + if by.is_null() { 1 } else { 9 }, "{}", dev.len());
        assert_eq!(dev.len() + train.len(), 1000);
        assert_eq!(dev.iter().chain(&train).collect::<BTreeSet<_>>().len(), 1000);
        if !by.is_null() {
            let contexts = |rows: &[usize]| rows.iter().map(|row| row / 9).collect::<BTreeSet<_>>();
            assert!(contexts(&dev).is_disjoint(&contexts(&train)));
        }
    }
}

#[test]
fn orders_are_the_same_on_every_machine() {
    let source = source(8, |row| row);
    let settings = preprocess(json!({
        "a": {"from": "t", "shuffle": {"seed": 1}},
        "b": {"from": "t", "shuffle": {"seed": 2}, "take": 3},
        "c": {"from": "t", "hold_out": {"rows": 3, "seed": 1}},
    }));
    let rows = |name| selected(&settings, name, &source).unwrap().rows;
    // Written down once: a change of these orders changes every recorded result, and is a new version of the stage.
    assert_eq!([rows("a"), rows("b"), rows("c")], [vec![4, 2, 1, 5, 7, 3, 0, 6], vec![3, 7, 6], vec![0, 1, 6]]);
}

#[test]
fn every_order_is_equally_likely() {
    let mut counts = BTreeMap::new();
    for seed in 0..6000 {
        let mut items = [0, 1, 2];
        shuffle(&mut items, &mut generator(seed, Purpose::Shuffle));
        *counts.entry(items).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 6);
    assert!(counts.values().all(|count| (900..1100).contains(count)), "{counts:?}");
}

#[test]
fn permuted_values_are_never_a_rows_own_where_others_are_to_be_had() {
    for (rows, group) in [(2, 1), (7, 1), (100, 9), (50, 25)] {
        for seed in 0..20 {
            let source = source(rows, |row| row / group);
            let settings = preprocess(json!({"s": {"from": "t", "permute": {"column": "context", "seed": seed}}}));
            let selection = selected(&settings, "s", &source).unwrap();
            let mut values = Vec::new();
            for position in 0..rows {
                let row = selection.row(&source, position).unwrap();
                assert_eq!(row["n"], json!(position));
                assert_ne!(
                    row["context"],
                    source.row(position).unwrap()["context"],
                    "{rows} rows in groups of {group}"
                );
                values.push(row["context"].to_string());
            }
            let mut own: Vec<String> =
                (0..source.len()).map(|row| source.row(row).unwrap()["context"].to_string()).collect();
            values.sort();
            own.sort();
            assert_eq!(values, own);
        }
    }
    // Seven of ten rows share a value: four of them must keep it, and no more do.
    let source = source(10, |row| row.saturating_sub(6));
    let settings = preprocess(json!({"s": {"from": "t", "permute": {"column": "context"}}}));
    let selection = selected(&settings, "s", &source).unwrap();
    let kept = (0..10)
        .filter(|row| selection.row(&source, *row).unwrap()["context"] == source.row(*row).unwrap()["context"])
        .count();
    assert_eq!(kept, 4);
}

#[test]
fn mistakes_name_the_split_and_what_to_do() {
    let source = source(10, |_| 0);
    let settings = preprocess(json!({
        "all": {"from": "t", "hold_out": {"rows": 10}},
        "none": {"from": "t", "rest_of": "all"},
        "many": {"from": "t", "hold_out": {"rows": 11}},
        "typo": {"from": "t", "hold_out": {"rows": 2, "by": "contxt"}},
        "same": {"from": "t", "permute": {"column": "context"}},
    }));
    let error = |name: &str| selected(&settings, name, &source).unwrap_err().to_string();
    assert_eq!(
        error("none"),
        "split `none`: the split `none` has no rows: `all` holds out all 10 rows (hold out fewer rows, here 10)"
    );
    assert!(error("many").contains("split `many`: `hold_out` wants 11 rows and there are 10"));
    assert!(error("typo").contains("no column `contxt` (did you mean `context`?)"));
    assert!(error("same").contains("the same value in all 10 rows"));
    let empty = Rows::new(Vec::new());
    assert!(selected(&settings, "same", &empty).unwrap_err().message.contains("its source `t` is empty"));
}

#[test]
fn rows_that_are_not_wanted_are_in_no_split() {
    let source = source(100, |row| row % 7);
    let settings = preprocess(json!({
        "dev": {"from": "t", "where": "n % 2 == 0", "hold_out": {"rows": 10, "seed": 1}},
        "train": {"from": "t", "rest_of": "dev", "where": "n >= 50"},
        "none": {"from": "t", "where": "n > 1000"},
        "wrong": {"from": "t", "where": "m > 1000"},
    }));
    let dev = selected(&settings, "dev", &source).unwrap().rows;
    assert!(dev.len() == 10 && dev.iter().all(|row| row % 2 == 0), "{dev:?}");
    let train = selected(&settings, "train", &source).unwrap().rows;
    assert_eq!(train, (50..100).filter(|row| !dev.contains(row)).collect::<Vec<_>>());
    let error = selected(&settings, "none", &source).unwrap_err();
    assert!(error.message.contains("its `where` is true of none of 100"), "{error}");
    let error = selected(&settings, "wrong", &source).unwrap_err();
    assert_eq!(error.place.as_deref(), Some("split `wrong`, setting `where`, row 1"));
    assert_eq!(error.message, "the row has no column `m`");
}

#[test]
fn whole_groups_are_taken() {
    let source = source(100, |row| row / 9);
    let settings = preprocess(json!({
        "first": {"from": "t", "take": {"rows": 10, "by": "context"}},
        "mixed": {"from": "t", "shuffle": {"seed": 3}, "take": {"rows": 10, "by": "context"}},
    }));
    assert_eq!(selected(&settings, "first", &source).unwrap().rows, (0..18).collect::<Vec<_>>());
    let mixed = selected(&settings, "mixed", &source).unwrap().rows;
    let groups: BTreeSet<usize> = mixed.iter().map(|row| row / 9).collect();
    assert!((10..=18).contains(&mixed.len()), "{}", mixed.len());
    assert_eq!(mixed.len(), (0..100).filter(|row| groups.contains(&(row / 9))).count(), "no group is divided");
    assert!(mixed.windows(2).any(|pair| pair[0] > pair[1]), "the order of the shuffle stays");
}
