//! What the worker observes of its own time: where that of a training goes, and how long a model's forward pass takes.

use serde_json::{Value, json};
use spec::observed::{Latency, TrainingTimes, Weights};

use crate::support::{Done, Space, rows};

fn base() -> Value {
    json!({
        "model": { "random": { "llama": { "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 3,
                                          "num_attention_heads": 4, "initializer_range": 0.06 } } },
        "data": "tokens", "adapter": "full", "steps": 30, "batch": { "size": 32, "micro": 16 },
        "validate": { "on": "dev", "every": { "steps": 10 } }, "checkpoint": { "steps": 20 },
    })
}

fn parts(done: &Done) -> TrainingTimes {
    serde_json::from_value(done.measured()["part_seconds"].clone()).unwrap()
}

fn measuring(protocol: Value, metric: &str, model: &str) -> Value {
    json!({
        "model": model, "data": "tokens/dev", "protocol": protocol, "metrics": [metric],
        "measure": { "latency": { "batch": [1, 3], "warmup": 1, "iterations": 7 } },
    })
}

fn latency(done: &Done) -> Latency {
    serde_json::from_slice(&std::fs::read(done.observed.join("latency.json")).unwrap()).unwrap()
}

#[test]
fn the_parts_of_a_training_add_up_to_its_time_and_are_no_result() {
    let rows = rows();
    let space = Space::new(&rows, &rows[..40]);
    let done = space.run(&space.job("base", "train", &base(), None, None)).expect_finished();
    let (times, measured) = (parts(&done), done.measured());
    let seconds = |name: &str| measured[name].as_f64().unwrap();
    assert_eq!(measured["timed_steps"], 30);
    assert!(times.parts().iter().all(|(_, seconds)| *seconds > 0.0), "{times:?}");
    let steps = times.data + times.forward + times.backward + times.optimizer;
    assert!(steps <= seconds("step_seconds") && steps > 0.9 * seconds("step_seconds"), "{times:?} of {measured}");
    assert!(steps + times.validation + times.checkpoints <= seconds("seconds"), "{times:?} of {measured}");
    assert!(times.backward > times.data && times.forward > times.data, "{times:?}");
    for name in ["summary.json", "history.jsonl"] {
        let text = String::from_utf8(done.bytes(name)).unwrap();
        assert!(!text.contains("seconds") && !text.contains("forward"), "{name}: {text}");
    }
}

#[test]
fn a_forward_pass_is_measured_beside_the_same_result() {
    let rows = rows();
    let space = Space::new(&rows, &rows[..40]);
    space.run(&space.job("base", "train", &base(), None, None)).expect_finished();
    let lora = json!({
        "model": "base", "data": "tokens", "steps": 2,
        "adapter": { "lora": { "rank": 2, "alpha": 8, "targets": "all-linear" } },
    });
    space.run(&space.job("tuned", "train", &lora, Some(space.model("base")), None)).expect_finished();
    let tuned = || space.adapter("tuned", space.model("base"));

    let generate = json!({ "generate": { "max_new_tokens": 2 } });
    let settings = measuring(generate, "squad_v2", "tuned");
    let done = space.run(&space.job("scores", "evaluate", &settings, Some(tuned()), Some("dev"))).expect_finished();
    let found = latency(&done);
    assert_eq!((found.weights, found.warmup, found.iterations), (Weights::Unmerged, 1, 7));
    // The first prompts: BOS, two names, the mark; then three names.
    let shapes: Vec<_> = found.batches.iter().map(|batch| (batch.size, batch.length, batch.tokens)).collect();
    assert_eq!(shapes, [(1, 4, 4), (3, 5, 13)]);
    assert!(found.batches.iter().all(|batch| batch.median_seconds > 0.0 && batch.p95_seconds >= batch.median_seconds));

    let mut plain = settings.clone();
    plain.as_object_mut().unwrap().remove("measure");
    let unmeasured = space.job("plain", "evaluate", &plain, Some(tuned()), Some("dev"));
    let unmeasured = space.run(&unmeasured).expect_finished();
    for name in ["metrics.json", "predictions.jsonl"] {
        assert_eq!(done.bytes(name), unmeasured.bytes(name), "{name}");
    }
    assert!(!unmeasured.observed.join("latency.json").exists());

    let settings = measuring(json!({ "perplexity": { "loss_on": "all" } }), "perplexity", "base");
    let job = space.job("surprise", "evaluate", &settings, Some(space.model("base")), Some("dev"));
    let found = latency(&space.run(&job).expect_finished());
    assert_eq!((found.weights, found.batches.len()), (Weights::Plain, 2));
}

#[test]
fn where_no_row_can_be_read_nothing_is_measured_and_it_is_said() {
    let rows = rows();
    let mut dev = rows[..2].to_vec();
    dev.iter_mut().for_each(|row| row.failed = Some("it does not fit".to_owned()));
    let space = Space::new(&rows, &dev);
    let unvalidated = json!({ "model": base()["model"], "data": "tokens", "adapter": "full", "steps": 1 });
    space.run(&space.job("base", "train", &unvalidated, None, None)).expect_finished();
    let settings = measuring(json!({ "generate": { "max_new_tokens": 2 } }), "squad_v2", "base");
    let job = space.job("scores", "evaluate", &settings, Some(space.model("base")), Some("dev"));
    let done = space.run(&job).expect_finished();
    assert!(done.warnings().iter().any(|warning| warning.contains("no latency is measured")), "{:?}", done.events);
    assert!(!done.observed.join("latency.json").exists());
}
