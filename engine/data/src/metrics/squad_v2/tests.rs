//! The metric against what the official script computes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/squad.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn assert_near(found: f64, wanted: f64, what: &str) {
    assert!((found - wanted).abs() <= 1e-12 * wanted.abs(), "{what}: {found}, the script says {wanted}");
}

#[test]
fn every_case_of_the_official_script() {
    let vectors = vectors();
    let cases = vectors["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 65);
    for case in cases {
        let id = case["id"].as_str().unwrap();
        let (prediction, answers) = (case["prediction"].as_str().unwrap(), texts(&case["answers"]));
        assert_eq!(normalize(prediction), case["normalized_prediction"].as_str().unwrap(), "{id}");
        let normal: Vec<_> = answers.iter().map(|answer| normalize(answer)).collect();
        assert_eq!(normal, texts(&case["normalized_answers"]), "{id}");
        let row = SquadV2::new(None).score(prediction, &answers);
        assert_eq!(row["exact"], case["expected"]["v2"]["exact"].as_f64().unwrap(), "{id}");
        assert_near(row["f1"], case["expected"]["v2"]["f1"].as_f64().unwrap(), id);
    }
}

/// The figures of a whole as the script names them.
fn script(dataset: &Value) -> BTreeMap<String, f64> {
    let metric = SquadV2::new(None);
    let mut rows = BTreeMap::new();
    let mut answered = Vec::new();
    for question in dataset["questions"].as_array().unwrap() {
        let id = question["id"].as_str().unwrap();
        let Some(prediction) = dataset["predictions"].get(id) else { continue };
        let prediction = prediction.as_str().unwrap();
        rows.insert(id, (prediction, metric.score(prediction, &texts(&question["answers"]))));
        answered.push(id);
    }
    let question = |id: &str, probability: f64, name: &str| {
        rows.get(id).map(|(prediction, row)| Question {
            no_answer: probability,
            score: row[name],
            has_answer: row[HAS_ANSWER] > 0.5,
            is_empty: prediction.is_empty(),
        })
    };
    let probabilities = dataset["na_probs"].as_object();
    let threshold = dataset["na_prob_thresh"].as_f64().unwrap_or(1.0);
    let mut scored = Vec::new();
    for id in answered {
        let mut row = rows[id].1.clone();
        if let Some(probabilities) = probabilities {
            for name in ["exact", "f1"] {
                let question = question(id, probabilities[id].as_f64().unwrap(), name).unwrap();
                row.insert(name.to_owned(), at_threshold(&question, threshold));
            }
        }
        scored.push(row);
    }
    let mut figures: BTreeMap<String, f64> = metric
        .summary(&scored)
        .into_iter()
        .map(|(name, value)| (name.replace("has_ans", "HasAns").replace("no_ans", "NoAns"), value))
        .collect();
    if let Some(probabilities) = probabilities {
        for name in ["exact", "f1"] {
            let questions: Vec<Question> =
                probabilities.iter().filter_map(|(id, p)| question(id, p.as_f64().unwrap(), name)).collect();
            let (best, at) = best_threshold(&questions).unwrap();
            figures.insert(format!("best_{name}"), best);
            figures.insert(format!("best_{name}_thresh"), at);
        }
    }
    figures
}

#[test]
fn every_dataset_of_the_official_script() {
    let vectors = vectors();
    let datasets = vectors["datasets"].as_array().unwrap();
    let mut compared = 0;
    for dataset in datasets {
        let Some(expected) = dataset["expected"].as_object().filter(|figures| !figures.contains_key("error")) else {
            continue;
        };
        let found = script(dataset);
        for (name, wanted) in expected.iter().filter(|(name, _)| !name.starts_with("pr_")) {
            let what = format!("{} {name}", dataset["id"].as_str().unwrap());
            assert_near(*found.get(name).unwrap_or_else(|| panic!("{what}")), wanted.as_f64().unwrap(), &what);
            compared += 1;
        }
    }
    assert!(compared > 200, "only {compared} figures compared");
}

#[test]
fn the_named_text_means_no_answer() {
    let gold = ["Paris".to_owned()];
    let named = SquadV2::new(Some("No answer"));
    assert_eq!(named.score(" no answer.", &[])["exact"], 1.0);
    assert_eq!(named.score("no answer", &gold)["f1"], 0.0);
    assert_eq!(named.score("no answers", &[])["exact"], 0.0);
    assert_eq!(named.score("Paris", &gold)["exact"], 1.0);
    assert_eq!(SquadV2::new(None).score("No answer", &[])["exact"], 0.0);
}

#[test]
fn a_failed_row_is_wrong_and_counted() {
    let metric = SquadV2::new(Some("No answer"));
    let rows = [metric.score("No answer", &[]), metric.failed(&[]), metric.failed(&["x".to_owned()])];
    let summary = metric.summary(&rows);
    assert_eq!((summary["exact"], summary["total"]), (100.0 / 3.0, 3.0));
    assert_eq!((summary["no_ans_exact"], summary["no_ans_total"]), (50.0, 2.0));
    assert_eq!((summary["has_ans_exact"], summary["has_ans_total"]), (0.0, 1.0));
}

#[test]
fn no_rows_have_no_figures() {
    assert!(SquadV2::new(None).summary(&[]).is_empty());
    assert_eq!(best_threshold(&[]), None);
}
