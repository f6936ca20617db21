//! Prefix tuning against PEFT: scores, losses, gradients, twenty steps, greedy texts with a cache, files both ways, and beside
//! other methods. The values are made by `tests/golden/prompts.py`.

use std::path::Path;

use learn::adapters::{self, Lora, Method, Prefix, Prompt, Start, saved_method};
use learn::generate::{Limits, greedy};
use learn::layers::Mode;
use learn::models::Model;
use learn::numerics::{Memory, Numerics};
use learn::peft::Saved;
use learn::targets::{Role, Targets};
use learn::weights::SafetensorsFile;
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::fixtures::{TOLERANCE, assert_close, golden};
use crate::prompts::{DECODERS, Golden, decoder_scores, own, t5_scores};

/// A case; its files lie beside those of prompts.
fn prefix(case: &str) -> Golden {
    let model = match case {
        "gemma3" => golden(DECODERS[1].1),
        "t5" => golden("prefixes/t5/model"),
        _ => golden(DECODERS[0].1),
    };
    let found = Golden::read(&format!("../prefixes/{case}"), "adapter", &model);
    match found.values["model"].as_str() {
        Some(path) => Golden { model: golden(path), ..found },
        None => found,
    }
}

fn check_prefix(case: &str, golden: &Golden, model: &Model) {
    let (found, seen) = match case {
        "t5" => (tch::no_grad(|| t5_scores(golden, model)), golden.tensors["labels"].ge(0).unsqueeze(-1)),
        "bert" | "roberta" => {
            let network = model.network.sequence_classifier().unwrap();
            let texts = golden.texts(model.config["pad_token_id"].as_i64().unwrap());
            let scores = tch::no_grad(|| network.scores(&texts, Mode::Eval).unwrap());
            let seen = scores.ones_like();
            (scores, seen)
        }
        _ => (tch::no_grad(|| decoder_scores(golden, model)), own(golden)),
    };
    assert_close(&(found * &seen), &(&golden.tensors["scores"] * &seen), TOLERANCE, case);
    golden.learn(model);
    if golden.values.get("generation").is_some() {
        golden.continue_texts(model);
    }
    golden.train(model, 2, 1e-4);
}

#[test]
fn prefixes_learn_and_write_as_peft_has_them() {
    for case in ["llama", "gemma3", "t5", "bert", "roberta"] {
        let golden = prefix(case);
        check_prefix(case, &golden, &golden.adapted());
        let recomputed = golden.adapted_as(Numerics { memory: Memory::KeepInputs, ..Device::Cpu.into() });
        golden.train(&recomputed, 3, 1e-4);
    }
}

/// What the maps give is what is saved, and is read as a prefix without them.
#[test]
fn a_projected_prefix_trains_its_maps_and_is_saved_without_them() {
    let golden = prefix("llama_projected");
    let projected = |memory| {
        let method = Prefix::new(5, Some(7)).unwrap();
        let numerics = Numerics { memory, ..Device::Cpu.into() };
        let mut model = Model::load(&golden.model, &method, 0, numerics).unwrap();
        for (name, values) in &golden.tensors {
            if let Some(name) = name.strip_prefix("first.") {
                model.trainable.set(name, values).unwrap();
            }
        }
        (method, model)
    };
    let (method, model) = projected(Memory::KeepActivations);
    let folder = tempfile::tempdir().unwrap();
    method.save(&Saved::of(&model, Some("")), folder.path()).unwrap();
    let numbers = |folder: &Path| {
        let file = SafetensorsFile::open(&folder.join("adapter_model.safetensors")).unwrap();
        assert_eq!(file.names(), ["prompt_embeddings"]);
        file.tensor("prompt_embeddings", Device::Cpu, Kind::Float).unwrap()
    };
    assert_close(&numbers(folder.path()), &numbers(&golden.adapter), 1e-6, "saved");
    let plain = golden.adapted();
    assert_eq!(plain.trainable.elements(), 5 * 2 * 2 * 2 * 8);
    let found = tch::no_grad(|| decoder_scores(&golden, &plain));
    let seen = own(&golden);
    assert_close(&(found * &seen), &(&golden.tensors["scores"] * &seen), TOLERANCE, "without its maps");
    check_prefix("llama", &golden, &model);
    let (_, recomputed) = projected(Memory::KeepInputs);
    golden.train(&recomputed, 3, 1e-4);
}

#[test]
fn prefixes_go_both_ways_through_files() {
    for case in ["llama", "gemma3", "t5", "bert", "roberta"] {
        let golden = prefix(case);
        let (model, folder) = (golden.adapted(), tempfile::tempdir().unwrap());
        saved_method(&golden.adapter).unwrap().save(&Saved::of(&model, Some("")), folder.path()).unwrap();
        let bytes = |folder: &Path| {
            let mut tensors = Tensor::read_safetensors(folder.join("adapter_model.safetensors")).unwrap();
            tensors.sort_by(|one, other| one.0.cmp(&other.0));
            tensors
        };
        for ((name, ours), (wanted, theirs)) in bytes(folder.path()).iter().zip(bytes(&golden.adapter)) {
            assert_eq!(name, &wanted, "{case}");
            assert!(ours.equal(&theirs), "{case}: {name}");
        }
        let read = |folder: &Path| -> Value {
            serde_json::from_slice(&std::fs::read(folder.join("adapter_config.json")).unwrap()).unwrap()
        };
        let (found, wanted) = (read(folder.path()), read(&golden.adapter));
        for (key, value) in found.as_object().unwrap() {
            // PEFT names the modules of heads that there may be, twice.
            if key != "modules_to_save" && key != "encoder_hidden_size" {
                assert_eq!(value, &wanted[key], "{case}: {key}");
            }
        }
        assert!(!model.merges());
    }
}

#[test]
fn prefixes_that_fit_no_model_are_refused() {
    assert_eq!(Prefix::new(0, None).unwrap_err().to_string(), "tokens: is 0");
    assert_eq!(Prefix::new(3, Some(0)).unwrap_err().to_string(), "projection: is 0");
    let problem = |path: &str, tokens| {
        let method = Prefix::new(tokens, None).unwrap();
        Model::load(&golden(path), &method, 0, Device::Cpu).unwrap_err().to_string()
    };
    let text = problem(DECODERS[0].1, 128);
    assert!(text.contains("are 128, the model has positions for 128"), "{text}");
    let text = problem("t5/v1_1/model", 2);
    assert!(text.contains("the model has 2 layers that read and 3 that write"), "{text}");
}

/// A prefix, a prompt and LoRA at once: a cache gives what whole texts give.
#[test]
fn a_prefix_goes_with_a_prompt_and_with_lora() {
    for (_, path) in DECODERS {
        let parts: Vec<Box<dyn Method>> = vec![
            Box::new(Lora::new(2, 4.0, 0.0, Targets::Roles(vec![Role::AttentionQ])).unwrap()),
            Box::new(Prompt::new(3, Start::Random).unwrap()),
            Box::new(Prefix::new(4, None).unwrap()),
        ];
        let method = adapters::Combined::new(parts).unwrap();
        let model = Model::load(&golden(path), &method, 5, Device::Cpu).unwrap();
        assert_eq!(model.added_positions(), 7);
        let mut prompts: Vec<Vec<i64>> = vec![vec![7, 12, 30, 4, 9, 21, 33, 6, 11, 14, 8, 40], vec![5, 6], vec![9; 7]];
        // What many begin with is read in a pass of its own.
        let longer = |id| prompts[0].iter().copied().chain([id]).collect();
        let many: Vec<Vec<i64>> = (3..20).map(longer).collect();
        prompts.extend(many);
        let limits = Limits { end_ids: Vec::new(), max_new_tokens: 9, batch: 30 };
        let made = greedy(&model.network, &prompts, &limits, Device::Cpu, &mut |_| {}).unwrap();
        for (prompt, made) in prompts.iter().zip(made) {
            let mut text = prompt.clone();
            for id in made.tokens {
                let scores = model.network.outputs(&Tensor::from_slice(&text).unsqueeze(0)).unwrap();
                assert_eq!(scores.select(1, -1).argmax(-1, false).int64_value(&[0]), id, "{path}");
                text.push(id);
            }
        }
        let folder = tempfile::tempdir().unwrap();
        method.save(&Saved::of(&model, None), folder.path()).unwrap();
        let mut again =
            Model::load(&golden(path), saved_method(folder.path()).unwrap().as_ref(), 6, Device::Cpu).unwrap();
        adapters::load(folder.path(), &mut again.trainable).unwrap();
        for (name, tensor) in model.trainable.iter() {
            assert!(again.trainable.get(name).unwrap().equal(tensor), "{name}");
        }
    }
}
