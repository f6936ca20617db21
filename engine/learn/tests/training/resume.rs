//! A worker that is killed in the middle of its steps and started again leaves what an uninterrupted one leaves, byte
//! for byte.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use spec::job::Job;

use crate::support::{Done, Space, done, rows};

const LEFT: [&str; 4] = ["adapter_model.safetensors", "adapter_config.json", "history.jsonl", "summary.json"];

/// A space with a small trained base, and the job that adapts it with dropout, four micro-batches a step.
fn space(method: &str) -> (Space, Value) {
    with_adapter(json!({ method: { "rank": 3, "alpha": 6.0, "dropout": 0.3, "targets": "all-linear" } }))
}

pub fn with_adapter(adapter: Value) -> (Space, Value) {
    let rows = rows();
    let (train, dev) = rows.split_at(160);
    let space = Space::new(train, dev);
    let base = json!({
        "model": { "random": { "llama": { "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
                                          "num_attention_heads": 4, "initializer_range": 0.1 } } },
        "data": "tokens", "adapter": "full", "steps": 10,
    });
    space.run(&space.job("base", "train", &base, None, None)).expect_finished();
    let settings = json!({
        "model": "base",
        "data": "tokens",
        "adapter": adapter,
        "steps": 120,
        "seed": 5,
        "batch": { "size": 8, "micro": 2 },
        "optimizer": { "adamw": { "learning_rate": 5e-3 } },
        "clip": 1.0,
        "validate": { "on": "dev", "every": { "steps": 17 }, "keep": { "best": "loss" } },
        "checkpoint": { "steps": 10 },
    });
    (space, settings)
}

pub fn job(space: &Space, name: &str, settings: &Value) -> Job {
    space.job(name, "train", settings, Some(space.model("base")), None)
}

fn checkpoint(job: &Job, step: u64, ending: &str) -> std::path::PathBuf {
    job.state.join("checkpoints").join(format!("step-{step:09}.{ending}"))
}

/// Kills the worker with SIGKILL once the checkpoint of `step` is there, `later` after it.
pub fn kill_after(mut child: Child, job: &Job, step: u64, later: Duration) {
    wait_for(&mut child, &checkpoint(job, step, "blake3"));
    std::thread::sleep(later);
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success(), "the worker was done before it was killed");
}

fn wait_for(child: &mut Child, path: &Path) {
    let start = Instant::now();
    while !path.exists() {
        assert!(child.try_wait().unwrap().is_none(), "the worker ended before {}", path.display());
        assert!(start.elapsed() < Duration::from_secs(60), "no {}", path.display());
        std::thread::sleep(Duration::from_micros(200));
    }
}

pub fn assert_same(one: &Done, other: &Done) {
    for name in LEFT {
        assert!(one.bytes(name) == other.bytes(name), "{name} differs");
    }
}

#[test]
fn killed_again_and_again_a_training_leaves_the_same_bytes() {
    for (method, kills) in [("lora", [(20, 4), (60, 0)]), ("dora", [(10, 3), (70, 1)])] {
        let (space, settings) = space(method);
        let whole = space.run(&job(&space, "whole", &settings)).expect_finished();
        let killed = job(&space, "killed", &settings);
        for (step, later) in kills {
            kill_after(space.start(&killed), &killed, step, Duration::from_millis(later));
        }
        let resumed = space.run(&killed).expect_finished();
        assert_same(&whole, &resumed);
        assert!(resumed.measured()["resumed_from"].as_u64() >= Some(60), "{}", resumed.measured());
        assert_eq!(resumed.measured()["timed_steps"], resumed.json("summary.json")["steps"], "of both attempts");
        assert_eq!(whole.lines("history.jsonl").len(), 120 + 8);
        // The settings decide something: another seed of dropout leaves other bytes.
        let mut other = settings.clone();
        other["seed"] = json!({ "init": 5, "data": 5, "dropout": 6 });
        let other = space.run(&job(&space, "other", &other)).expect_finished();
        assert!(whole.bytes(LEFT[0]) != other.bytes(LEFT[0]), "{method}: dropout does nothing");
    }
}

/// What is taken out of the base, projections and penalties are made again from the base and the seed.
#[test]
fn what_begins_in_the_base_goes_on_after_a_kill_and_stands_on_the_untouched_base() {
    let common = json!({ "rank": 4, "alpha": 6.0, "dropout": 0.2, "targets": "all-linear", "bias": "lora_only" });
    let with = |method: &str, more: Value| {
        let mut settings = common.clone();
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ method: settings })
    };
    let penalty = |of: &str| json!({ "orthogonality": { "of": of, "weight": 0.01 } });
    let pissa = json!({ "init": "pissa", "learning_rate_ratio": 4.0, "penalty": penalty("b"), "layers": [1] });
    let residual = json!({ "init": { "svd": { "base": "residual", "singular_values": "sqrt" } },
                           "gradient": "projected", "penalty": penalty("b"), "scale": "rank_stabilized" });
    // PiSSA's A has moved; with a frozen one the sum of both products has its rank.
    for (adapter, rank) in [(with("lora", pissa), 8), (with("lora_fa", residual), 4)] {
        let (space, settings) = with_adapter(adapter);
        let whole = space.run(&job(&space, "whole", &settings)).expect_finished();
        let killed = job(&space, "killed", &settings);
        kill_after(space.start(&killed), &killed, 20, Duration::from_millis(3));
        let resumed = space.run(&killed).expect_finished();
        assert_same(&whole, &resumed);
        assert!(resumed.measured()["resumed_from"].as_u64() >= Some(20), "{}", resumed.measured());
        let steps = whole.lines("history.jsonl");
        let steps = || steps.iter().filter(|line| line.get("loss").is_some());
        assert_eq!(steps().count(), 120);
        assert!(steps().all(|line| line["penalty"].as_f64().unwrap() > 0.0), "each step has its penalty");
        let config = whole.json("adapter_config.json");
        assert_eq!((&config["r"], &config["init_lora_weights"]), (&json!(rank), &json!(true)));

        // Evaluated beside the untouched base, it is what was trained: the same loss on the same rows.
        let evaluate = json!({
            "model": "tuned", "data": "tokens/dev", "protocol": "perplexity", "metrics": ["perplexity"],
        });
        let tuned = space.adapter("whole", space.model("base"));
        let metrics = space.run(&space.job("scores", "evaluate", &evaluate, Some(tuned), Some("dev")));
        let metrics = metrics.expect_finished().json("metrics.json");
        let perplexity = metrics["headline"]["perplexity.perplexity"].as_f64().unwrap();
        let loss = whole.json("summary.json")["validation_loss"].as_f64().unwrap();
        assert!((perplexity.ln() - loss).abs() < 1e-5, "{metrics}, loss {loss}");
    }
}

#[test]
fn a_damaged_checkpoint_is_passed_over_with_a_warning() {
    let (space, settings) = space("lora");
    let whole = space.run(&job(&space, "whole", &settings)).expect_finished();
    let damages: [fn(&Path, &Path); 3] = [
        |tensors, _| {
            let mut bytes = fs::read(tensors).unwrap();
            let last = bytes.len() - 5;
            bytes[last] ^= 1;
            fs::write(tensors, bytes).unwrap();
        },
        |_, digest| fs::write(digest, "").unwrap(),
        |tensors, _| fs::remove_file(tensors).unwrap(),
    ];
    for (index, damage) in damages.into_iter().enumerate() {
        let killed = job(&space, &format!("killed-{index}"), &settings);
        kill_after(space.start(&killed), &killed, 40, Duration::ZERO);
        let newest = newest(&killed);
        damage(&checkpoint(&killed, newest, "safetensors"), &checkpoint(&killed, newest, "blake3"));
        let resumed = space.run(&killed).expect_finished();
        let warnings = resumed.warnings().join("\n");
        assert!(warnings.contains(&format!("the checkpoint of step {newest} cannot be used")), "{warnings}");
        assert!(warnings.contains(&format!("going on from the checkpoint of step {}", newest - 10)), "{warnings}");
        assert_same(&whole, &resumed);
    }
    // Nothing is left to go on from: a history that is too short spoils every checkpoint.
    let killed = job(&space, "no-history", &settings);
    kill_after(space.start(&killed), &killed, 40, Duration::ZERO);
    fs::write(killed.state.join("history.jsonl"), "").unwrap();
    let restarted = space.run(&killed).expect_finished();
    assert_eq!(restarted.measured()["resumed_from"], Value::Null);
    assert_same(&whole, &restarted);
}

fn newest(job: &Job) -> u64 {
    let step = |entry: std::io::Result<fs::DirEntry>| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.strip_prefix("step-")?.strip_suffix(".blake3")?.parse::<u64>().ok()
    };
    fs::read_dir(job.state.join("checkpoints")).unwrap().filter_map(step).max().unwrap()
}

#[test]
#[cfg(unix)]
fn a_polite_end_saves_the_step_it_is_at() {
    let (space, settings) = space("lora");
    let whole = space.run(&job(&space, "whole", &settings)).expect_finished();
    let ended = job(&space, "ended", &settings);
    let mut child = space.start(&ended);
    wait_for(&mut child, &checkpoint(&ended, 20, "blake3"));
    assert!(std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    let outcome = done(child, &ended);
    assert!(!outcome.finished);
    assert!(outcome.failure().message.starts_with("interrupted"), "{:?}", outcome.failure());
    assert_same(&whole, &space.run(&ended).expect_finished());
}
