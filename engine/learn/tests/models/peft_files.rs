//! Adapters in PEFT's format: what is written, what is read, and what is refused.

use std::path::Path;

use crate::fixtures::{TOLERANCE, VARIANTS, Variant, assert_close, change_json, copy_folder, low_rank};
use learn::adapters::{self, saved_method};
use learn::peft::Saved;
use learn::weights::{SafetensorsFile, write_tensors};
use serde_json::{Value, json};
use tch::Tensor;

#[test]
fn what_is_saved_is_what_peft_saved() {
    for name in VARIANTS {
        let variant = Variant::read(name);
        for method in ["lora", "dora"] {
            let model = variant.adapted(method);
            let folder = tempfile::tempdir().unwrap();
            let made = low_rank(&variant, method, variant.alpha(), 0.0);
            made.save(&Saved::of(&model, Some("some/base")), folder.path()).unwrap();
            let theirs = SafetensorsFile::open(&variant.folder.join(method).join("adapter_model.safetensors")).unwrap();
            let ours = SafetensorsFile::open(&folder.path().join("adapter_model.safetensors")).unwrap();
            assert_eq!(ours.names(), theirs.names(), "{name}, {method}");
            assert_eq!(ours.metadata()["format"], "pt");
            for key in ours.names() {
                let (ours, theirs) = (tensor(&ours, &key), tensor(&theirs, &key));
                assert!(ours.equal(&theirs), "{name}, {method}: {key}");
            }
            let read = |path: &Path| serde_json::from_slice::<Value>(&std::fs::read(path).unwrap()).unwrap();
            let theirs = read(&variant.folder.join(method).join("adapter_config.json"));
            let ours = read(&folder.path().join("adapter_config.json"));
            for (key, value) in ours.as_object().unwrap() {
                match key.as_str() {
                    "base_model_name_or_path" => assert_eq!(value, "some/base"),
                    "target_modules" => assert_eq!(sorted(value), sorted(&theirs[key])),
                    _ => assert_eq!(value, &theirs[key], "{key}"),
                }
            }
        }
    }
}

fn tensor(file: &SafetensorsFile, key: &str) -> Tensor {
    file.tensor(key, tch::Device::Cpu, tch::Kind::Float).unwrap()
}

fn sorted(names: &Value) -> Vec<&str> {
    let mut names: Vec<_> = names.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

#[test]
fn rank_stabilised_scale_is_read_as_the_same_scale() {
    let variant = Variant::read("biases");
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&variant.folder.join("lora"), folder.path());
    change_json(&folder.path().join("adapter_config.json"), |config| {
        config["use_rslora"] = json!(true);
        config["lora_alpha"] = json!(variant.alpha() / (variant.rank() as f64).sqrt());
    });
    let mut model = variant.model(saved_method(folder.path()).unwrap().as_ref());
    adapters::load(folder.path(), &mut model.trainable).unwrap();
    assert_close(&variant.forward(&model).0, variant.tensor("lora.logits"), TOLERANCE, "rsLoRA");
}

/// The error after `break_it` has changed a copy of the DoRA adapter.
fn broken(break_it: impl FnOnce(&Path)) -> String {
    let variant = Variant::read("biases");
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&variant.folder.join("dora"), folder.path());
    break_it(folder.path());
    let error = saved_method(folder.path())
        .and_then(|method| learn::models::Model::load(&variant.model_folder(), method.as_ref(), 0, tch::Device::Cpu))
        .and_then(|mut model| adapters::load(folder.path(), &mut model.trainable))
        .unwrap_err();
    let text = format!("{error} / {}", error.hint().unwrap_or("no hint"));
    text.replace(&folder.path().display().to_string(), "ADAPTER")
}

#[test]
fn settings_that_are_not_known_are_refused() {
    let cases: [(&str, Value, &str); 12] = [
        ("rank_pattern", json!({"q_proj": 8}), "the model's has [8, 24]"),
        ("rank_pattern", json!({"q_proj": "8"}), "rank_pattern: `\"8\"` is no number for it"),
        ("modules_to_save", json!(["lm_head"]), "`modules_to_save` names `lm_head`"),
        ("layers_to_transform", json!([0]), "matches nothing in the model"),
        ("exclude_modules", json!(["q_proj"]), "q_proj.lora_A.weight` matches nothing in the model"),
        ("bias", json!("all"), "k_proj.bias"),
        ("fan_in_fan_out", json!(true), "`fan_in_fan_out` is set, and its meaning is not known here"),
        ("init_lora_weights", json!("pissa"), "`init_lora_weights` is `pissa`"),
        ("peft_type", json!("LOHA"), "its adapter is of the type `LOHA`"),
        ("r", json!("3"), "r: invalid type"),
        ("target_modules", json!(null), "target_modules: names no module"),
        ("target_modules", json!(["query"]), "no linear map is called `query`"),
    ];
    for (key, value, expected) in cases {
        let text = broken(|folder| change_json(&folder.join("adapter_config.json"), |config| config[key] = value));
        assert!(text.contains(expected), "{key}: {text}");
    }
    let text = broken(|folder| std::fs::remove_file(folder.join("adapter_config.json")).unwrap());
    assert!(text.starts_with("cannot read ADAPTER/adapter_config.json"), "{text}");
}

#[test]
fn keys_that_match_nothing_are_missing_or_misshapen_are_named() {
    const KEY: &str = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight";
    let change = |change: fn(&mut Vec<(String, Tensor)>)| {
        broken(move |folder| {
            let path = folder.join("adapter_model.safetensors");
            let mut tensors = Tensor::read_safetensors(&path).unwrap();
            tensors.sort_by(|a, b| a.0.cmp(&b.0));
            change(&mut tensors);
            write_tensors(&path, &tensors).unwrap();
        })
    };
    let text = change(|tensors| {
        let place = tensors.iter().position(|(name, _)| name == KEY).unwrap();
        tensors[place].0 = KEY.replace("lora_A", "lora_a");
    });
    assert!(text.contains("layers.1.self_attn.q_proj.lora_a.weight` matches nothing in the model"), "{text}");
    assert!(text.contains(&format!("the nearest one that the model has is `{KEY}`")), "{text}");
    let text = change(|tensors| tensors.retain(|(name, _)| name != KEY));
    assert!(text.contains(&format!("a tensor of the adapter is missing: `{KEY}`")), "{text}");
    let text = change(|tensors| {
        let place = tensors.iter().position(|(name, _)| name == KEY).unwrap();
        tensors[place].1 = tensors[place].1.narrow(0, 0, 2);
    });
    assert!(text.contains(&format!("the tensor `{KEY}` has shape [2, 24], the model's has [3, 24]")), "{text}");
    let text = broken(|folder| {
        let path = folder.join("adapter_model.safetensors");
        std::fs::rename(path, folder.join("adapter_model.bin")).unwrap();
    });
    assert!(text.starts_with("ADAPTER/adapter_model.bin: is no checkpoint of torch"), "{text}");
}
