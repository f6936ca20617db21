//! Metrics of classes and numbers against scikit-learn and SciPy: every case of the vectors.

use serde_json::Value;

use super::*;

fn cases(kind: &str) -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/classification.json");
    let mut vectors: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let cases = vectors["cases"].take();
    cases.as_array().unwrap().iter().filter(|case| case["kind"] == kind).cloned().collect()
}

#[track_caller]
fn close(found: Option<f64>, expected: f64, what: &str) {
    let found = found.unwrap_or(f64::NAN);
    assert!((found - expected).abs() <= 1e-12 * expected.abs().max(1e-3), "{what}: {found}, expected {expected}");
}

#[test]
fn classes_are_counted_as_scikit_learn_counts_them() {
    let mut compared = 0;
    for case in cases("labels") {
        let classes = |key: &str| -> Vec<i64> {
            case[key].as_array().unwrap().iter().map(|class| class.as_i64().unwrap()).collect()
        };
        let (predictions, references) = (classes("predictions"), classes("references"));
        let mut names: Vec<i64> = predictions.iter().chain(&references).copied().collect();
        names.sort_unstable();
        names.dedup();
        // Two classes are two even where one of them never occurs.
        if names.iter().all(|name| [0, 1].contains(name)) {
            names = vec![0, 1];
        }
        let number = |name: i64| names.iter().position(|other| *other == name).unwrap();
        let rows: Vec<ClassRow> = predictions
            .iter()
            .zip(&references)
            .map(|(predicted, right)| ClassRow { predicted: Some(number(*predicted)), right: number(*right) })
            .collect();
        let labels: Vec<String> = names.iter().map(i64::to_string).collect();
        let expected = |key: &str| case["expected"][key].as_f64();
        let id = &case["id"];
        let macro_mean = F1::new(Averaged::MacroMean).summary(&rows, &labels);
        let checks = [
            (Accuracy.summary(&rows, &labels).get("accuracy").copied(), expected("accuracy"), 100.0),
            (Matthews.summary(&rows, &labels).get("matthews").copied(), expected("mcc"), 1.0),
            (macro_mean.get("f1").copied(), expected("f1_macro"), 100.0),
        ];
        for (index, (found, expected, scale)) in checks.into_iter().enumerate() {
            if let Some(expected) = expected {
                close(found, expected * scale, &format!("{id}, figure {index}"));
                compared += 1;
            }
        }
        if let (Some(f1), 2) = (case["expected"]["glue_mrpc"]["f1"].as_f64(), names.len()) {
            let found = F1::new(Averaged::Second).summary(&rows, &labels);
            close(found.get("f1").copied(), 100.0 * f1, &format!("{id}, F1 of class 1"));
            compared += 1;
        }
    }
    assert!(compared > 100, "only {compared} figures compared");
}

#[test]
fn numbers_are_correlated_as_scipy_correlates_them() {
    let mut compared = 0;
    for case in cases("scores") {
        let numbers = |key: &str| -> Vec<f64> {
            let number = |number: &Value| match number.as_str() {
                Some(text) => text.parse().unwrap(),
                None => number.as_f64().unwrap(),
            };
            case[key].as_array().unwrap().iter().map(number).collect()
        };
        let rows: Vec<NumberRow> = numbers("predictions")
            .into_iter()
            .zip(numbers("references"))
            .map(|(predicted, right)| NumberRow { predicted: Some(predicted), right })
            .collect();
        let figures =
            [("pearson", Pearson.summary(&rows), "pearson_f64"), ("spearman", Spearman.summary(&rows), "spearman_f64")];
        for (name, figures, key) in figures {
            let what = format!("{} {name}", case["id"]);
            match case["expected"][key].as_f64() {
                Some(expected) => {
                    close(figures.get(name).copied(), expected, &what);
                    compared += 1;
                }
                None => assert_eq!(figures.get(name), None, "{what}: {}", case["expected"][key]),
            }
        }
    }
    assert!(compared > 30, "only {compared} figures compared");
}

#[test]
fn rows_that_failed_are_wrong() {
    let labels = ["no".to_owned(), "yes".to_owned()];
    let rows = [
        ClassRow { predicted: Some(1), right: 1 },
        ClassRow { predicted: None, right: 1 },
        ClassRow { predicted: Some(0), right: 0 },
    ];
    assert_eq!(Accuracy.summary(&rows, &labels)["accuracy"], 200.0 / 3.0);
    let f1 = F1::new(Averaged::Second).summary(&rows, &labels);
    assert_eq!((f1["precision"], f1["recall"]), (100.0, 50.0));
    assert!(Matthews.summary(&rows, &labels)["matthews"] < 0.8);
    assert!(F1::new(Averaged::Second).fault(&["a".to_owned()]).unwrap().contains("1 classes, not two"));
    assert!(F1::new(Averaged::Class("yse".into())).fault(&labels).unwrap().contains("did you mean `yes`?"));
}
