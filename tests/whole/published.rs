//! The small models and sets of `datasets/` on the tests' hub, under the names that the studies download, and a study's
//! downloads as its file has them. Knows no study's stages.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_yaml::Value;

use crate::{hub::server::Hub, project::Project};

/// Models by the names that studies give them, with the folder of `datasets/tiny_models` that stands for each.
const MODELS: [(&str, &str); 5] = [
    ("google/gemma-3-1b-it", "gemma3"),
    ("yahma/llama-7b-hf", "llama"),
    ("FacebookAI/roberta-base", "roberta"),
    ("FacebookAI/roberta-large", "roberta"),
    ("ai-forever/ruT5-large", "t5"),
];

/// Data sets by the names that studies give them: their configurations, each with its folder of `datasets/`.
const SETS: [(&str, &[(&str, &str)]); 8] = [
    ("rajpurkar/squad_v2", &[("squad_v2", "quickstart")]),
    ("google/boolq", &[("default", "commonsense/boolq")]),
    ("Rowan/hellaswag", &[("default", "commonsense/hellaswag")]),
    ("allenai/winogrande", &[("winogrande_xs", "commonsense/boolq"), ("winogrande_xl", "commonsense/winogrande")]),
    (
        "nyu-mll/glue",
        &[
            ("cola", "glue/cola"),
            ("mnli", "glue/mnli"),
            ("mrpc", "glue/mrpc"),
            ("qnli", "glue/qnli"),
            ("qqp", "glue/qqp"),
            ("rte", "glue/rte"),
            ("sst2", "glue/sst2"),
            ("stsb", "glue/stsb"),
        ],
    ),
    ("fancyzhx/ag_news", &[("default", "ag_news")]),
    ("stanfordnlp/snli", &[("plain_text", "snli")]),
    ("lksy/ru_instruct_gpt4", &[("default", "ru_instruct")]),
];

/// A hub that has all of it, and the address of LLM-Adapters' files on it.
pub fn hub() -> (Hub, String) {
    let hub = Hub::new();
    for (name, folder) in MODELS {
        commit(&hub, &format!("models/{name}"), files(&Path::new("tiny_models").join(folder)));
    }
    for (name, configs) in SETS {
        let mut readme = "---\nconfigs:\n".to_owned();
        let mut all = Vec::new();
        for (config, folder) in configs {
            readme.push_str(&format!("- config_name: {config}\n  data_files:\n"));
            for (file, bytes) in files(Path::new(folder)) {
                let Some((split, "json" | "jsonl" | "tsv")) = file.split_once('.') else { continue };
                readme.push_str(&format!("  - split: {split}\n    path: {config}/{file}\n"));
                all.push((format!("{config}/{file}"), bytes));
            }
        }
        all.push(("README.md".to_owned(), format!("{readme}---\n").into_bytes()));
        commit(&hub, &format!("datasets/{name}"), all);
    }
    let questions = files(Path::new("llm_adapters")).into_iter().map(|(name, bytes)| match name.as_str() {
        "train.json" => ("ft-training_set/commonsense_170k.json".to_owned(), bytes),
        _ => (format!("dataset/{name}"), bytes),
    });
    let commit = commit(&hub, "datasets/agi-edgerunners/llm-adapters", questions.collect());
    let address = format!("{}/datasets/agi-edgerunners/llm-adapters/resolve/{commit}", hub.endpoint);
    (hub, address)
}

fn commit(hub: &Hub, name: &str, files: Vec<(String, Vec<u8>)>) -> String {
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    hub.commit(name, "main", &files)
}

/// All files below a folder of `datasets/`, by their paths in it.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets").join(folder);
    let mut all = Vec::new();
    let mut open: Vec<PathBuf> = vec![root.clone()];
    while let Some(folder) = open.pop() {
        for item in fs::read_dir(folder).unwrap() {
            let path = item.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
                all.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    all.sort();
    all
}

/// Settings that take back each folder that a file's profile `tiny` downloads from: what the file itself says there.
pub fn downloads(project: &Project, file: &str) -> Vec<String> {
    let whole: Value = serde_yaml::from_str(&project.text(file)).unwrap();
    let mut found = Vec::new();
    for (place, value) in whole["profiles"]["tiny"].as_mapping().unwrap() {
        let place = place.as_str().unwrap();
        let stands = place.split('.').fold(&whole, |value, key| &value[key]);
        take_back(place, value, stands, &mut found);
    }
    assert!(!found.is_empty());
    found
}

fn take_back(place: &str, value: &Value, stands: &Value, found: &mut Vec<String>) {
    let Some(entries) = value.as_mapping() else { return };
    if value.get("path").is_some() {
        found.push(format!("{place}={}", serde_json::to_string(stands).unwrap()));
        return;
    }
    for (key, value) in entries {
        if let Some(key) = key.as_str() {
            take_back(&format!("{place}.{key}"), value, &stands[key], found);
        }
    }
}
