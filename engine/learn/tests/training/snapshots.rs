//! Snapshots: which steps are kept, that each is an adapter or a model by itself, and that a kill changes no byte of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use learn::adapters::{load, saved_method};
use learn::models::Model;
use serde_json::{Value, json};
use tch::{Device, Kind};

use crate::resume::{job, kill_after, with_adapter};
use crate::support::Space;

/// The files below a folder by their paths.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder_now) = open.pop() {
        for entry in fs::read_dir(&folder_now).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn space(adapter: Value, snapshots: Value) -> (Space, Value) {
    let (space, mut settings) = with_adapter(adapter);
    settings["steps"] = json!(60);
    settings["snapshots"] = snapshots;
    (space, settings)
}

fn lora() -> Value {
    json!({ "lora": { "rank": 3, "alpha": 6.0, "dropout": 0.3, "targets": "all-linear" } })
}

#[test]
fn killed_again_and_again_a_training_leaves_the_same_snapshots() {
    let residual = json!({ "lora": { "rank": 2, "alpha": 6.0, "targets": "all-linear", "init": "pissa" } });
    for adapter in [lora(), residual, json!("full")] {
        let (space, settings) = space(adapter.clone(), json!({ "every": { "steps": 7 } }));
        let whole = space.run(&job(&space, "whole", &settings)).expect_finished();
        let killed = job(&space, "killed", &settings);
        for (step, later) in [(10, 3), (30, 0), (40, 2)] {
            kill_after(space.start(&killed), &killed, step, Duration::from_millis(later));
        }
        let resumed = space.run(&killed).expect_finished();
        let (whole, resumed) = (files(&whole.result), files(&resumed.result));
        assert_eq!(whole.keys().collect::<Vec<_>>(), resumed.keys().collect::<Vec<_>>());
        for (name, bytes) in &whole {
            assert!(resumed[name] == *bytes, "{adapter}: {name} differs");
        }
        let folders: Vec<_> =
            whole.keys().filter_map(|name| name.strip_prefix("snapshots/")?.split('/').next()).collect();
        for step in ["000000", "000007", "000056", "000060"] {
            assert!(folders.contains(&format!("step-{step}").as_str()), "{step} of {folders:?}");
        }
    }
}

#[test]
fn a_snapshot_is_an_adapter_and_the_last_is_what_the_training_leaves() {
    let (space, mut settings) = space(lora(), json!({ "every": { "epochs": 1 } }));
    settings["validate"]["keep"] = json!("last");
    let job = job(&space, "tuned", &settings);
    let done = space.run(&job).expect_finished();
    let all = files(&done.result);
    // 160 rows in batches of 8 are 20 steps.
    let steps = ["step-000000", "step-000020", "step-000040", "step-000060"];
    let names: Vec<String> = steps
        .iter()
        .flat_map(|step| ["adapter_config.json", "adapter_model.safetensors"].map(|name| format!("{step}/{name}")))
        .collect();
    assert_eq!(files(&done.result.join("snapshots")).keys().cloned().collect::<Vec<_>>(), names);
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        assert!(all[name] == all[&format!("snapshots/step-000060/{name}")], "{name}");
        let moved = all[name] != all[&format!("snapshots/step-000040/{name}")];
        assert_eq!(moved, name.ends_with("safetensors"));
    }
    let mut norms = Vec::new();
    for step in steps {
        let folder = done.result.join("snapshots").join(step);
        let method = saved_method(&folder).unwrap();
        let mut model = Model::load(&space.path("base"), method.as_ref(), 0, Device::Cpu).unwrap();
        load(&folder, &mut model.trainable).unwrap();
        let b = model.trainable.iter().filter(|(name, _)| name.ends_with("lora_B.weight"));
        norms.push(b.map(|(_, b)| b.abs().sum(Kind::Double).double_value(&[])).sum::<f64>());
    }
    assert_eq!(norms[0], 0.0, "before the first step B is zero");
    assert!(norms.iter().skip(1).all(|norm| *norm > 0.0) && norms[1] != norms[2], "{norms:?}");

    // Asked for or not, the training itself is the same.
    settings.as_object_mut().unwrap().remove("snapshots");
    let plain = space.run(&self::job(&space, "plain", &settings)).expect_finished();
    let plain = files(&plain.result);
    for (name, bytes) in &plain {
        assert!(all[name] == *bytes, "{name}");
    }
    assert!(plain.keys().all(|name| !name.starts_with("snapshots")));
}

#[test]
fn a_training_that_lost_patience_ends_with_a_snapshot_and_keeps_its_best() {
    let (space, mut settings) = space(lora(), json!({ "every": { "steps": 1000 } }));
    settings["optimizer"]["adamw"]["learning_rate"] = json!(0.5);
    settings["validate"] = json!({ "on": "dev", "every": { "steps": 3 }, "keep": { "best": "loss" }, "patience": 2 });
    let done = space.run(&job(&space, "tuned", &settings)).expect_finished();
    let summary = done.json("summary.json");
    assert_eq!(summary["stopped_early"], json!(true), "{summary}");
    let last = format!("step-{:06}", summary["steps"].as_u64().unwrap());
    let names: Vec<_> = fs::read_dir(done.result.join("snapshots")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2);
    assert!(names.iter().any(|name| name.to_string_lossy() == last), "{names:?}");
    let weights = "adapter_model.safetensors";
    assert!(done.bytes(weights) != done.bytes(&format!("snapshots/{last}/{weights}")), "the best is not the last");
}

#[test]
fn a_checkpoint_whose_snapshots_are_gone_is_not_gone_on_from() {
    let (space, settings) = space(lora(), json!({ "every": { "steps": 7 } }));
    let whole = space.run(&job(&space, "whole", &settings)).expect_finished();
    let killed = job(&space, "killed", &settings);
    kill_after(space.start(&killed), &killed, 30, Duration::ZERO);
    fs::remove_dir_all(killed.state.join("snapshots/step-000007")).unwrap();
    let resumed = space.run(&killed).expect_finished();
    assert_eq!(resumed.measured()["resumed_from"], Value::Null);
    assert!(files(&whole.result) == files(&resumed.result));
}
