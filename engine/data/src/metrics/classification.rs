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
        let weighted = F1::new(Averaged::WeightedMean).summary(&rows, &labels);
        // Of rows with one class each, F1 over all decisions alike is the accuracy.
        let accuracy = Accuracy.summary(&rows, &labels).get("accuracy").copied();
        let checks = [
            (accuracy, expected("f1_micro"), 100.0),
            (weighted.get("f1").copied(), expected("f1_weighted"), 100.0),
            (
                Matthews.summary(&rows, &labels).get("matthews").copied(),
                case["expected"]["glue_cola"]["matthews_correlation"].as_f64(),
                1.0,
            ),
            (accuracy, case["expected"]["glue_mrpc"]["accuracy"].as_f64(), 100.0),
            (Accuracy.summary(&rows, &labels).get("accuracy").copied(), expected("accuracy"), 100.0),
            (Matthews.summary(&rows, &labels).get("matthews").copied(), expected("mcc"), 1.0),
            (macro_mean.get("f1").copied(), expected("f1_macro"), 100.0),
        ];
        let known =
            ["accuracy", "mcc", "f1_macro", "f1_micro", "f1_weighted", "glue_cola", "glue_mrpc", "t5_f1_with_invalid"];
        assert!(case["expected"].as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{id}");
        if rows.is_empty() {
            // Of no row the references raise an error; here there is no figure.
            assert!(accuracy.is_none() && macro_mean.is_empty(), "{id}");
            continue;
        }
        for (index, (found, expected, scale)) in checks.into_iter().enumerate() {
            if let Some(expected) = expected {
                close(found, expected * scale, &format!("{id}, figure {index}"));
                compared += 1;
            }
        }
        if let Some(f1) = case["expected"]["t5_f1_with_invalid"].as_f64() {
            // T5 takes an answer that is neither class for the wrong one of the two.
            let row = |(predicted, right): (&i64, &i64)| {
                let predicted = if [0, 1].contains(predicted) { *predicted } else { 1 - right };
                ClassRow { predicted: Some(predicted as usize), right: *right as usize }
            };
            let rows: Vec<ClassRow> = predictions.iter().zip(&references).map(row).collect();
            let found = F1::new(Averaged::Second).summary(&rows, &["0".to_owned(), "1".to_owned()]);
            close(found.get("f1").copied(), f1, &format!("{id}, T5's F1"));
            compared += 1;
        }
        if let (Some(f1), 2) = (case["expected"]["glue_mrpc"]["f1"].as_f64(), names.len()) {
            let found = F1::new(Averaged::Second).summary(&rows, &labels);
            close(found.get("f1").copied(), 100.0 * f1, &format!("{id}, F1 of class 1"));
            compared += 1;
        }
    }
    assert!(compared >= 230, "only {compared} figures compared");
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
        // GLUE's STS-B is computed in float32.
        let narrow: Vec<NumberRow> = rows
            .iter()
            .map(|row| NumberRow {
                predicted: row.predicted.map(|value| f64::from(value as f32)),
                right: f64::from(row.right as f32),
            })
            .collect();
        let glue =
            [("pearson", Pearson.summary(&narrow), "pearson"), ("spearman", Spearman.summary(&narrow), "spearmanr")];
        for (name, figures, key) in glue {
            match (figures.get(name), case["expected"]["glue_stsb"][key].as_f64()) {
                (Some(found), Some(wanted)) if (found - wanted).abs() <= 1e-6 * wanted.abs() => compared += 1,
                // Three numbers far from zero: float32 loses the last four digits of their distances.
                (Some(found), Some(wanted)) => {
                    let what = format!("{} GLUE {name}: {found}, {wanted}", case["id"]);
                    assert!(case["id"] == "large_offset" && (found - wanted).abs() < 2e-4, "{what}");
                }
                (found, wanted) => assert!(found.is_none() && wanted.is_none(), "{}: {found:?} {wanted:?}", case["id"]),
            }
        }
    }
    assert!(compared > 70, "only {compared} figures compared");
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

#[test]
fn one_class_and_constant_numbers_have_the_answers_of_the_references() {
    let labels = ["no".to_owned(), "yes".to_owned()];
    let rows = [ClassRow { predicted: Some(1), right: 1 }; 3];
    assert_eq!(Matthews.summary(&rows, &labels)["matthews"], 0.0);
    assert_eq!(F1::new(Averaged::MacroMean).summary(&rows, &labels)["f1"], 100.0);
    let constant = [NumberRow { predicted: Some(1.0), right: 1.0 }, NumberRow { predicted: Some(1.0), right: 2.0 }];
    let counted = Pearson.count(&constant);
    assert_eq!((counted.summary.get("pearson"), counted.uncertainty.len()), (None, 0));
    let undefined =
        [NumberRow { predicted: Some(f64::NAN), right: 1.0 }, NumberRow { predicted: Some(1.0), right: 2.0 }];
    assert_eq!(Spearman.count(&undefined).summary.get("spearman"), None);
}

#[test]
fn figures_of_classes_and_numbers_have_intervals() {
    let labels = ["no".to_owned(), "yes".to_owned()];
    let rows: Vec<ClassRow> =
        (0..200).map(|row| ClassRow { predicted: Some(usize::from(row % 3 == 0)), right: row % 2 }).collect();
    let f1 = F1::new(Averaged::Second).count(&rows, &labels);
    let Uncertainty::Interval { low, high } = f1.uncertainty["f1"] else { panic!("{f1:?}") };
    assert!(low < f1.summary["f1"] && f1.summary["f1"] < high && high - low < 25.0, "{low} {high}");
    assert_eq!(f1.signature, "of:second|bs:1000|seed:12345|version:1");
    let numbers: Vec<NumberRow> = (0..103)
        .map(|row| NumberRow { predicted: Some(f64::from(row)), right: f64::from(row * 7 % 10 + row) })
        .collect();
    let pearson = Pearson.count(&numbers);
    let Uncertainty::Interval { low, high } = pearson.uncertainty["pearson"] else { panic!("{pearson:?}") };
    let found = pearson.summary["pearson"];
    assert!((found.atanh() - low.atanh() - 0.195_996_398).abs() < 1e-6 && found < high, "{low} {found} {high}");
}
