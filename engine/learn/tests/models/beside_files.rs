//! The files of methods that put something beside a model: what is saved is what PEFT and adapter-hub saved, and what does not
//! fit is named.

use std::collections::HashMap;
use std::path::Path;

use learn::adapters::{self, saved_method};
use learn::layers::Mode;
use learn::models::Model;
use learn::peft::Saved;
use learn::weights::{SafetensorsFile, write_tensors};
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

use crate::beside::{FAMILIES, Golden};
use crate::fixtures::{TOLERANCE, assert_close, change_json, copy_folder};

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn safetensors(folder: &Path, name: &str) -> HashMap<String, Tensor> {
    let file = SafetensorsFile::open(&folder.join(name)).unwrap();
    assert_eq!(file.metadata()["format"], "pt");
    file.names().into_iter().map(|key| (key.clone(), file.tensor(&key, Device::Cpu, Kind::Float).unwrap())).collect()
}

#[test]
fn what_is_saved_is_what_peft_saved() {
    for family in FAMILIES {
        let golden = Golden::read(family);
        let methods =
            if family == "llama" { &["ia3", "vera", "series_linear", "parallel_linear"][..] } else { &["ia3", "vera"] };
        for method in methods {
            let what = format!("{family}, {method}");
            let theirs = golden.folder.join(method);
            let model = golden.adapted(method);
            let folder = tempfile::tempdir().unwrap();
            saved_method(&theirs).unwrap().save(&Saved::of(&model, Some("")), folder.path()).unwrap();
            let stored = Tensor::read_safetensors(theirs.join("adapter_model.safetensors")).unwrap();
            let ours = safetensors(folder.path(), "adapter_model.safetensors");
            assert_eq!(ours.len(), stored.len(), "{what}");
            for (key, tensor) in stored {
                assert!(ours[&key].equal(&tensor), "{what}: {key}");
            }
            let (ours, theirs) =
                (read(&folder.path().join("adapter_config.json")), read(&theirs.join("adapter_config.json")));
            for (key, value) in ours.as_object().unwrap() {
                let same = match key.as_str() {
                    // Without a task, as the golden T5 has none, and by other ends of the same names.
                    "task_type" if family == "t5" => value == "SEQ_2_SEQ_LM",
                    "modules_to_save" if family == "roberta" => value == &json!(["classifier"]),
                    "target_modules" | "feedforward_modules" if family == "roberta" => value.is_array(),
                    "auto_mapping" | "revision" if method.ends_with("linear") || family == "t5" => true,
                    _ => theirs.get(key) == Some(value),
                };
                assert!(same, "{what}: {key} is {value}, PEFT's {:?}", theirs.get(key));
            }
            // Saved once more it is the same, byte by byte.
            let again = tempfile::tempdir().unwrap();
            let model = golden.adapted_from(folder.path(), Device::Cpu);
            saved_method(folder.path()).unwrap().save(&Saved::of(&model, Some("")), again.path()).unwrap();
            for name in ["adapter_config.json", "adapter_model.safetensors"] {
                let bytes = |folder: &Path| std::fs::read(folder.join(name)).unwrap();
                assert_eq!(bytes(folder.path()), bytes(again.path()), "{what}: {name}");
            }
        }
    }
}

#[test]
fn what_is_saved_is_what_adapter_hub_saved() {
    for family in FAMILIES {
        let golden = Golden::read(family);
        for method in ["houlsby", "pfeiffer", "parallel"] {
            let what = format!("{family}, {method}");
            let theirs = golden.folder.join(method);
            let model = golden.adapted(method);
            let folder = tempfile::tempdir().unwrap();
            saved_method(&theirs).unwrap().save(&Saved::of(&model, None), folder.path()).unwrap();
            // A norm that stands twice was saved by torch.save.
            if theirs.join("adapter.safetensors").exists() {
                let stored = Tensor::read_safetensors(theirs.join("adapter.safetensors")).unwrap();
                let ours = safetensors(folder.path(), "adapter.safetensors");
                assert_eq!(ours.len(), stored.len(), "{what}");
                for (key, tensor) in stored {
                    assert!(ours[&key.replace(".some_task.", ".default.")].equal(&tensor), "{what}: {key}");
                }
            }
            let (ours, theirs) =
                (read(&folder.path().join("adapter_config.json")), read(&theirs.join("adapter_config.json")));
            for (key, value) in theirs.as_object().unwrap() {
                match key.as_str() {
                    "name" => assert_eq!(ours[key], "default"),
                    "config" => {
                        for (key, value) in value.as_object().unwrap() {
                            assert_eq!(&ours["config"][key], value, "{what}: {key}");
                        }
                    }
                    "hidden_size" if family == "t5" => {}
                    _ => assert_eq!(&ours[key], value, "{what}: {key}"),
                }
            }
            assert_eq!(folder.path().join("head_config.json").exists(), family == "roberta", "{what}");
            // Loaded again it computes the same, and saved again it is the same.
            let loaded = golden.adapted_from(folder.path(), Device::Cpu);
            assert!(golden.outputs(&loaded, Mode::Eval).equal(&golden.outputs(&model, Mode::Eval)), "{what}");
            assert_eq!(learn::peft::task(folder.path()).unwrap(), golden.task(), "{what}");
            let again = tempfile::tempdir().unwrap();
            saved_method(folder.path()).unwrap().save(&Saved::of(&loaded, None), again.path()).unwrap();
            let bytes = |folder: &Path| std::fs::read(folder.join("adapter.safetensors")).unwrap();
            assert_eq!(bytes(folder.path()), bytes(again.path()), "{what}");
        }
    }
}

/// The error after `break_it` has changed a copy of an adapter.
fn broken(family: &'static str, method: &str, break_it: impl FnOnce(&Path)) -> String {
    let golden = Golden::read(family);
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&golden.folder.join(method), folder.path());
    break_it(folder.path());
    let error = saved_method(folder.path())
        .and_then(|method| {
            Model::load_for(golden.task(), &golden.folder.join("model"), method.as_ref(), 0, Device::Cpu)
        })
        .and_then(|mut model| adapters::load(folder.path(), &mut model.trainable))
        .unwrap_err();
    format!("{error} / {}", error.hint().unwrap_or("no hint")).replace(&folder.path().display().to_string(), "ADAPTER")
}

#[test]
fn files_that_do_not_fit_are_named() {
    let setting = |family, method, key: &'static str, value: Value| {
        broken(family, method, move |folder| {
            change_json(&folder.join("adapter_config.json"), |config| {
                match config.get_mut("config").filter(|within| within.is_object()) {
                    Some(within) => within[key] = value,
                    None => config[key] = value,
                }
            });
        })
    };
    let cases = [
        ("llama", "ia3", "exclude_modules", json!(["k_proj"]), "`exclude_modules` is set"),
        (
            "llama",
            "ia3",
            "feedforward_modules",
            json!(["o_proj"]),
            "`model.layers.0.self_attn.o_proj`, which is no target",
        ),
        ("llama", "vera", "layers_to_transform", json!([0]), "`layers_to_transform` is set"),
        ("llama", "vera", "bias", json!("all"), "biases were trained too"),
        ("llama", "vera", "r", json!(4), "which is none of rank 4"),
        ("llama", "series_linear", "scaling", json!("learned"), "`scaling` is learned"),
        ("roberta", "pfeiffer", "use_gating", json!(true), "`use_gating` is set"),
        ("roberta", "pfeiffer", "scaling", json!("learned"), "`scaling` is \"learned\""),
        ("roberta", "pfeiffer", "architecture", json!("lora"), "its architecture is `lora`"),
        ("roberta", "pfeiffer", "original_ln_after", json!(false), "no style that is known here"),
        ("roberta", "pfeiffer", "non_linearity", json!("mish"), "unknown variant `mish`"),
        ("roberta", "pfeiffer", "reduction_factor", json!(3), "the model's has [4]"),
        ("roberta", "pfeiffer", "cross_adapter", json!(true), "the model has no sublayer `cross_attention`"),
        ("roberta", "pfeiffer", "leave_out", json!([2]), "the model has no layer 2"),
        ("roberta", "pfeiffer", "leave_out", json!([0, 1]), "leaves out every layer"),
        ("roberta", "pfeiffer", "leave_out", json!([1]), "matches nothing in the model"),
        ("roberta", "pfeiffer", "mh_adapter", json!(true), "tensors of the adapter are missing"),
    ];
    for (family, method, key, value, expected) in cases {
        let text = setting(family, method, key, value);
        assert!(text.contains(expected), "{method}, {key}: {text}");
    }
    let text = setting("roberta", "pfeiffer", "mh_adapter", json!(true));
    let place = "`roberta.encoder.layer.0.attention.output.adapters.default.";
    assert!(
        text.starts_with("ADAPTER/adapter.safetensors") || text.starts_with("ADAPTER/pytorch_adapter.bin"),
        "{text}"
    );
    assert!(text.contains(place), "as the file would have it: {text}");
    let rename = |family, method, file: &'static str, from: &'static str, to: &'static str| {
        broken(family, method, move |folder| {
            let path = folder.join(file);
            let mut tensors = Tensor::read_safetensors(&path).unwrap();
            tensors.sort_by(|a, b| a.0.cmp(&b.0));
            let first = tensors.iter_mut().find(|(name, _)| name.contains(from)).unwrap();
            first.0 = first.0.replace(from, to);
            write_tensors(&path, &tensors).unwrap();
        })
    };
    let text = rename("llama", "ia3", "adapter_model.safetensors", "ia3_l", "ia3_k");
    assert!(
        text.contains("down_proj.ia3_k` matches nothing in the model") && text.contains("down_proj.ia3_l`"),
        "{text}"
    );
    let text = rename("llama", "vera", "adapter_model.safetensors", "vera_lambda_b", "vera_lambda_c");
    assert!(text.contains("vera_lambda_c` matches nothing in the model"), "{text}");
    let text = rename("llama", "vera", "adapter_model.safetensors", "vera_A", "vera_C");
    assert!(text.contains("holds no `base_model.vera_A`, though `save_projection` is true"), "{text}");
    let text = rename("roberta", "pfeiffer", "adapter.safetensors", "adapter_up", "adapter_op");
    assert!(
        text.contains("adapter_op.bias` matches nothing in the model; ") || text.contains("matches nothing"),
        "{text}"
    );
    assert!(text.contains("the nearest one that the model has is `roberta.encoder.layer.0.output.adapters."), "{text}");
    let text = broken("t5", "parallel", |folder| std::fs::remove_file(folder.join("adapter.safetensors")).unwrap());
    assert!(text.starts_with("ADAPTER: holds neither adapter.safetensors nor pytorch_adapter.bin"), "{text}");
}

/// The head with weights of its own, which adapter-hub's library trains beside an adapter, is loaded with it.
#[test]
fn an_output_head_that_was_trained_beside_a_bottleneck_is_loaded() {
    let golden = Golden::read("llama");
    let base = tempfile::tempdir().unwrap();
    copy_folder(&golden.folder.join("model"), base.path());
    change_json(&base.path().join("config.json"), |config| config["tie_word_embeddings"] = json!(false));
    let path = base.path().join("model.safetensors");
    let mut tensors = Tensor::read_safetensors(&path).unwrap();
    let embedding = tensors.iter().find(|(name, _)| name.ends_with("embed_tokens.weight")).unwrap().1.shallow_clone();
    tensors.retain(|(name, _)| name != "lm_head.weight");
    tensors.push(("lm_head.weight".to_owned(), embedding * 0.5));
    write_tensors(&path, &tensors).unwrap();
    let folder = golden.folder.join("pfeiffer");
    let method = saved_method(&folder).unwrap();
    let mut model = Model::load(base.path(), method.as_ref(), 0, Device::Cpu).unwrap();
    adapters::load(&folder, &mut model.trainable).unwrap();
    let expected = &golden.tensors["pfeiffer.outputs"];
    assert_close(
        &golden.outputs(&model, Mode::Eval),
        expected,
        TOLERANCE,
        "the head of the file, not of the base model",
    );
}
