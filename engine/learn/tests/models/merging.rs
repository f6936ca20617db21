//! `forward(x) = x·merged()ᵀ + bias` in evaluation, for maps, for whole models, and through a saved folder.

use crate::fixtures::{TOLERANCE, VARIANTS, Variant, assert_close, generator, low_rank};
use learn::adapters::{Dora, Frozen, Full, Lora, Method};
use learn::layers::Mode;
use learn::models::Model;
use learn::peft::Saved;
use learn::targets::{Role, Targets};
use tch::{Device, Kind, Tensor};

/// A model with this method and adapter values that are far from the first ones.
fn shaken(variant: &Variant, method: &dyn Method) -> Model {
    let mut model = variant.model(method);
    tch::manual_seed(3);
    let values: Vec<_> = model
        .trainable
        .iter()
        .map(|(name, tensor)| (name.to_owned(), tensor.detach() * 1.1 + tensor.randn_like() * 0.2))
        .collect();
    for (name, tensor) in values {
        model.trainable.set(&name, &tensor).unwrap();
    }
    model
}

#[test]
fn every_map_is_its_merged_weight() {
    let _alone = generator();
    for name in VARIANTS {
        let variant = Variant::read(name);
        for method in ["lora", "dora"] {
            let model = shaken(&variant, low_rank(&variant, method, variant.alpha(), 0.3).as_ref());
            let mut changed = 0;
            for place in model.places() {
                let map = model.map(&place.name).unwrap();
                let merged = map.merged().unwrap();
                assert!(!merged.requires_grad());
                let x = Tensor::randn([2, 5, merged.size2().unwrap().1], (Kind::Float, Device::Cpu));
                let bias = model.frozen.get(&format!("{}.bias", place.name));
                let expected = x.linear(&merged, bias);
                assert_close(&map.forward(&x, Mode::Eval).unwrap(), &expected, TOLERANCE, &place.name);
                if let Some(plain) = model.frozen.get(&format!("{}.weight", place.name)) {
                    changed += usize::from(!plain.equal(&merged));
                }
            }
            assert_eq!(changed, 10, "{name}, {method}: five maps in two layers");
        }
    }
}

fn logits(model: &Model, variant: &Variant) -> Tensor {
    model.network.outputs(variant.tensor("tokens")).unwrap()
}

#[test]
fn a_merged_model_computes_the_same_in_memory_and_from_its_folder() {
    let _alone = generator();
    for name in VARIANTS {
        let variant = Variant::read(name);
        for method in ["lora", "dora"] {
            let model = variant.adapted(method);
            let expected = variant.tensor(&format!("{method}.logits"));
            let merged = model.merged().unwrap();
            assert!(merged.trainable.is_empty());
            assert_close(&logits(&merged, &variant), expected, TOLERANCE, &format!("{name}, {method}"));
            let folder = tempfile::tempdir().unwrap();
            Frozen.save(&Saved::of(&model, None), folder.path()).unwrap();
            let loaded = Model::load(folder.path(), &Frozen, 0, Device::Cpu).unwrap();
            assert!(logits(&loaded, &variant).equal(&logits(&merged, &variant)));
        }
    }
}

#[test]
fn a_fully_tuned_model_is_saved_and_loaded_bit_by_bit() {
    let _alone = generator();
    for name in VARIANTS {
        let variant = Variant::read(name);
        let model = shaken(&variant, &Full);
        let folder = tempfile::tempdir().unwrap();
        Full.save(&Saved::of(&model, None), folder.path()).unwrap();
        let loaded = Model::load(folder.path(), &Frozen, 0, Device::Cpu).unwrap();
        assert_eq!(loaded.frozen.len(), model.trainable.len());
        for (parameter, tensor) in model.trainable.iter() {
            assert!(tensor.equal(loaded.frozen.get(parameter).unwrap()), "{name}: {parameter}");
        }
        assert!(logits(&loaded, &variant).equal(&logits(&model, &variant)), "{name}");
    }
}

#[test]
fn an_adapted_head_that_was_tied_gets_a_tensor_of_its_own_when_merged() {
    let _alone = generator();
    let variant = Variant::read("tied_multi_head");
    let targets = || Targets::Roles(vec![Role::Head, Role::MlpUp]);
    let methods: [Box<dyn Method>; 2] =
        [Box::new(Lora::new(2, 5.0, 0.0, targets()).unwrap()), Box::new(Dora::new(2, 5.0, 0.0, targets()).unwrap())];
    for method in methods {
        let model = shaken(&variant, method.as_ref());
        let (config, tensors) = model.merged_tensors().unwrap();
        assert_eq!(config["tie_word_embeddings"], false);
        let tensor = |wanted: &str| &tensors.iter().find(|(name, _)| name == wanted).unwrap().1;
        assert!(!tensor("lm_head.weight").equal(tensor("model.embed_tokens.weight")));
        assert_close(&logits(&model.merged().unwrap(), &variant), &logits(&model, &variant), TOLERANCE, method.name());
    }
}

#[test]
fn a_tied_head_is_saved_once() {
    let _alone = generator();
    let variant = Variant::read("tied_multi_head");
    let (config, tensors) = variant.adapted("lora").merged_tensors().unwrap();
    assert_eq!(config["tie_word_embeddings"], true);
    assert!(tensors.iter().all(|(name, _)| name != "lm_head.weight"));
}
