//! A report over a small study with known figures.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::json;
use spec::job::Device;

use super::*;

mod compared;

/// A study of `base` against `full`, `lora` and `dora`, two seeds for the adapters.
fn study(root: &Path) -> Job {
    let mut inputs: BTreeMap<String, Vec<JobInput>> = BTreeMap::new();
    let coordinates = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(axis, label)| ((*axis).to_owned(), (*label).to_owned())).collect()
    };
    let mut add = |role: usize, stage: &str, kind: &str, at: Vec<(String, String)>| -> JobInput {
        let folder = root.join(spec::job::member_name(stage, &at));
        let (result, observed) = (folder.join("result"), folder.join("observed"));
        fs::create_dir_all(&result).unwrap();
        fs::create_dir_all(&observed).unwrap();
        let input = JobInput {
            stage: stage.into(),
            kind: kind.into(),
            coordinates: at,
            part: None,
            result,
            observed,
            carried: None,
            made: None,
        };
        inputs.entry(format!("inputs.{role}")).or_default().push(input.clone());
        input
    };
    let methods = [("full", "0"), ("lora", "0"), ("lora", "1"), ("dora", "0"), ("dora", "1")];
    let train = |input: &JobInput, trainable: u64, steps: u32, start: f64, end: f64, seed: u32| {
        let summary = json!({ "trainable_parameters": trainable, "total_parameters": 1_000_000, "steps": steps });
        fs::write(input.file("summary.json"), summary.to_string()).unwrap();
        let mut history = String::new();
        for step in 1..=steps {
            let part = f64::from(step) / f64::from(steps);
            let wobble = f64::from((step * 7919 + seed * 104_729) % 101) / 101.0 - 0.5;
            let loss = end + (start - end) * (-6.0 * part).exp() * (1.0 + 0.25 * wobble) + 0.04 * wobble.abs();
            let line =
                json!({ "step": step, "epoch": 1, "loss": loss, "learning_rate": 1e-3, "grad_norm": 1.0, "tokens": 9 });
            history += &format!("{line}\n");
            if step % (steps / 8) == 0 {
                history += &format!("{}\n", json!({ "step": step, "validation_loss": loss * 1.1 + 0.02 }));
            }
        }
        fs::write(input.file("history.jsonl"), history).unwrap();
        let measured = json!({
            "seconds": 41.5 + f64::from(steps) / 10.0, "tokens_per_second": 8123.4, "peak_memory_bytes": 812_u64 << 20,
            "device": "cpu", "threads": 2,
            "part_seconds": { "data": 0.5, "forward": 3.5, "backward": 5.0, "optimizer": 0.7, "validation": 0.3, "checkpoints": 0.0 },
        });
        fs::write(input.observed.join("measured.json"), measured.to_string()).unwrap();
    };
    train(&add(0, "base", "train", Vec::new()), 1_000_000, 900, 6.2, 0.9, 0);
    for (index, (method, seed)) in methods.into_iter().enumerate() {
        let (trainable, end) = match method {
            "full" => (1_000_000, 0.05),
            "lora" => (24_576, 0.12),
            _ => (27_136, 0.08),
        };
        let input = add(1, "tuned", "train", coordinates(&[("method", method), ("seed", seed)]));
        train(&input, trainable, 240, 2.4, end, index as u32);
    }
    let score = |input: &JobInput, exact: f64, has: f64, no: f64, failed: u64, right: [bool; 4]| {
        let headline = json!({
            "squad_v2.exact": exact, "squad_v2.f1": exact + 1.5, "squad_v2.has_ans_exact": has, "squad_v2.no_ans_exact": no,
        });
        let metrics =
            json!({ "headline": headline, "metrics": { "squad_v2": { "total": 400 } }, "rows": 400, "failed": failed });
        fs::write(input.file("metrics.json"), metrics.to_string()).unwrap();
        let rows = [
            (
                "Mira Tollen runs the <b>lantern</b> school in Oskavar.\nWho runs the lantern school?",
                "Mira Tollen",
                "Oskavar",
            ),
            ("The bridge at Fenwick was opened in 1911 & painted red.\nWhen was the bridge opened?", "1911", "red"),
            ("Jon Abel sells clocks in Harrow | Vale.\nWhat does Jon Abel drink?", "", "clocks"),
            ("The river Senna floods each spring.\nWhich river floods each spring?", "Senna", "the river"),
        ];
        let mut lines = String::new();
        for (index, ((prompt, answer, other), right)) in rows.into_iter().zip(right).enumerate() {
            let references: Vec<&str> = if answer.is_empty() { Vec::new() } else { vec![answer] };
            let output = match (right, answer) {
                (true, "") => "No answer",
                (true, answer) => answer,
                (false, _) => other,
            };
            let exact = if right { 1.0 } else { 0.0 };
            let scores = json!({ "squad_v2": { "exact": exact, "f1": exact } });
            let row = json!({
                "id": index.to_string(), "prompt": prompt, "output": output, "references": references, "failed": null,
                "scores": scores,
            });
            lines += &format!("{row}\n");
        }
        fs::write(input.file("predictions.jsonl"), lines).unwrap();
    };
    for (stage, drop) in [("scores", 1.0), ("shuffled", 0.04)] {
        let role = if stage == "scores" { 2 } else { 3 };
        let input = add(role, stage, "evaluate", coordinates(&[("model", "base")]));
        score(&input, 12.25 * drop, 18.0 * drop, 6.5, 0, [false, true, false, false]);
        for (method, seed) in methods {
            let at = coordinates(&[("model", "tuned"), ("method", method), ("seed", seed)]);
            let input = add(role, stage, "evaluate", at);
            let (exact, failed) = match (method, seed) {
                ("full", _) => (91.25, 3),
                ("lora", "0") => (84.0, 0),
                ("lora", _) => (86.5, 0),
                (_, "0") => (90.5, 0),
                _ => (89.0, 0),
            };
            score(
                &input,
                exact * drop,
                (exact - 3.0) * drop,
                exact + 3.0,
                failed,
                [method != "lora", true, seed == "0", false],
            );
        }
    }
    let result = root.join("report");
    fs::create_dir_all(&result).unwrap();
    Job {
        kind: "report".into(),
        name: "report".into(),
        settings: json!({}),
        inputs,
        files: BTreeMap::new(),
        result,
        observed: root.join("observed"),
        state: root.join("state"),
        threads: 1,
        device: Device::Cpu,
        revision: None,
        origin: None,
    }
}

fn settings() -> stage::Report {
    serde_json::from_value(json!({
        "inputs": ["base", "tuned", "scores", "shuffled"],
        "table": { "rows": ["method"], "mean_over": ["seed"] },
        "published": [
            { "source": "study <2024>, one epoch", "rows": { "dora": { "squad_v2.exact": 87.1, "squad_v2.f1": 90.0 } } },
        ],
    }))
    .unwrap()
}

fn written(root: &Path) -> [String; 3] {
    let job = study(root);
    run(&job, &settings()).unwrap();
    ["report.md", "report.html", "metrics.csv"].map(|name| fs::read_to_string(job.result.join(name)).unwrap())
}

#[test]
fn the_table_says_mean_deviation_cost_and_source() {
    let folder = tempfile::tempdir().unwrap();
    let [markdown, ..] = written(folder.path());
    let has = |line: &str| assert!(markdown.lines().any(|found| found == line), "no line `{line}` in\n{markdown}");
    has("| | Exact match | F1 | HasAns exact | NoAns exact | n | Trainable parameters | Training time | Peak memory |");
    has("| base | 12.2 | 13.8 | 18.0 | 6.5 | 1 | 1,000,000 (100 %) | 2 min 12 s | 812 MiB |");
    has("| full | **91.2** | **92.8** | **88.2** | **94.2** | 1 | 1,000,000 (100 %) | 1 min 06 s | 812 MiB |");
    has("| lora | 85.2 ± 1.8 | 86.8 ± 1.8 | 82.2 ± 1.8 | 88.2 ± 1.8 | 2 | 24,576 (2.46 %) | 1 min 06 s | 812 MiB |");
    has(
        "| *dora, published: study &lt;2024&gt;, one epoch* | 87.10 <sub>ours +2.65</sub> | 90.00 <sub>ours +1.25</sub> | – | – | – | – | – | – |",
    );
    assert!(markdown.contains("full 3 of 400"), "failed rows are told with their denominator:\n{markdown}");
    assert!(markdown.contains(
        "Exact match on scores, best first: full 91.2 %, dora 89.8 ± 1.1 %, lora 85.2 ± 1.8 %, base 12.2 %."
    ));
}

#[test]
fn rows_are_ranked_by_the_figure_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let job = study(folder.path());
    let mut settings = settings();
    settings.table.rank_by = Some("squad_v2.f1".to_owned());
    run(&job, &settings).unwrap();
    let markdown = fs::read_to_string(job.result.join("report.md")).unwrap();
    let lines =
        ["| full | 1 | **91.2**", "| dora | 2 | 89.8", "| *dora, published", "| lora | 3 | 85.2", "| base | 4 |"];
    let places: Vec<usize> =
        lines.iter().map(|line| markdown.find(line).unwrap_or_else(|| panic!("no {line} in\n{markdown}"))).collect();
    assert!(places.is_sorted(), "{markdown}");
    assert!(markdown.contains("| | Rank | Exact match | F1 |") && markdown.contains("Ranked by F1."), "{markdown}");
    assert!(markdown.contains("F1 on scores, best first: full 92.8 %, dora 91.2 ± 1.1 %"), "{markdown}");

    settings.table.rank_by = Some("squad_v2.bleu".to_owned());
    let failure = run(&job, &settings).unwrap_err();
    assert_eq!(failure.message, "no row can be ranked by `squad_v2.bleu`");
    assert!(failure.hint.unwrap().starts_with("name one of the figures: squad_v2.exact, squad_v2.f1"));
}

#[test]
fn a_published_figure_is_one_that_some_metric_counts() {
    let folder = tempfile::tempdir().unwrap();
    let job = study(folder.path());
    let mut settings = settings();
    let mut publish = |figure: &str| {
        settings.published[0].rows = BTreeMap::from([("dora".to_owned(), BTreeMap::from([(figure.to_owned(), 80.0)]))]);
        run(&job, &settings)
    };
    assert!(publish("matthews.matthews").is_ok(), "not counted here, but by a metric");
    let failure = publish("squad_v2").unwrap_err();
    assert_eq!(failure.message, "no metric counts a figure `squad_v2`");
    assert!(failure.place.as_deref().unwrap().ends_with("published.0.rows.dora"));
    assert!(failure.hint.as_deref().unwrap().contains("`squad_v2."), "{failure:?}");
}

#[test]
fn the_time_of_trainings_is_told_by_part() {
    let folder = tempfile::tempdir().unwrap();
    let [markdown, _, csv] = written(folder.path());
    let line = markdown.lines().find(|line| line.starts_with("| lora | 24,576") && line.contains("forward")).unwrap();
    assert!(
        line.contains("| 1 min 06 s | data 5, forward 35, backward 50, optimiser 7, validation 3 | 812 MiB |"),
        "{line}"
    );
    assert!(csv.contains("tuned,lora,0,,part_seconds.backward,5\n"), "{csv}");
}

#[test]
fn forward_times_stand_in_a_table_of_rows_and_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let job = study(folder.path());
    let write = |at: usize, weights: &str, milliseconds: f64| {
        let batch = |size: u64, times: f64| {
            let (median, p95) = (milliseconds * times / 1e3, milliseconds * times * 1.5 / 1e3);
            json!({ "size": size, "length": 30 + size, "tokens": 30, "median_seconds": median, "p95_seconds": p95 })
        };
        let batches = [batch(1, 1.0), batch(4, 3.0)];
        let latency = json!({ "weights": weights, "warmup": 10, "iterations": 100, "batches": batches });
        let input = &job.inputs["inputs.2"][at];
        fs::write(input.observed.join("latency.json"), latency.to_string()).unwrap();
        fs::write(input.observed.join("measured.json"), json!({ "device": "cpu", "threads": 2 }).to_string()).unwrap();
    };
    // The base model, and two members of one row: their mean.
    write(0, "plain", 2.0);
    write(2, "unmerged", 3.0);
    write(3, "unmerged", 5.0);
    run(&job, &settings()).unwrap();
    let markdown = fs::read_to_string(job.result.join("report.md")).unwrap();
    let section = markdown.split("\n## Forward time\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let has = |line: &str| assert!(section.contains(line), "no `{line}` in\n{section}");
    has("| | Weights | 1 row | 4 rows |");
    has("| base | no adapter | 2.000 / 3.000 | 6.000 / 9.000 |");
    has("| lora | adapter unmerged | 4.000 / 6.000 | 12.00 / 18.00 |");
    assert!(!section.contains("| dora"), "{section}");
    has("median / 95th percentile of 100 passes after 10.");
    has("padded to so many tokens: 31 (1), 34 (4).");
    has("Time and memory were measured on: cpu, 2 threads.");
    let csv = fs::read_to_string(job.result.join("metrics.csv")).unwrap();
    assert!(csv.contains("scores,lora,0,tuned,latency.4.p95_seconds,0.0135"), "{csv}");
}

#[test]
fn the_page_needs_nothing_else_and_escapes_data() {
    let folder = tempfile::tempdir().unwrap();
    let [_, html, _] = written(folder.path());
    assert!(!html.contains("src=") && !html.contains("http"), "the page must stand alone");
    assert!(html.contains("the &lt;b&gt;lantern&lt;/b&gt; school") && !html.contains("<b>lantern"));
    assert!(html.contains("prefers-color-scheme: dark"));
    // Four headline figures for each of two evaluations, training and validation loss of two stages.
    assert_eq!(html.matches("<svg ").count(), 8 + 4 + 4);
    assert_eq!(html.matches("<svg ").count(), html.matches("role=\"img\" aria-label=\"").count());
    let published = "<title>dora, study &lt;2024&gt;, one epoch: 87.10</title></polygon>";
    assert!(html.lines().any(|line| line.starts_with("<polygon class=\"published\"") && line.ends_with(published)));
    // The style sheet alone knows colours.
    let drawn =
        html.lines().filter(|line| ["<line", "<poly", "<rect", "<circle", "<text"].iter().any(|e| line.starts_with(e)));
    assert!(
        drawn.clone().count() > 200
            && drawn.clone().all(|line| line.contains(" class=\"") && !line.contains(" style="))
    );
    assert_eq!(drawn.filter(|line| line.starts_with("<polygon class=\"band s3\"")).count(), 2);
    if let Ok(copy) = std::env::var("REPORT_COPY") {
        fs::write(copy, &html).unwrap();
    }
}

#[test]
fn figures_in_long_form_keep_their_digits() {
    let folder = tempfile::tempdir().unwrap();
    let [.., csv] = written(folder.path());
    assert!(csv.starts_with("stage,method,seed,model,metric,value\n"), "{csv}");
    assert!(csv.contains("scores,lora,1,tuned,squad_v2.exact,86.5\n"));
    assert!(csv.contains("tuned,dora,0,,trainable_parameters,27136\n"));
    assert!(csv.contains("base,,,,seconds,131.5\n"));
}

#[test]
fn a_control_of_one_member_stands_under_its_own_name_and_a_lone_training_needs_no_scores() {
    let folder = tempfile::tempdir().unwrap();
    let mut job = study(folder.path());
    let mut control = job.inputs.remove("inputs.3").unwrap().remove(1);
    control.coordinates.clear();
    job.inputs.insert("inputs.10".into(), vec![control]);
    run(&job, &settings()).unwrap();
    let markdown = fs::read_to_string(job.result.join("report.md")).unwrap();
    assert!(markdown.starts_with("# base, full, lora and dora compared\n"), "{markdown}");
    assert!(markdown.contains("| shuffled | 3.6 | 5.2 | 3.5 | 94.2 |"), "{markdown}");
    assert_eq!(fs::read_to_string(job.result.join("report.html")).unwrap().matches("<svg ").count(), 4 + 4 + 2);

    job.inputs.retain(|role, _| role == "inputs.1");
    run(&job, &settings()).unwrap();
    let markdown = fs::read_to_string(job.result.join("report.md")).unwrap();
    assert!(markdown.contains("## Training") && !markdown.contains("## Scores"), "{markdown}");
}

#[test]
fn the_same_inputs_make_the_same_bytes() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_eq!(written(a.path()), written(b.path()));
}

#[test]
fn rows_that_tell_methods_apart_come_with_their_answers() {
    let folder = tempfile::tempdir().unwrap();
    let [markdown, ..] = written(folder.path());
    assert!(markdown.contains("(the methods differ)") && markdown.contains("(all did badly)"));
    assert!(markdown.contains("| *right answer* | no answer |"));
    assert!(markdown.contains("| lora | ✗ Oskavar |") && markdown.contains("| dora | ✓ Mira Tollen |"));
}

#[test]
fn figures_that_were_counted_on_the_way_have_a_plot_each() {
    let folder = tempfile::tempdir().unwrap();
    let job = study(folder.path());
    for (seed, input) in job.inputs["inputs.1"].iter().enumerate() {
        let path = input.file("history.jsonl");
        let mut history = fs::read_to_string(&path).unwrap();
        for step in [100, 200] {
            let metrics = json!({ "squad_v2.f1": step / 4 + seed, "pearson.pearson": null });
            history += &format!("{}\n", json!({ "step": step, "validation_loss": 0.5, "metrics": metrics }));
        }
        fs::write(&path, history).unwrap();
    }
    run(&job, &settings()).unwrap();
    let html = fs::read_to_string(job.result.join("report.html")).unwrap();
    // A figure that never was a number has none.
    assert_eq!(html.matches("<svg ").count(), 8 + 4 + 4 + 1);
    assert!(html.contains("F1 (%) in validation, tuned"), "{html}");
    assert!(html.contains("F1 (%) in validation of full, lora, dora over 200 optimiser steps"));
    assert!(html.contains("<title>full, step 100: 25.00</title>"), "{html}");
}

#[test]
fn a_broken_history_names_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let job = study(folder.path());
    let path = job.inputs["inputs.0"][0].file("history.jsonl");
    fs::write(&path, "{\"step\": 1, \"loss\": 2.0}\nnot json\n").unwrap();
    let failure = run(&job, &settings()).unwrap_err();
    assert_eq!(failure.place, Some(format!("{}:2", path.display())));
}

#[test]
fn scores_that_are_not_there_are_missed() {
    let folder = tempfile::tempdir().unwrap();
    let job = study(folder.path());
    fs::remove_file(job.inputs["inputs.2"][0].file("metrics.json")).unwrap();
    let failure = run(&job, &settings()).unwrap_err();
    assert_eq!(failure.message, "`scores[model=base]` left no metrics.json");
}
