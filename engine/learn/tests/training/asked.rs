//! Trainings that ask the model on their way: what they count is what an evaluation of the same weights counts, what they
//! learn is what they learn unasked, and a figure decides which weights are kept.

use std::time::Duration;

use serde_json::{Value, json};
use spec::job::{Event, Job};

use crate::resume::{assert_same, job, kill_after, with_adapter};
use crate::support::{Done, Space};

fn lora() -> Value {
    json!({ "lora": { "rank": 3, "alpha": 6.0, "dropout": 0.3, "targets": "all-linear" } })
}

fn dora(a: &str) -> Value {
    json!({ "dora": { "rank": 3, "alpha": 6.0, "dropout": 0.3, "targets": "all-linear", "a": a } })
}

/// Continues prompts by drawing.
fn drawing() -> Value {
    json!({ "generate": { "max_new_tokens": 3, "decode": { "sample": { "temperature": 1.5, "samples": 2 } } } })
}

/// Makes it learn something of its own rows in 120 steps.
fn learning(settings: &mut Value) {
    settings["optimizer"]["adamw"]["learning_rate"] = json!(2e-2);
    settings["adapter"] = json!({ "lora": { "rank": 8, "alpha": 16.0, "targets": "all-linear" } });
    settings["batch"] = json!({ "size": 16 });
}

/// The validations of a training.
fn validations(done: &Done) -> Vec<Value> {
    done.lines("history.jsonl").into_iter().filter(|line| line.get("validation_loss").is_some()).collect()
}

/// The headline of an evaluation of what a training of an adapter left, on a split.
fn headline(space: &Space, tuned: &str, split: &str, protocol: &Value, metrics: &Value) -> Value {
    let data = format!("tokens/{split}");
    let settings = json!({ "model": "tuned", "data": data, "protocol": protocol, "metrics": metrics });
    let name = format!("scores-of-{tuned}");
    let tuned = space.adapter(tuned, space.model("base"));
    let scores = space.run(&space.job(&name, "evaluate", &settings, Some(tuned), Some(split)));
    scores.expect_finished().json("metrics.json")["headline"].clone()
}

#[test]
fn what_is_asked_changes_nothing_that_is_learned() {
    let prefix = json!({ "prefix": { "tokens": 4 } });
    for (adapter, more) in [
        (lora(), json!({})),
        (dora("trains"), json!({ "gradient_checkpointing": true })),
        (dora("frozen"), json!({})),
        (prefix, json!({})),
    ] {
        let (space, mut settings) = with_adapter(adapter.clone());
        settings["steps"] = json!(40);
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let run = |name: &str, validate: Value| {
            let mut settings = settings.clone();
            settings["validate"] = validate;
            space.run(&job(&space, name, &settings)).expect_finished()
        };
        let unseen = run("unseen", Value::Null);
        let plain = run("plain", json!({ "on": "dev", "every": { "steps": 7 } }));
        let drawn = json!({
            "on": "dev", "every": { "steps": 7 }, "protocol": drawing(), "metrics": ["squad_v2"], "rows": 12,
            "batch": { "size": 5 },
        });
        let drawn = run("drawn", drawn);
        let scored = json!({
            "on": "dev", "every": { "steps": 7 }, "protocol": "perplexity", "metrics": ["perplexity"],
        });
        let scored = run("scored", scored);
        let weights = "adapter_model.safetensors";
        for other in [&plain, &drawn, &scored] {
            assert!(unseen.bytes(weights) == other.bytes(weights), "{adapter}");
        }
        // The history is the same but for the figures.
        let without = |done: &Done| {
            let mut lines = done.lines("history.jsonl");
            lines.iter_mut().for_each(|line| drop(line.as_object_mut().unwrap().remove("metrics")));
            lines
        };
        assert_eq!(without(&plain), without(&drawn));
        assert!(validations(&plain).iter().all(|line| line.get("metrics").is_none()));
        assert_eq!(plain.json("summary.json")["headline"].as_object().unwrap().len(), 1);
        assert_eq!(validations(&drawn).len(), 6);
        assert!(validations(&drawn).iter().all(|line| line["metrics"]["squad_v2.f1"].is_number()));
    }
}

#[test]
fn what_is_counted_on_the_way_is_what_an_evaluation_of_those_weights_counts() {
    let metrics = json!(["perplexity"]);
    let protocol = json!({ "perplexity": { "loss_on": "all" } });
    let whole = json!({ "targets": "all-linear", "rank": 3, "alpha": 6.0, "dropout": 0.3 });
    for adapter in [json!({ "dora": whole }), dora("frozen"), json!({ "lora": whole })] {
        let (space, mut settings) = with_adapter(adapter.clone());
        settings["schedule"] = json!("constant");
        settings["validate"] =
            json!({ "on": "dev", "every": { "steps": 15 }, "protocol": protocol, "metrics": metrics });
        settings["steps"] = json!(45);
        let long = space.run(&job(&space, "long", &settings)).expect_finished();
        settings["steps"] = json!(30);
        let short = space.run(&job(&space, "short", &settings)).expect_finished();
        // The shorter training is the beginning of the longer one.
        assert_eq!(validations(&long)[..2], validations(&short)[..]);
        let figure = |headline: &Value| headline["perplexity.perplexity"].as_f64().unwrap();
        let way: Vec<f64> = validations(&long).iter().map(|line| figure(&line["metrics"])).collect();
        assert!((way[0] - way[1]).abs() > 1e-3 && (way[1] - way[2]).abs() > 1e-3, "{way:?}");
        for (name, counted) in [("short", way[1]), ("long", way[2])] {
            let evaluated = figure(&headline(&space, name, "dev", &protocol, &metrics));
            assert!((evaluated / counted - 1.0).abs() < 1e-5, "{adapter} {name}: {counted}, evaluated {evaluated}");
        }
        assert_eq!(long.json("summary.json")["headline"]["perplexity.perplexity"], way[2]);
    }
}

#[test]
fn generated_answers_score_alike_on_the_way_and_afterwards() {
    let (space, mut settings) = with_adapter(lora());
    learning(&mut settings);
    let metrics = json!(["squad_v2", { "squad_v2": { "no_answer": "ada" } }]);
    for (name, protocol) in [("greedy", json!({ "generate": { "max_new_tokens": 4 } })), ("drawn", drawing())] {
        settings["validate"] =
            json!({ "on": "train", "every": { "steps": 40 }, "protocol": protocol, "metrics": metrics });
        let done = space.run(&job(&space, name, &settings)).expect_finished();
        let counted = validations(&done).pop().unwrap()["metrics"].clone();
        assert_eq!(counted, headline(&space, name, "train", &protocol, &metrics));
        assert!(counted["squad_v2.exact"].as_f64().unwrap() > 0.0, "{counted}");
        assert!(counted.get("squad_v2_2.exact").is_some(), "{counted}");
        let units = |event: &Event| !matches!(event, Event::Progress { unit, .. } if unit != "steps");
        assert!(done.events.iter().all(units), "{:?}", done.events);
    }
}

#[test]
fn the_first_rows_are_asked_and_no_more() {
    let (space, mut settings) = with_adapter(lora());
    learning(&mut settings);
    settings["validate"] = json!({
        "on": "train", "every": { "steps": 120 }, "rows": 7, "metrics": ["squad_v2"],
        "protocol": drawing(),
    });
    let done = space.run(&job(&space, "first", &settings)).expect_finished();
    let protocol = &settings["validate"]["protocol"];
    headline(&space, "first", "train", protocol, &json!(["squad_v2"]));
    let predictions = std::fs::read_to_string(space.path("scores-of-first/predictions.jsonl")).unwrap();
    let f1 = |line: &str| serde_json::from_str::<Value>(line).unwrap()["scores"]["squad_v2"]["f1"].as_f64().unwrap();
    let all: Vec<f64> = predictions.lines().map(f1).collect();
    let mean = |rows: &[f64]| 100.0 * rows.iter().sum::<f64>() / rows.len() as f64;
    let counted = validations(&done)[0]["metrics"]["squad_v2.f1"].as_f64().unwrap();
    // Two samples of each row.
    assert!((counted - mean(&all[..14])).abs() < 1e-9, "{counted} of {all:?}");
    assert!((mean(&all[..14]) - mean(&all)).abs() > 1e-3, "all rows would score the same");
}

/// Perplexity is the exponential of the loss, so that both choose the same weights; the accuracy of tokens chooses the
/// highest.
#[test]
fn a_figure_decides_which_weights_are_kept_and_when_to_stop() {
    let (space, mut settings) = with_adapter(lora());
    (settings["steps"], settings["schedule"]) = (json!(400), json!("constant"));
    settings["optimizer"]["adamw"]["learning_rate"] = json!(0.1);
    let validate = |best: &str| {
        json!({
            "on": "dev", "every": { "steps": 3 }, "protocol": "perplexity", "metrics": ["perplexity"],
            "keep": { "best": best }, "patience": 4,
        })
    };
    let mut run = |best: &str| {
        settings["validate"] = validate(best);
        space.run(&job(&space, &best.replace('.', "-"), &settings)).expect_finished()
    };
    let (loss, perplexity) = (run("loss"), run("perplexity.perplexity"));
    assert_same(&loss, &perplexity);
    let accuracy = run("perplexity.token_accuracy");
    let figures: Vec<f64> = validations(&accuracy)
        .iter()
        .map(|line| line["metrics"]["perplexity.token_accuracy"].as_f64().unwrap())
        .collect();
    let highest = figures.iter().copied().fold(f64::MIN, f64::max);
    let first = figures.iter().position(|figure| *figure == highest).unwrap();
    let summary = accuracy.json("summary.json");
    assert_eq!(summary["best_step"], 3 * (first + 1));
    assert_eq!(summary["kept_step"], summary["best_step"]);
    assert_eq!(summary["headline"]["perplexity.token_accuracy"], highest);
    assert_eq!((summary["stopped_early"].clone(), figures.len()), (json!(true), first + 1 + 4), "{figures:?}");
    assert!(first > 0, "nothing to choose from: {figures:?}");
    let evaluated = headline(&space, "perplexity-token_accuracy", "dev", &json!("perplexity"), &json!(["perplexity"]));
    assert_eq!(evaluated["perplexity.token_accuracy"], highest);
}

#[test]
fn a_training_that_asks_goes_on_after_a_kill_in_the_same_bytes() {
    let (space, mut settings) = with_adapter(dora("trains"));
    settings["optimizer"]["adamw"]["learning_rate"] = json!(2e-2);
    settings["validate"] = json!({
        "on": "train", "every": { "steps": 7 }, "protocol": drawing(), "metrics": ["squad_v2"], "rows": 20,
        "keep": { "best": "squad_v2.f1" },
    });
    let whole = space.run(&job(&space, "whole", &settings)).expect_finished();
    let best = whole.json("summary.json")["best_step"].as_u64().unwrap();
    assert!(best > 7, "the first validation is the best: nothing is kept over a kill");
    let killed: Job = job(&space, "killed", &settings);
    for (step, later) in [(20, 4), (70, 0)] {
        kill_after(space.start(&killed), &killed, step, Duration::from_millis(later));
    }
    assert_same(&whole, &space.run(&killed).expect_finished());
}

#[test]
fn what_cannot_be_counted_is_said_before_the_first_step() {
    let (space, settings) = with_adapter(lora());
    let fails = |settings: &Value| {
        let job = job(&space, "failing", settings);
        let done = space.run(&job);
        let steps = std::fs::read_to_string(job.state.join("history.jsonl")).unwrap_or_default().lines().count();
        (done.failure().message.clone(), done.failure().hint.clone().unwrap(), steps)
    };
    let with = |protocol: Value, metrics: Value| {
        let mut settings = settings.clone();
        settings["validate"] =
            json!({ "on": "dev", "every": { "steps": 5 }, "protocol": protocol, "metrics": metrics });
        settings
    };
    // These rows are no texts that are read whole.
    let (message, hint, steps) = fails(&with(json!("classify"), json!(["accuracy"])));
    assert!(message.contains("labels.json") && hint.contains("`label`"), "{message}, {hint}");
    assert_eq!(steps, 0);
    let (message, hint, steps) = fails(&with(json!("perplexity"), json!(["squad_v2"])));
    assert!(message.contains("validate.metrics") && message.contains("`squad_v2` cannot be counted"), "{message}");
    assert!(hint.contains("generate"), "{hint}");
    assert_eq!(steps, 0);
    // Every row has an answer, so there is no figure of those without one: only the rows can tell.
    let mut unseen = with(json!({ "generate": { "max_new_tokens": 2 } }), json!(["squad_v2"]));
    unseen["validate"]["keep"] = json!({ "best": "squad_v2.no_ans_exact" });
    let (message, hint, steps) = fails(&unseen);
    assert!(message.contains("`squad_v2.no_ans_exact` is not counted") && message.contains("dev"), "{message}");
    assert!(hint.contains("`squad_v2.f1`") && steps == 5, "{hint} after {steps}");
}
