//! Model folders, whole and broken: each break is an error that names its place, never a panic.

use std::path::Path;

use crate::fixtures::{Variant, change_json, copy_folder};
use learn::Error;
use learn::adapters::{Frozen, Full, Method};
use learn::models::Model;
use learn::peft::Saved;
use learn::weights::SafetensorsFile;
use serde_json::{Value, json};
use tch::Device;

fn load(folder: &Path) -> Result<Model, Error> {
    Model::load(folder, &Frozen, 0, Device::Cpu)
}

/// The error and its hint after `break_it` has changed a copy of a variant's folder.
fn broken(variant: &str, break_it: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&Variant::read(variant).model_folder(), folder.path());
    load(folder.path()).unwrap();
    break_it(folder.path());
    let error = load(folder.path()).unwrap_err();
    let text = format!("{error} / {}", error.hint().unwrap_or("no hint"));
    text.replace(&folder.path().display().to_string(), "MODEL")
}

fn config(folder: &Path, change: impl FnOnce(&mut Value)) {
    change_json(&folder.join("config.json"), change);
}

/// A change of a settings file.
type Edit = fn(&mut Value);

#[test]
fn configurations_that_do_not_fit_the_weights() {
    let text = broken("biases", |folder| config(folder, |c| c["num_hidden_layers"] = json!(3)));
    assert!(text.starts_with("MODEL: the weights have no tensor `model.layers.2.input_layernorm.weight`"), "{text}");
    let text = broken("biases", |folder| config(folder, |c| c["num_hidden_layers"] = json!(1)));
    assert!(
        text.starts_with("MODEL: 16 of the weights' tensors have no place in the model: `model.layers.1."),
        "{text}"
    );
    let text = broken("biases", |folder| config(folder, |c| c["mlp_bias"] = json!(false)));
    assert!(text.contains("`model.layers.0.mlp.down_proj.bias`, "), "{text}");
    let text = broken("biases", |folder| config(folder, |c| c["intermediate_size"] = json!(41)));
    assert!(
        text.contains("model.layers.0.mlp.gate_proj.weight` has shape [40, 24], config.json asks for [41, 24]"),
        "{text}"
    );
    let text = broken("untied_grouped", |folder| config(folder, |c| c["tie_word_embeddings"] = json!(true)));
    assert!(text.starts_with("lm_head.weight: config.json ties it to the embedding"), "{text}");
    let text = broken("tied_multi_head", |folder| config(folder, |c| c["tie_word_embeddings"] = json!(false)));
    assert!(text.contains("no tensor `lm_head.weight`"), "{text}");
}

#[test]
fn configurations_that_make_no_sense() {
    let cases: [(&str, Edit, &str); 12] = [
        (
            "family",
            |c| c["model_type"] = json!("lama"),
            "model_type: the family `lama` is not known / did you mean `llama`?",
        ),
        ("no family", |c| c["model_type"] = json!(null), "model_type: is not there"),
        ("activation", |c| c["hidden_act"] = json!("gelu"), "hidden_act: is `gelu`"),
        ("heads", |c| c["num_key_value_heads"] = json!(3), "num_key_value_heads: 3 does not divide"),
        ("zero", |c| c["num_attention_heads"] = json!(0), "num_attention_heads: is 0"),
        ("odd", |c| c["head_dim"] = json!(5), "head_dim: is 5 / rotary embedding needs an even width"),
        ("text", |c| c["hidden_size"] = json!("24"), "config.json: hidden_size: invalid type"),
        ("absent", |c| drop(c.as_object_mut().unwrap().remove("vocab_size")), "missing field `vocab_size`"),
        ("rope", |c| c["rope_parameters"]["rope_type"] = json!("yarn"), "rope_type: the scaling `yarn` is not known"),
        (
            "llama3",
            |c| c["rope_parameters"]["rope_type"] = json!("llama3"),
            "rope_parameters.factor: llama3 scaling needs it",
        ),
        ("theta", |c| c["rope_parameters"]["rope_theta"] = json!(-1), "rope_theta: is -1"),
        ("quantized", |c| c["quantization_config"] = json!({"bits": 4}), "quantized weights cannot be read"),
    ];
    for (what, change, expected) in cases {
        let text = broken("untied_grouped", |folder| config(folder, change));
        assert!(text.contains(expected), "{what}: {text}");
    }
    let text = broken("biases", |folder| std::fs::write(folder.join("config.json"), "{").unwrap());
    assert!(text.starts_with("MODEL/config.json: is no valid JSON"), "{text}");
    let text = broken("biases", |folder| std::fs::remove_file(folder.join("config.json")).unwrap());
    assert!(text.starts_with("cannot read MODEL/config.json: No such file"), "{text}");
}

#[test]
fn weight_files_that_are_cut_or_lie() {
    let cut = |length: fn(usize) -> usize| {
        broken("biases", move |folder| {
            let path = folder.join("model.safetensors");
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..length(bytes.len())]).unwrap();
        })
    };
    assert!(
        cut(|length| length - 1).starts_with("MODEL/model.safetensors: the file is shorter or longer than its header")
    );
    assert!(cut(|_| 100).starts_with("MODEL/model.safetensors: the file ends inside its header"));
    assert!(cut(|_| 5).starts_with("MODEL/model.safetensors: the file ends inside its header"));
    let empty = cut(|_| 0);
    assert!(empty.starts_with("MODEL/model.safetensors: the file ends inside its header"), "{empty}");

    let header = |from: &'static str, to: &'static str| {
        assert_eq!(from.len(), to.len());
        broken("biases", move |folder| {
            let path = folder.join("model.safetensors");
            let mut bytes = std::fs::read(&path).unwrap();
            let at = bytes.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            std::fs::write(&path, bytes).unwrap();
        })
    };
    assert!(header("[61,24]", "[62,24]").contains("a tensor's shape does not fit its number of bytes"));
    assert!(header("\"data_offsets\":[0,", "\"data_offsets\":[8,").contains("in the file is not valid"));
    assert!(header("\"dtype\"", "\"dtipe\"").contains("is no valid safetensors file"));
    assert!(header("\"F32\"", "\"I32\"").contains("is stored as I32"));
    let text = header("model.norm.weight", "model.nrom.weight");
    assert!(
        text.contains("no tensor `model.norm.weight`") && text.contains("nearest name there is `model.nrom.weight`"),
        "{text}"
    );
}

#[test]
fn shards_that_are_missing_or_disagree_with_their_index() {
    const FIRST: &str = "model-00001-of-00003.safetensors";
    let index = |change: fn(&mut Value)| {
        broken("sharded_float16", move |folder| change_json(&folder.join("model.safetensors.index.json"), change))
    };
    let text = broken("sharded_float16", |folder| std::fs::remove_file(folder.join(FIRST)).unwrap());
    assert!(text.starts_with(&format!("MODEL/{FIRST}: this shard is not there")), "{text}");
    let cut = |folder: &Path, file: &str| {
        let bytes = std::fs::read(folder.join(file)).unwrap();
        std::fs::write(folder.join(file), &bytes[..bytes.len() - 2]).unwrap();
    };
    let text = broken("sharded_float16", |folder| cut(folder, FIRST));
    assert!(text.starts_with(&format!("MODEL/{FIRST}: the file is shorter or longer than its header says")), "{text}");
    let text = index(|index| index["weight_map"]["extra"] = json!(FIRST));
    assert!(text.contains("has no tensor `extra`"), "{text}");
    let text = index(|index| drop(index["weight_map"].as_object_mut().unwrap().remove("model.norm.weight")));
    assert!(text.contains("holds the tensor `model.norm.weight`"), "{text}");
    let text = index(|index| index["weight_map"]["model.norm.weight"] = json!("../outside.safetensors"));
    assert!(text.contains("`../outside.safetensors`, which is not a file of this folder"), "{text}");
    let text = index(|index| *index = json!({}));
    assert!(text.contains("is no valid index of shards: missing field `weight_map`"), "{text}");
}

#[test]
fn folders_without_readable_weights() {
    let folder = tempfile::tempdir().unwrap();
    let model = Variant::read("biases").model_folder();
    std::fs::copy(model.join("config.json"), folder.path().join("config.json")).unwrap();
    assert!(load(folder.path()).unwrap_err().to_string().contains("has neither model.safetensors nor"));
    std::fs::write(folder.path().join("pytorch_model.bin"), "x").unwrap();
    let error = load(folder.path()).unwrap_err();
    assert!(error.to_string().contains("pytorch_model.bin: is no checkpoint of torch"), "{error}");
    assert!(error.hint().unwrap().contains("fetch the file again"));
}

#[test]
fn a_second_copy_of_a_tied_head_and_stored_frequencies_are_accepted() {
    let variant = Variant::read("tied_multi_head");
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&variant.model_folder(), folder.path());
    let path = folder.path().join("model.safetensors");
    let mut tensors = tch::Tensor::read_safetensors(&path).unwrap();
    let embedding = tensors.iter().find(|(name, _)| name == "model.embed_tokens.weight").unwrap().1.copy();
    tensors.push(("model.layers.0.self_attn.rotary_emb.inv_freq".into(), embedding.get(0)));
    tensors.push(("lm_head.weight".into(), embedding));
    learn::weights::write_tensors(&path, &tensors).unwrap();
    load(folder.path()).unwrap();
}

#[test]
fn written_files_have_the_metadata_and_the_same_bytes_each_time() {
    let variant = Variant::read("untied_grouped");
    let write = || {
        let folder = tempfile::tempdir().unwrap();
        Full.save(&Saved::of(&variant.model(&Full), None), folder.path()).unwrap();
        let path = folder.path().join("model.safetensors");
        assert_eq!(SafetensorsFile::open(&path).unwrap().metadata()["format"], "pt");
        std::fs::read(path).unwrap()
    };
    assert_eq!(write(), write());
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let variant = Variant::read("biases");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Full.save(&Saved::of(&variant.model(&Full), None), &file.join("model")).unwrap_err();
    assert!(error.to_string().starts_with("cannot create "), "{error}");
}

#[test]
fn half_precision_files_are_read_as_the_numbers_they_hold() {
    let variant = Variant::read("untied_grouped");
    let exact = variant.model(&Frozen);
    for kind in [tch::Kind::BFloat16, tch::Kind::Half] {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(&variant.model_folder(), folder.path());
        let rounded: Vec<_> =
            exact.frozen.iter().map(|(name, tensor)| (name.to_owned(), tensor.to_kind(kind))).collect();
        learn::weights::write_tensors(&folder.path().join("model.safetensors"), &rounded).unwrap();
        let model = load(folder.path()).unwrap();
        for (name, tensor) in &rounded {
            let found = model.frozen.get(name).unwrap();
            assert_eq!(found.kind(), tch::Kind::Float);
            assert!(found.equal(&tensor.to_kind(tch::Kind::Float)), "{kind:?}: {name}");
            assert!(!found.equal(exact.frozen.get(name).unwrap()), "{kind:?}: {name} was rounded");
        }
    }
}
