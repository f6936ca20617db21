//! BLEU against sacreBLEU and Hugging Face's `evaluate`: every case of the vectors.

use serde_json::Value;

use super::*;
use crate::metrics::{HfBleu, TextMetric};

fn cases() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/bleu.json");
    let mut vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    vectors["cases"].take().as_array().unwrap().clone()
}

fn rows(case: &Value) -> Vec<TextRow> {
    let text = |text: &Value| text.as_str().unwrap().to_owned();
    let texts = |list: &Value| list.as_array().unwrap().iter().map(text).collect::<Vec<_>>();
    let references = case["references"].as_array().unwrap().iter().map(texts);
    let predictions = case["predictions"].as_array().unwrap().iter();
    predictions
        .zip(references)
        .map(|(prediction, references)| TextRow::new(Some(text(prediction)), references))
        .collect()
}

#[track_caller]
fn close(found: f64, wanted: &Value, what: &str) {
    let wanted = wanted.as_f64().unwrap();
    assert!((found - wanted).abs() <= 1e-12 * wanted.abs(), "{what}: {found}, expected {wanted}");
}

fn bleu(settings: &str) -> Bleu {
    Bleu::new(&serde_json::from_str(settings).unwrap())
}

#[test]
fn words_are_cut_as_sacrebleu_cuts_them() {
    let mut compared = 0;
    for case in cases() {
        for (name, settings) in [("13a", "{}"), ("intl", r#"{"tokenizer": "intl"}"#), ("hf_13a", "{}")] {
            for (row, wanted) in rows(&case).iter().zip(case["tokens"][name].as_array().unwrap()) {
                // Hugging Face does not cut white space off the end, which leaves the same words.
                let words = bleu(settings).words(row.prediction.as_deref().unwrap());
                let words: Vec<&str> = python::split(&words).collect();
                let wanted: Vec<&str> = wanted.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
                assert_eq!(words, wanted, "{} {name}", case["id"]);
                compared += 1;
            }
        }
    }
    assert!(compared > 250, "only {compared} texts");
}

#[test]
fn every_case_of_sacrebleu() {
    let variants = [
        ("sacrebleu_13a_exp", "{}"),
        ("sacrebleu_intl_exp", r#"{"tokenizer": "intl"}"#),
        ("sacrebleu_char_exp", r#"{"tokenizer": "char"}"#),
        ("sacrebleu_none_exp", r#"{"tokenizer": "none"}"#),
        ("sacrebleu_13a_exp_lowercase", r#"{"case": "lower"}"#),
        ("sacrebleu_13a_floor", r#"{"smoothing": {"floor": 0.1}}"#),
        ("sacrebleu_13a_addk", r#"{"smoothing": {"add_k": 1}}"#),
        ("sacrebleu_13a_nosmooth", r#"{"smoothing": "none"}"#),
        ("sacrebleu_13a_exp_effective", r#"{"orders": "effective"}"#),
        ("sacrebleu_13a_exp_max2", r#"{"max_order": 2}"#),
    ];
    let mut compared = 0;
    for case in cases() {
        let expected = case["expected"].as_object().unwrap();
        // Out of the list: NLTK's `corpus_bleu` with smoothing method 3 over characters, and over words between spaces.
        let skipped = |name: &str| name.starts_with("nltk_") || name.starts_with("hf_evaluate_");
        assert!(expected.keys().all(|name| skipped(name) || variants.iter().any(|(variant, _)| variant == name)));
        for (variant, settings) in variants {
            let metric = bleu(settings);
            let what = format!("{} {variant}", case["id"]);
            let expected = &expected[variant];
            let summary = metric.count(&rows(&case)).summary;
            close(summary["bleu"], &expected["score"], &what);
            close(summary["brevity_penalty"], &expected["bp"], &what);
            close(summary["answered_words"], &expected["sys_len"], &what);
            close(summary["reference_words"], &expected["ref_len"], &what);
            for (n, precision) in expected["precisions"].as_array().unwrap().iter().enumerate() {
                close(summary[&format!("precision_{}", n + 1)], precision, &what);
            }
            let counted: Vec<Vec<f64>> = rows(&case).iter().map(|row| metric.row(row)).collect();
            let sum = |at: usize| counted.iter().map(|row| row[at]).sum::<f64>();
            let added =
                |at: usize| if variant.ends_with("addk") && at > 0 && summary["bleu"] > 0.0 { 1.0 } else { 0.0 };
            for at in 0..metric.order {
                close(sum(2 + at) + added(at), &expected["counts"][at], &format!("{what} count {at}"));
                close(sum(2 + metric.order + at) + added(at), &expected["totals"][at], &format!("{what} total {at}"));
            }
            compared += 1;
        }
    }
    assert_eq!(compared, 790);
}

#[test]
fn every_case_of_hugging_face() {
    let (mut compared, mut empty) = (0, 0);
    for case in cases() {
        for (variant, smoothing) in [("hf_evaluate_bleu", "none"), ("hf_evaluate_bleu_smooth", "add_one")] {
            let settings = serde_json::from_value(serde_json::json!({ "smoothing": smoothing })).unwrap();
            let summary = HfBleu::new(&settings).count(&rows(&case)).summary;
            let expected = &case["expected"][variant];
            let what = format!("{} {variant}", case["id"]);
            if expected.get("error").is_some() {
                // The version that the vectors were computed with divides by the length of answers without a word; later
                // ones say 0.
                assert_eq!((summary["translation_length"], summary["bleu"]), (0.0, 0.0), "{what}");
                empty += 1;
                continue;
            }
            for key in ["bleu", "brevity_penalty", "length_ratio", "translation_length", "reference_length"] {
                close(summary[key], &expected[key], &format!("{what} {key}"));
            }
            for (n, precision) in expected["precisions"].as_array().unwrap().iter().enumerate() {
                close(summary[&format!("precision_{}", n + 1)], precision, &what);
            }
            compared += 1;
        }
    }
    assert_eq!((compared, empty), (150, 8));
}

#[test]
fn the_signature_says_how_it_was_counted() {
    let row = TextRow::new(Some("a b".to_owned()), vec!["a b".to_owned(), "b".to_owned()]);
    let signature = bleu("{}").count(std::slice::from_ref(&row)).signature;
    let wanted = "nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|bs:1000|seed:12345|like:sacrebleu-2.6.0|version:1";
    assert_eq!(signature, wanted);
    let other = bleu(r#"{"case": "lower", "tokenizer": "intl", "smoothing": {"floor": 0.1}, "max_order": 2}"#);
    let other = other.count(&[row, TextRow::new(None, vec!["a".to_owned()])]).signature;
    assert!(other.starts_with("nrefs:var|case:lc|eff:no|tok:intl|smooth:floor[0.10]|order:2|"), "{other}");
}

#[test]
fn rows_that_failed_are_empty_answers() {
    let reference = vec!["the cat sat on the mat".to_owned()];
    let right = TextRow::new(Some(reference[0].clone()), reference.clone());
    let counted = bleu("{}").count(&[right, TextRow::new(None, reference)]);
    assert_eq!((counted.summary["reference_words"], counted.summary["answered_words"]), (12.0, 6.0));
    assert!((counted.summary["bleu"] - 100.0 * (-1.0_f64).exp()).abs() < 1e-9);
    assert!((counted.rows[0]["bleu"] - 1.0).abs() < 1e-12 && counted.rows[1]["bleu"] == 0.0);
}

#[test]
fn a_million_characters_take_no_square_of_time() {
    let long = "word, other ".repeat(90_000);
    let row = TextRow::new(Some(long.clone()), vec![long]);
    assert!((bleu("{}").count(&[row]).summary["bleu"] - 100.0).abs() < 1e-9);
}
