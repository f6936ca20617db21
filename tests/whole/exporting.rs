//! `engine export`: an adapter's folder, a merged model in the kind of numbers of its base, and what is refused.

use std::fs;

use serde_json::{Value, json};

use crate::{
    project::{FILE, worker},
    tiny::{self, DATA, TRAINING},
};

#[test]
fn adapters_and_models_are_written_as_folders() {
    worker();
    let project = tiny::with_rows(&format!("{DATA}{}", TRAINING.split("  scores:").next().unwrap()));
    project.engine(&["export", FILE, "tuned[method=lora]", "early"]).exit(1).warns(&["is not made yet", "--until"]);
    project.run(&[]).exit(0);
    let json_of = |path: &str| serde_json::from_str::<Value>(&project.text(path)).unwrap();
    let names = |folder: &str| {
        let mut names: Vec<String> = fs::read_dir(project.path(folder))
            .unwrap()
            .map(|item| item.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        names
    };

    let said = project.engine(&["export", FILE, "tuned[method=dora]", "out/dora", "--base", "some/base"]);
    said.exit(0).says(&["out/dora: an adapter of some/base"]);
    assert_eq!(names("out/dora"), ["adapter_config.json", "adapter_model.safetensors"]);
    let mut config = json_of("out/dora/adapter_config.json");
    assert_eq!(config["base_model_name_or_path"], "some/base");
    config["base_model_name_or_path"] = json!(null);
    assert_eq!(config, json_of("outputs/p/tuned/method=dora/adapter_config.json"));
    let weights = |path: &str| fs::read(project.path(path)).unwrap();
    let left = weights("outputs/p/tuned/method=dora/adapter_model.safetensors");
    assert_eq!(weights("out/dora/adapter_model.safetensors"), left);
    fs::write(project.path("out/dora/adapter_model.safetensors"), "may be written").unwrap();

    let said = project.engine(&["export", FILE, "tuned[method=dora]", "out/whole", "--merge"]);
    said.exit(0).says(&["out/whole: a whole model in float32", "of the largest"]);
    let files = ["config.json", "generation_config.json", "merge.json", "model.safetensors", "special_ids.json"];
    assert_eq!(names("out/whole"), [&files[..], &["tokenizer.json"]].concat());
    let merge = json_of("out/whole/merge.json");
    let error = merge["merge_error"].as_f64().unwrap();
    assert!(error > 0.0 && error < 1e-5, "{merge}");
    assert_eq!((&merge["stored_as"], &merge["merge_error_bound"]), (&json!("float32"), &json!(1e-3)));

    let too_far =
        project.engine(&["export", FILE, "tuned[method=dora]", "out/near", "--merge", "--max-error", "1e-12"]);
    too_far.exit(1).warns(&["logits are off by", "at most 1.0e-12 may be", "`max_error` moves the"]);
    assert!(!project.path("out/near").exists(), "what is refused is not there");
    assert_eq!(names("out"), ["dora", "whole"], "nothing half written is left");

    project.engine(&["export", FILE, "base", "out/base"]).exit(0).says(&["out/base: a whole model"]);
    assert_eq!(weights("out/base/model.safetensors"), weights("outputs/p/base/model.safetensors"));
    assert!(!names("out/base").contains(&"history.jsonl".to_owned()));

    let twice = project.engine(&["export", FILE, "base", "out/base"]);
    twice.exit(1).warns(&["the folder is not empty", "name one that does not exist yet"]);
    project.engine(&["export", FILE, "base", "out/other", "--merge"]).exit(1).warns(&["nothing to merge"]);
    project.engine(&["export", FILE, "tuned", "out/other"]).exit(2).warns(&["means 2 members", "tuned[method=lora]"]);
    project.engine(&["export", FILE, "tokens", "out/other"]).exit(1).warns(&["kind `tokenize`: it trains nothing"]);
    project.engine(&["export", FILE, "tuned[method=lora]", "out/other", "--max-error", "1"]).exit(2);
}
