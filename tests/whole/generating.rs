//! Texts that are generated through the engine: how they are searched for and drawn, what ends them, and going on after a
//! kill.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::project::{Project, is_used, until, users, worker};
use crate::tiny::{self, DATA, TRAINING};

/// The stages up to the base model, and an evaluation of it.
fn asked(more: &str, protocol: &str) -> String {
    let base = &TRAINING[..TRAINING.find("  tuned:").unwrap()];
    let scores = format!(
        "  scores:\n    kind: evaluate\n    resources: {{cpu: 1}}\n    model: base\n    metrics: [squad_v2]\n{more}    protocol: {protocol}\n"
    );
    format!("{DATA}{base}{scores}")
}

fn outputs(project: &Project) -> Vec<Value> {
    let text = project.text("outputs/p/scores/predictions.jsonl");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn texts(project: &Project) -> Vec<String> {
    outputs(project).iter().map(|line| line["output"].as_str().unwrap().to_owned()).collect()
}

const TEST: &str = "    data: tokens/test\n";

#[test]
fn what_is_drawn_belongs_to_the_seed_and_the_row() {
    worker();
    let drawn = "{generate: {decode: {sample: {temperature: 2.0, top_k: 80, samples: 3}}, max_new_tokens: 12}}";
    let project = tiny::with_rows(&asked(TEST, drawn));
    project.run(&[]).exit(0);
    let first = outputs(&project);
    assert_eq!(first.len(), 18);
    for (at, line) in first.iter().enumerate() {
        assert_eq!(line["id"], format!("row-{}", 40 + at / 3));
        assert_eq!(line["sample"], at % 3);
    }
    assert_ne!(first[0]["output"], first[1]["output"]);
    let metrics: Value = serde_json::from_str(&project.text("outputs/p/scores/metrics.json")).unwrap();
    assert_eq!(metrics["rows"], 18);
    // Samples of one row tell nothing of how sure a figure is over rows.
    assert_eq!(metrics["uncertainty"], serde_json::json!({"squad_v2": {}}));
    let base = texts(&project);
    // Other batches are another stage, with the same texts; another seed draws others.
    project.pipeline(&asked(&format!("{TEST}    batch: {{size: 1}}\n"), drawn));
    project.run(&[]).exit(0).did(&["scores"]);
    assert_eq!(texts(&project), base);
    project.pipeline(&asked(&format!("{TEST}    seed: 1\n"), drawn));
    project.run(&[]).exit(0).did(&["scores"]);
    assert_ne!(texts(&project), base);
}

#[test]
fn the_temperature_zero_is_greedy_and_one_beam_is_too() {
    worker();
    let project = tiny::with_rows(&asked(TEST, "{generate: {decode: greedy, max_new_tokens: 8}}"));
    project.run(&[]).exit(0);
    let greedy = texts(&project);
    for decode in ["{sample: {temperature: 0}}", "{beam: {beams: 1}}", "{beam_sample: {beams: 1, temperature: 0.0}}"] {
        project.pipeline(&asked(TEST, &format!("{{generate: {{decode: {decode}, max_new_tokens: 8}}}}")));
        project.run(&[]).exit(0).did(&["scores"]);
        assert_eq!(texts(&project), greedy, "{decode}");
    }
    for decode in ["{beam: {beams: 4, early_stopping: never}}", "{beam_sample: {beams: 3, top_p: 0.9}}"] {
        project.pipeline(&asked(
            TEST,
            &format!("{{generate: {{decode: {decode}, max_new_tokens: 8, no_repeat_ngram: 2}}}}"),
        ));
        project.run(&[]).exit(0).did(&["scores"]);
        assert_eq!(texts(&project).len(), greedy.len());
    }
}

#[test]
fn a_stop_string_ends_a_text_and_is_no_part_of_it() {
    worker();
    let project = tiny::with_rows(&asked(TEST, "{generate: {decode: greedy, max_new_tokens: 24}}"));
    project.run(&[]).exit(0);
    let whole = outputs(&project);
    let text = |line: &Value| line["output"].as_str().unwrap().to_owned();
    // Two characters that come somewhere in the middle of one text.
    let characters: Vec<char> = text(&whole[0]).chars().collect();
    let stop: String = characters[characters.len() / 2..characters.len() / 2 + 2].iter().collect();
    let quoted = serde_json::to_string(&stop).unwrap();
    project.pipeline(&asked(TEST, &format!("{{generate: {{max_new_tokens: 24, stop: [{quoted}]}}}}")));
    project.run(&[]).exit(0).did(&["scores"]);
    for (cut, whole) in outputs(&project).iter().zip(&whole) {
        let end = text(whole).find(&stop);
        assert_eq!(text(cut), text(whole)[..end.unwrap_or(text(whole).len())]);
        assert_eq!(cut["ended"] == true, end.is_some() || whole["ended"] == true);
        if end.is_some() {
            assert!(cut["tokens"].as_u64() <= whole["tokens"].as_u64());
        }
    }
    assert!(text(&outputs(&project)[0]).len() < text(&whole[0]).len());
}

#[test]
fn a_killed_evaluation_goes_on_and_ends_in_the_same_bytes() {
    worker();
    let long = asked(
        "    data: tokens/train\n    batch: {size: 1}\n",
        "{generate: {decode: {sample: {temperature: 1.5}}, max_new_tokens: 80, min_new_tokens: 80}}",
    );
    let whole = tiny::with_rows(&long);
    whole.run(&[]).exit(0);
    let kept = |project: &Project| -> Value {
        serde_json::from_str::<Value>(&project.text("outputs/p/scores.observed/measured.json")).unwrap()["kept_rows"]
            .clone()
    };
    assert_eq!(kept(&whole), 0);

    let project = tiny::with_rows(&long);
    project.run(&["--until", "base"]).exit(0);
    let run = project.start(&[]);
    until("some answers", || answers(&project) > 4);
    run.signal("KILL");
    run.gone();
    for id in users(&project.path("")) {
        let _ = Command::new("kill").args(["-KILL", &id.to_string()]).output();
    }
    until("the worker's end", || !is_used(&project.path("")));
    assert!(!project.path("outputs/p/scores").exists(), "it was killed too late: make it longer");
    project.run(&[]).exit(0).did(&["scores"]);
    assert!(kept(&project).as_u64().is_some_and(|rows| rows > 4), "{}", kept(&project));
    assert_eq!(project.left("scores"), whole.left("scores"));
}

/// Batches that attempts have written down.
fn answers(project: &Project) -> usize {
    let work = fs::read_dir(project.path("outputs/.store/v1/work")).into_iter().flatten().flatten();
    work.filter_map(|attempt| fs::read_to_string(attempt.path().join("state/answers.jsonl")).ok())
        .map(|text| text.lines().count())
        .sum()
}
