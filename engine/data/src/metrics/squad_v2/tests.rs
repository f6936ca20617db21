//! The metrics of SQuAD against what the official scripts compute.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::metrics::{SquadV1, TextMetric, at_threshold};

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/squad.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn row(prediction: &str, references: &[String]) -> TextRow {
    TextRow::new(Some(prediction.to_owned()), references.to_vec())
}

fn assert_near(found: f64, wanted: f64, what: &str) {
    assert!((found - wanted).abs() <= 1e-12 * wanted.abs(), "{what}: {found}, the script says {wanted}");
}

#[test]
fn every_case_of_the_official_scripts() {
    let vectors = vectors();
    let cases = vectors["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 65);
    let mut compared = 0;
    for case in cases {
        let id = case["id"].as_str().unwrap();
        let (prediction, answers) = (case["prediction"].as_str().unwrap(), texts(&case["answers"]));
        assert_eq!(normalize(prediction), case["normalized_prediction"].as_str().unwrap(), "{id}");
        let normal: Vec<_> = answers.iter().map(|answer| normalize(answer)).collect();
        assert_eq!(normal, texts(&case["normalized_answers"]), "{id}");
        let row = row(prediction, &answers);
        let two = SquadV2::new(None).row(&row).scores;
        let one = SquadV1.row(&row);
        // T5's metric of SQuAD counts as the script of version 1.1 does.
        for (script, [exact, f1]) in [("v2", two), ("v1", one), ("t5_squad", one)] {
            let Some(expected) = case["expected"].get(script).filter(|expected| expected["exact"].is_number()) else {
                // Without gold answers the older scripts have nothing to compare with.
                assert!(answers.is_empty() && script != "v2", "{id} {script}");
                continue;
            };
            assert_eq!(exact, expected["exact"].as_f64().unwrap(), "{id} {script}");
            assert_near(f1, expected["f1"].as_f64().unwrap(), &format!("{id} {script}"));
            compared += 1;
        }
    }
    assert_eq!(compared, 65 + 61 + 61);
}

/// The figures of a whole as the script names them.
fn script(dataset: &Value) -> BTreeMap<String, f64> {
    let metric = SquadV2::new(None);
    let probabilities = dataset["na_probs"].as_object();
    let threshold = dataset["na_prob_thresh"].as_f64().unwrap_or(1.0);
    let mut rows = Vec::new();
    for question in dataset["questions"].as_array().unwrap() {
        let id = question["id"].as_str().unwrap();
        let mut row = row(dataset["predictions"][id].as_str().unwrap(), &texts(&question["answers"]));
        row.no_answer = probabilities.map(|probabilities| probabilities[id].as_f64().unwrap());
        rows.push(metric.row(&row));
    }
    // The script sorts its questions by the order in which probabilities are given, ours stand in the order of questions.
    if let Some(probabilities) = probabilities {
        let place: BTreeMap<&str, usize> =
            probabilities.keys().enumerate().map(|(place, id)| (id.as_str(), place)).collect();
        let mut order: Vec<(usize, Scored)> = dataset["questions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|question| place[question["id"].as_str().unwrap()])
            .zip(rows.iter().copied())
            .collect();
        order.sort_by_key(|(place, _)| *place);
        rows = order.into_iter().map(|(_, row)| row).collect();
    }
    let thresholded: Vec<Scored> = rows
        .iter()
        .map(|row| {
            let at = |score| match row.no_answer {
                Some(no_answer) => {
                    let Scored { has_answer, is_empty, .. } = *row;
                    at_threshold(&Question { no_answer, score, has_answer, is_empty }, threshold)
                }
                None => score,
            };
            Scored { scores: row.scores.map(at), ..*row }
        })
        .collect();
    // What can be reached is counted before the threshold, the rest behind it.
    let mut figures = metric.whole(&thresholded).summary;
    figures.extend(withheld(&rows));
    figures
        .into_iter()
        .map(|(name, value)| (name.replace("has_ans", "HasAns").replace("no_ans", "NoAns"), value))
        .collect()
}

#[test]
fn every_dataset_of_the_official_script() {
    let vectors = vectors();
    let datasets = vectors["datasets"].as_array().unwrap();
    assert_eq!(datasets.len(), 25);
    let (mut compared, mut failed) = (0, 0);
    for dataset in datasets {
        let id = dataset["id"].as_str().unwrap();
        let expected = dataset["expected"].as_object().unwrap();
        // The script ends where a prediction or a probability is missing; here such a row has failed and counts as wrong.
        if expected.contains_key("error") {
            assert!(["ds_missing_has", "ds_missing_but_no_list", "ds_missing_na_prob"].contains(&id), "{id}");
            failed += 1;
            continue;
        }
        let found = script(dataset);
        for (name, wanted) in expected {
            let what = format!("{id} {name}");
            match wanted.as_f64() {
                Some(wanted) => {
                    assert_near(*found.get(name).unwrap_or_else(|| panic!("{what}")), wanted, &what);
                    compared += 1;
                }
                // A probability of a question that is not in the data: rows hold their own, there can be none.
                None => assert!(id == "ds_extra_na_probs" && name.starts_with("pr_"), "{what}: {wanted}"),
            }
        }
        assert!(found.keys().all(|name| expected.contains_key(name)), "{id}: {found:?}");
    }
    assert_eq!(failed, 3);
    assert!(compared > 280, "only {compared} figures compared");
}

#[test]
fn the_named_text_means_no_answer() {
    let gold = ["Paris".to_owned()];
    let named = SquadV2::new(Some("No answer"));
    assert_eq!(named.row(&row(" no answer.", &[])).scores[0], 1.0);
    assert_eq!(named.row(&row("no answer", &gold)).scores[1], 0.0);
    assert_eq!(named.row(&row("no answers", &[])).scores[0], 0.0);
    assert_eq!(named.row(&row("Paris", &gold)).scores[0], 1.0);
    assert_eq!(SquadV2::new(None).row(&row("No answer", &[])).scores[0], 0.0);
    assert!(named.count(&[]).signature.contains("|no_answer:\"no answer\"|"));
}

#[test]
fn a_failed_row_is_wrong_and_counted() {
    let metric = SquadV2::new(Some("No answer"));
    let failed = |references: &[String]| TextRow::new(None, references.to_vec());
    let counted = metric.count(&[row("No answer", &[]), failed(&[]), failed(&["x".to_owned()])]);
    let summary = counted.summary;
    assert_eq!((summary["exact"], summary["total"]), (100.0 / 3.0, 3.0));
    assert_eq!((summary["no_ans_exact"], summary["no_ans_total"]), (50.0, 2.0));
    assert_eq!((summary["has_ans_exact"], summary["has_ans_total"]), (0.0, 1.0));
    assert!(!summary.contains_key("best_exact"));
}

#[test]
fn no_rows_have_no_figures() {
    assert!(SquadV2::new(None).count(&[]).summary.is_empty());
    assert_eq!(best_threshold(&[]), None);
    assert_eq!(average_precisions(&[]), None);
}
