//! Logits, losses, gradients of the Llama family, LoRA and DoRA against transformers and PEFT.

use crate::fixtures::{TOLERANCE, VARIANTS, Variant, assert_close};
use learn::adapters::{Frozen, Full};
use learn::models::{Model, read_config};
use learn::weights::Checkpoint;
use tch::Device;

#[test]
fn logits_and_loss_of_the_base_model() {
    for name in VARIANTS {
        let variant = Variant::read(name);
        let model = variant.model(&Frozen);
        let (logits, loss) = variant.forward(&model);
        assert_close(&logits, variant.tensor("base.logits"), TOLERANCE, name);
        assert!((loss.double_value(&[]) / variant.loss("base") - 1.0).abs() < TOLERANCE, "{name}");
        assert!(model.trainable.is_empty() && !loss.requires_grad(), "{name}: nothing may train");
    }
}

#[test]
fn full_fine_tuning_computes_the_base_model_and_trains_every_tensor() {
    for name in VARIANTS {
        let variant = Variant::read(name);
        let model = variant.model(&Full);
        let (logits, loss) = variant.forward(&model);
        assert_close(&logits, variant.tensor("base.logits"), TOLERANCE, name);
        assert!(model.frozen.is_empty());
        loss.backward();
        for (parameter, tensor) in model.trainable.iter() {
            assert!(tensor.grad().defined(), "{name}: {parameter} has no gradient");
        }
    }
}

#[test]
fn logits_loss_and_gradients_of_lora_and_dora() {
    for name in VARIANTS {
        let variant = Variant::read(name);
        for method in ["lora", "dora"] {
            let what = format!("{name}, {method}");
            let model = variant.adapted(method);
            let (logits, loss) = variant.forward(&model);
            assert_close(&logits, variant.tensor(&format!("{method}.logits")), TOLERANCE, &what);
            assert!((loss.double_value(&[]) / variant.loss(method) - 1.0).abs() < TOLERANCE, "{what}");
            loss.backward();
            let expected = variant.gradients(method);
            assert_eq!(expected.len(), model.trainable.len(), "{what}");
            for (parameter, tensor) in model.trainable.iter() {
                assert_close(
                    &tensor.grad(),
                    expected[parameter],
                    TOLERANCE,
                    &format!("{what}, gradient of {parameter}"),
                );
            }
            for (parameter, tensor) in model.frozen.iter() {
                assert!(!tensor.requires_grad() && !tensor.grad().defined(), "{what}: {parameter} is frozen");
            }
        }
    }
}

#[test]
fn the_older_keys_of_rope_scaling_mean_the_same() {
    let variant = Variant::read("llama3_rope");
    let config = serde_json::from_slice(&std::fs::read(variant.folder.join("config_old_keys.json")).unwrap()).unwrap();
    assert_ne!(config, read_config(&variant.model_folder()).unwrap());
    let mut weights = Checkpoint::open(&variant.model_folder(), Device::Cpu).unwrap();
    let model = Model::build(&config, &mut weights, &Frozen, 0, Device::Cpu).unwrap();
    assert_close(&variant.forward(&model).0, variant.tensor("base.logits"), TOLERANCE, "old keys");
}
