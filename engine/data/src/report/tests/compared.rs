//! What a report says of differences, of answers that are always the same, and of what a reader must be careful with.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};
use spec::job::{Device, Made, Origin};

use super::super::*;

/// How a member was made.
fn made(settings: Value, chosen_by: &[&str]) -> Option<Made> {
    Some(Made { settings, chosen_by: chosen_by.iter().map(|name| (*name).to_owned()).collect() })
}

fn input(root: &Path, stage: &str, kind: &str, at: &[(&str, &str)], made: Option<Made>) -> JobInput {
    let coordinates: Vec<(String, String)> = at.iter().map(|(a, l)| ((*a).to_owned(), (*l).to_owned())).collect();
    let folder = root.join(spec::job::member_name(stage, &coordinates));
    let (result, observed) = (folder.join("result"), folder.join("observed"));
    fs::create_dir_all(&result).unwrap();
    fs::create_dir_all(&observed).unwrap();
    JobInput { stage: stage.into(), kind: kind.into(), coordinates, part: None, result, observed, carried: None, made }
}

fn job(root: &Path, inputs: Vec<JobInput>) -> Job {
    let result = root.join("report");
    fs::create_dir_all(&result).unwrap();
    Job {
        kind: "report".into(),
        name: "report".into(),
        settings: json!({}),
        inputs: BTreeMap::from([("inputs.0".to_owned(), inputs)]),
        files: BTreeMap::new(),
        result,
        observed: root.join("observed"),
        state: root.join("state"),
        threads: 1,
        device: Device::Cpu,
        revision: None,
        origin: Some(Origin {
            command: "engine run pipelines/p.yaml --profile short".into(),
            engine: "0.1.0".into(),
            commit: Some("abc123".into()),
            changed: Some(true),
        }),
    }
}

fn evaluation(protocol: Value, metrics: Value) -> Value {
    json!({ "model": "tuned", "data": "tokens/test", "protocol": protocol, "metrics": metrics, "batch": { "size": 32 } })
}

/// An evaluation of classes: which rows of `yes` and `no` were answered right.
fn classified(root: &Path, method: &str, right: impl Iterator<Item = bool>, chosen_by: &[&str]) -> JobInput {
    let settings = evaluation(json!("classify"), json!(["accuracy", "matthews"]));
    let input = input(root, "scores", "evaluate", &[("method", method)], made(settings, chosen_by));
    let (mut lines, mut hits, mut total) = (String::new(), 0, 0);
    for (index, right) in right.enumerate() {
        let answer = if index % 4 == 0 { "yes" } else { "no" };
        let output = if right == (answer == "yes") { "yes" } else { "no" };
        let row = json!({
            "id": index.to_string(), "prompt": format!("text {index}"), "output": output, "references": [answer],
            "probabilities": { "no": 0.5, "yes": 0.5 }, "failed": null, "scores": { "accuracy": { "correct": u8::from(right) } },
        });
        lines += &format!("{row}\n");
        hits += u32::from(right);
        total += 1;
    }
    fs::write(input.file("predictions.jsonl"), lines).unwrap();
    let accuracy = 100.0 * f64::from(hits) / f64::from(total);
    let metrics = json!({
        "headline": { "accuracy.accuracy": accuracy }, "metrics": { "accuracy": { "accuracy": accuracy, "total": total } },
        "uncertainty": { "accuracy": { "accuracy": { "standard_error": 2.0 } } }, "rows": total, "failed": 0,
    });
    fs::write(input.file("metrics.json"), metrics.to_string()).unwrap();
    input
}

fn settings(more: Value) -> stage::Report {
    let mut settings = json!({ "inputs": ["scores"] });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(settings).unwrap()
}

fn page(job: &Job, settings: &stage::Report) -> String {
    run(job, settings).unwrap();
    fs::read_to_string(job.result.join("report.md")).unwrap()
}

/// Of 400 rows, both are right on 240, only the first on 60, only the second on 20: by McNemar's variance the difference of
/// ten points has the standard error `sqrt(60 + 20 − 40²/400) / 400`, 2.18 points.
#[test]
fn a_difference_has_the_interval_of_paired_rows() {
    let folder = tempfile::tempdir().unwrap();
    let first = classified(folder.path(), "dora", (0..400).map(|row| row < 300), &[]);
    let second = classified(folder.path(), "lora", (0..400).map(|row| row < 240 || (300..320).contains(&row)), &[]);
    let same = classified(folder.path(), "full", (0..400).map(|row| row < 300), &[]);
    let text = page(&job(folder.path(), vec![first, second, same]), &settings(json!({})));
    let line = text.lines().find(|line| line.starts_with("| lora | **−10.0**")).unwrap_or_else(|| panic!("{text}"));
    let numbers: Vec<f64> = line
        .replace('−', "-")
        .split(|c: char| !(c.is_ascii_digit() || "-.".contains(c)))
        .filter_map(|word| word.parse().ok())
        .collect();
    let error = 100.0 * (80.0_f64 - 4.0).sqrt() / 400.0;
    assert!((numbers[1] - (-10.0 - 1.96 * error)).abs() < 0.4, "{line}");
    assert!((numbers[2] - (-10.0 + 1.96 * error)).abs() < 0.4, "{line}");
    assert!(line.contains("p &lt; 0.001") || line.contains("p < 0.001"), "{line}");
    // The same answers are no difference, however they are drawn.
    assert!(text.contains("| full | 0.0 <sub>0.0 to 0.0, p 1</sub> |"), "{text}");
    assert!(
        text.contains("lora against dora: −10.0 points of Accuracy") || text.contains("full against dora: 0.0 points")
    );
    assert!(
        text.contains("400 scored rows (10,000 draws, seed 12345")
            && text.contains("Holm's correction for 2 comparisons")
    );
    // A lone member has the interval of its standard error.
    assert!(text.contains("| 65.0 <sub>61.1 to 68.9</sub> |"), "{text}");
}

#[test]
fn a_row_may_be_named_to_compare_with_and_other_rows_are_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let first = classified(folder.path(), "dora", (0..400).map(|row| row < 300), &[]);
    let second = classified(folder.path(), "lora", (0..400).map(|row| row < 240), &[]);
    let fewer = classified(folder.path(), "full", (0..100).map(|row| row < 50), &[]);
    let job = job(folder.path(), vec![first, second, fewer]);
    let text = page(&job, &settings(json!({ "table": { "against": "lora" } })));
    assert!(text.contains("### Against lora") && text.contains("| dora | **+15.0**"), "{text}");
    assert!(text.contains("Not compared, because they scored other rows or too few of these: full."), "{text}");
    let failure = run(&job, &settings(json!({ "table": { "against": "lara" } }))).unwrap_err();
    assert_eq!(failure.message, "no row is named `lara`");
    assert!(failure.hint.unwrap().contains("lora"));
}

#[test]
fn the_same_answer_to_every_row_is_scored_beside() {
    let folder = tempfile::tempdir().unwrap();
    let scored = classified(folder.path(), "lora", (0..400).map(|row| row < 240), &[]);
    let baselines = json!({ "baselines": ["majority", { "answer": "yes" }, "empty_answer", { "answer": "no" }] });
    let text = page(&job(folder.path(), vec![scored]), &settings(baselines));
    // Three of four rows are of the class `no`; a class without a name is no answer, and one answer stands once.
    assert!(text.contains("| *always “no”, the same answer to every row* | 75.0 |"), "{text}");
    assert!(text.contains("| *always “yes”, the same answer to every row* | 25.0 |"), "{text}");
    assert_eq!(text.matches("the same answer to every row").count(), 2, "{text}");
}

#[test]
fn a_row_that_no_training_made_better_than_a_constant_answer_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let sentence = |right: usize, more: Vec<JobInput>| {
        let scored = classified(folder.path(), "lora", (0..400).map(|row| row < right), &[]);
        let inputs = [vec![scored], more].concat();
        let text =
            page(&job(folder.path(), inputs), &settings(json!({ "baselines": ["majority", { "answer": "yes" }] })));
        text.lines().find(|line| line.contains("better than a constant answer")).map(str::to_owned)
    };
    // Three of four rows are of the class `no`.
    let said = sentence(240, Vec::new()).unwrap();
    assert!(said.contains("on scores, always “no” has Accuracy 75.0 %, and the best row, lora, 60.0 %."), "{said}");
    assert!(sentence(300, Vec::new()).is_some(), "as much is not better");
    assert_eq!(sentence(301, Vec::new()), None);
    // A row that was not trained and is better is no excuse.
    let base = || classified(folder.path(), "none", (0..400).map(|row| row < 390), &[]);
    assert_eq!(sentence(240, vec![base()]), None);
    let training = input(folder.path(), "tuned", "train", &[("method", "lora")], None);
    fs::write(training.file("summary.json"), json!({ "trainable_parameters": 100 }).to_string()).unwrap();
    let said = sentence(240, vec![base(), training]).unwrap();
    assert!(said.contains("No trained row is better") && said.contains("the best trained row, lora, 60.0 %"), "{said}");
}

#[test]
fn an_answer_that_is_no_class_is_refused_with_the_classes() {
    let folder = tempfile::tempdir().unwrap();
    let classes = || classified(folder.path(), "lora", (0..40).map(|row| row < 24), &[]);
    let report = settings(json!({ "baselines": ["majority", { "answer": "maybe" }] }));
    let failure = run(&job(folder.path(), vec![classes()]), &report).unwrap_err();
    assert_eq!(failure.message, "no class is named `maybe`, so it cannot be the answer to every row");
    assert_eq!(failure.place.as_deref(), Some("report: baselines.1.answer"));
    assert_eq!(failure.hint.as_deref(), Some("known: `no`, `yes`"));
}

#[test]
fn empty_answers_score_what_the_metric_says() {
    let folder = tempfile::tempdir().unwrap();
    let settings_of = evaluation(json!({ "generate": { "max_new_tokens": 4 } }), json!(["squad_v2"]));
    let scored = input(folder.path(), "scores", "evaluate", &[("method", "lora")], made(settings_of, &[]));
    let rows = [json!(["red"]), json!([]), json!(["red"]), json!(["blue"])];
    let lines = rows.iter().enumerate().map(|(index, references)| {
        json!({ "id": index.to_string(), "prompt": "?", "output": "red", "references": references, "failed": null })
            .to_string()
    });
    fs::write(scored.file("predictions.jsonl"), lines.collect::<Vec<_>>().join("\n")).unwrap();
    let metrics = json!({ "headline": { "squad_v2.exact": 50.0 }, "metrics": {}, "rows": 4, "failed": 0 });
    fs::write(scored.file("metrics.json"), metrics.to_string()).unwrap();
    let text = page(&job(folder.path(), vec![scored]), &settings(json!({ "baselines": ["empty_answer", "majority"] })));
    assert!(text.contains("| *always no answer, the same answer to every row* | 25.0 |"), "{text}");
    assert!(text.contains("| *always “red”, the same answer to every row* | 50.0 |"), "{text}");
}

fn trained(root: &Path, method: &str, rate: f64, keep: Value) -> JobInput {
    let settings = json!({
        "model": "base", "data": "tokens", "adapter": { method: { "rank": 8, "alpha": 16, "targets": ["attention.q"] } },
        "epochs": 1, "optimizer": { "adamw": { "learning_rate": rate } },
        "validate": { "on": "test", "every": { "epochs": 1 }, "keep": keep },
    });
    let at = [("method", method), ("rate", &rate.to_string())];
    let input = input(root, "tuned", "train", &at, made(settings, &[]));
    fs::write(input.file("summary.json"), json!({ "trainable_parameters": 100 }).to_string()).unwrap();
    input
}

#[test]
fn rows_that_chose_something_are_marked() {
    let folder = tempfile::tempdir().unwrap();
    let chose = classified(folder.path(), "dora", (0..40).map(|row| row < 30), &["winner"]);
    let text = page(&job(folder.path(), vec![chose]), &settings(json!({})));
    assert!(
        text.contains("| dora † |") && text.contains("† Scored on rows that also decided what “winner” chose"),
        "{text}"
    );
    let innocent = classified(folder.path(), "dora", (0..40).map(|row| row < 30), &[]);
    let last = trained(folder.path(), "dora", 1e-3, json!("last"));
    let text = page(&job(folder.path(), vec![last, innocent.clone()]), &settings(json!({})));
    assert!(!text.contains('†'), "{text}");
    let mut scored = innocent;
    scored.coordinates = vec![("method".into(), "dora".into()), ("rate".into(), "0.001".into())];
    let best = trained(folder.path(), "dora", 1e-3, json!({ "best": "loss" }));
    let text = page(&job(folder.path(), vec![best, scored]), &settings(json!({})));
    assert!(text.contains("also decided the step that was kept"), "{text}");
}

#[test]
fn what_differs_and_how_to_do_it_again_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let runs = vec![
        trained(folder.path(), "lora", 1e-3, json!("last")),
        trained(folder.path(), "lora", 2e-3, json!("last")),
        trained(folder.path(), "dora", 1e-3, json!("last")),
    ];
    let text =
        page(&job(folder.path(), runs), &settings(json!({ "table": { "rows": ["method"], "mean_over": ["rate"] } })));
    assert!(text.contains("| adapter | lora (lora); dora (dora) |"), "{text}");
    assert!(text.contains(r"| optimizer.adamw.learning\_rate | 0.001; 0.002 (lora) |"), "{text}");
    assert!(!text.contains("| epochs |") && !text.contains("| adapter.rank |"), "{text}");
    assert!(text.contains("Learning rates were not tried alike: dora 1 (0.001); lora 2 (0.001, 0.002)."), "{text}");
    assert!(text.contains("| command | engine run pipelines/p.yaml --profile short |"), "{text}");
    assert!(text.contains("| revision | abc123, with changes that were not committed |"), "{text}");
}

#[test]
fn a_number_that_was_varied_has_a_plot_and_plots_are_files() {
    let folder = tempfile::tempdir().unwrap();
    let members = ["2", "4", "8"].iter().flat_map(|rank| ["lora", "dora"].map(|method| (*rank, method)));
    let scored = members.map(|(rank, method)| {
        let right = 200 + 20 * rank.parse::<usize>().unwrap();
        let mut scored = classified(&folder.path().join(rank), method, (0..400).map(|row| row < right), &[]);
        scored.coordinates.insert(0, ("rank".to_owned(), rank.to_owned()));
        scored
    });
    let job = job(folder.path(), scored.collect());
    let text = page(&job, &settings(json!({})));
    assert!(text.contains("![Accuracy (%) by rank](plots/accuracy-by-rank.svg)"), "{text}");
    let picture = fs::read_to_string(job.result.join("plots/accuracy-by-rank.svg")).unwrap();
    assert!(
        picture.starts_with("<svg xmlns=") && picture.contains("<style>") && picture.contains("prefers-color-scheme")
    );
    assert_eq!(picture.matches("<polyline").count(), 2, "{picture}");
    assert!(picture.contains("<title>lora, rank 8: 90.00</title>"), "{picture}");
}

/// Two tasks of one method are averaged, each drawn from its own rows: with independent rows the errors of the two halves
/// add up as those of a mean.
#[test]
fn members_that_scored_different_rows_are_drawn_each_from_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut inputs = Vec::new();
    for (task, rows) in [("first", 400), ("second", 900)] {
        for (method, right) in [("dora", 3 * rows / 4), ("lora", rows / 2)] {
            let mut scored = classified(&folder.path().join(task), method, (0..rows).map(|row| row < right), &[]);
            scored.coordinates.push(("task".to_owned(), task.to_owned()));
            inputs.push(scored);
        }
    }
    let table = json!({ "table": { "rows": ["method"], "mean_over": ["task"] } });
    let text = page(&job(folder.path(), inputs), &settings(table));
    assert!(text.contains("over the 1,300 scored rows") && !text.contains("Not compared"), "{text}");
    let line = text.lines().find(|line| line.starts_with("| lora | **−25.0**")).unwrap_or_else(|| panic!("{text}"));
    // A quarter of the rows differ, all one way: the error of their part is √(¼·¾/n).
    let error = |rows: f64| 100.0 * (0.25_f64 * 0.75 / rows).sqrt();
    let error = (error(400.0).powi(2) + error(900.0).powi(2)).sqrt() / 2.0;
    let numbers: Vec<f64> = line
        .replace('−', "-")
        .split(|c: char| !(c.is_ascii_digit() || "-.".contains(c)))
        .filter_map(|word| word.parse().ok())
        .collect();
    assert!((numbers[1] - (-25.0 - 1.96 * error)).abs() < 0.25, "{line}, {error}");
    assert!((numbers[2] - (-25.0 + 1.96 * error)).abs() < 0.25, "{line}, {error}");
}

/// No row of a method was answered, so no row tells the classes: it is left out, and the others are reported.
#[test]
fn a_method_without_an_answer_is_left_out_of_the_comparison() {
    let folder = tempfile::tempdir().unwrap();
    let first = classified(folder.path(), "dora", (0..40).map(|row| row < 30), &[]);
    let second = classified(folder.path(), "lora", (0..40).map(|row| row < 20), &[]);
    let none = classified(folder.path(), "full", (0..40).map(|_| false), &[]);
    let lines = (0..40).map(|row| {
        json!({
            "id": row.to_string(), "output": null, "references": ["no"], "probabilities": null, "failed": "too long",
            "scores": { "accuracy": { "correct": 0 } },
        })
        .to_string()
    });
    fs::write(none.file("predictions.jsonl"), lines.collect::<Vec<_>>().join("\n")).unwrap();
    let baselines = json!({ "baselines": ["majority"] });
    let text = page(&job(folder.path(), vec![none, first, second]), &settings(baselines));
    assert!(text.contains("### Against dora") && text.contains("| lora | **−25.0**"), "{text}");
    assert!(text.contains("| *always “no”, the same answer to every row* | 75.0 |"), "{text}");
    assert!(text.contains("Not compared, because they scored other rows or too few of these: full."), "{text}");
}
