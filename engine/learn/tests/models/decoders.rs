//! The decoder families beside Llama 1 to 3 against transformers: hidden states, logits, losses, gradients of every
//! tensor, generation with a cache. The values are made by `tests/golden/decoders.py`.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::fixtures::{TOLERANCE, assert_close, change_json, copy_folder, difference, forward, generator, golden};
use learn::adapters::{Frozen, Full, Lora, Method};
use learn::generate::{Limits, greedy};
use learn::layers::{Cache, Mode};
use learn::models::{Model, read_config};
use learn::numerics::{Memory, Numerics};
use learn::peft::Saved;
use learn::targets::Targets;
use learn::weights::Checkpoint;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

pub const VARIANTS: [&str; 9] = [
    "gemma3_text",
    "gemma3_nested",
    "llama_linear",
    "mistral",
    "mistral_no_window",
    "phi3",
    "phi3_partial",
    "qwen2",
    "qwen3",
];

struct Variant {
    folder: PathBuf,
    values: Value,
    tensors: HashMap<String, Tensor>,
}

impl Variant {
    fn read(name: &str) -> Self {
        let folder = golden("decoders").join(name);
        let values = serde_json::from_slice(&std::fs::read(folder.join("values.json")).unwrap()).unwrap();
        let tensors = Tensor::read_safetensors(folder.join("values.safetensors")).unwrap().into_iter().collect();
        Self { folder, values, tensors }
    }

    fn model_folder(&self) -> PathBuf {
        self.folder.join("model")
    }

    fn frozen(&self) -> Model {
        Model::load(&self.model_folder(), &Frozen, 0, Device::Cpu).unwrap()
    }

    /// The model with a changed configuration.
    fn with(&self, change: impl FnOnce(&mut Value)) -> learn::Result<Model> {
        let mut config = read_config(&self.model_folder()).unwrap();
        change(&mut config);
        let mut weights = Checkpoint::open(&self.model_folder(), Device::Cpu).unwrap();
        Model::build(&config, &mut weights, &Frozen, 0, Device::Cpu)
    }

    fn forward(&self, model: &Model) -> (Tensor, Tensor) {
        forward(model, &self.tensors["tokens"], &self.tensors["loss_mask"])
    }

    fn off(&self, model: &Model) -> f64 {
        difference(&self.forward(model).0, &self.tensors["logits"])
    }

    /// Prompts and their golden continuations.
    fn texts(&self) -> Vec<(Vec<i64>, Vec<i64>)> {
        let ids = |value: &Value| value.as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
        let texts = self.values["generation"].as_array().unwrap();
        texts.iter().map(|text| (ids(&text["prompt"]), ids(&text["greedy"]))).collect()
    }
}

#[test]
fn hidden_states_logits_loss_and_every_gradient() {
    for name in VARIANTS {
        let variant = Variant::read(name);
        let model = Model::load(&variant.model_folder(), &Full, 0, Device::Cpu).unwrap();
        let hidden = model.network.causal_lm().unwrap().hidden(&variant.tensors["tokens"], Mode::Eval).unwrap();
        assert_close(&hidden, &variant.tensors["hidden"], TOLERANCE, &format!("{name}, hidden states"));
        let (logits, loss) = variant.forward(&model);
        assert_close(&logits, &variant.tensors["logits"], TOLERANCE, name);
        assert!((loss.double_value(&[]) / variant.values["loss"].as_f64().unwrap() - 1.0).abs() < TOLERANCE, "{name}");
        loss.backward();
        let expected = variant.tensors.keys().filter(|key| key.starts_with("gradient.")).count();
        assert_eq!(model.trainable.len(), expected, "{name}: tensors that train");
        for (parameter, tensor) in model.trainable.iter() {
            let expected = &variant.tensors[&format!("gradient.{parameter}")];
            assert_close(&tensor.grad(), expected, TOLERANCE, &format!("{name}, gradient of {parameter}"));
        }
    }
}

/// In bfloat16, what libtorch's kernels round is not what transformers rounds. Neither may be further from the numbers in
/// float32 than the other by much.
#[test]
fn bfloat16_is_as_near_to_float32_as_transformers_is() {
    for name in VARIANTS {
        let variant = Variant::read(name);
        let numerics = Numerics::all(Kind::BFloat16, Device::Cpu);
        let model = Model::load(&variant.model_folder(), &Frozen, 0, numerics).unwrap();
        assert!(model.frozen.iter().all(|(_, tensor)| tensor.kind() == Kind::BFloat16));
        let hidden = model.network.causal_lm().unwrap().hidden(&variant.tensors["tokens"], Mode::Eval).unwrap();
        let (logits, loss) = variant.forward(&model);
        assert_eq!((hidden.kind(), logits.kind()), (Kind::BFloat16, Kind::BFloat16));
        for (what, found) in [("hidden", hidden), ("logits", logits)] {
            let exact = &variant.tensors[what];
            let off = |found: &Tensor| {
                let off = (found.to_kind(Kind::Float) - exact).square().mean(Kind::Float).sqrt().double_value(&[]);
                off / exact.square().mean(Kind::Float).sqrt().double_value(&[])
            };
            let (found, expected) = (off(&found), off(&variant.tensors[&format!("bf16.{what}")]));
            assert!(
                found > 1e-4 && found < 1.25 * expected,
                "{name}, {what}: {found:.1e}, transformers {expected:.1e}"
            );
        }
        let off = loss.double_value(&[]) - variant.values["loss"].as_f64().unwrap();
        let expected = variant.values["bf16_loss"].as_f64().unwrap() - variant.values["loss"].as_f64().unwrap();
        assert!(
            off.abs() < 0.02 && expected.abs() < 0.02,
            "{name}: loss off by {off:.1e}, transformers by {expected:.1e}"
        );
    }
}

/// Full fine-tuning keeps its weights in float32 and computes in bfloat16; the gradients are those of transformers within
/// what it rounds itself.
#[test]
fn weights_that_train_stay_float32_whatever_is_computed_in() {
    for name in VARIANTS {
        let variant = Variant::read(name);
        for kind in [Kind::BFloat16, Kind::Half] {
            let model = Model::load(&variant.model_folder(), &Full, 0, Numerics::all(kind, Device::Cpu)).unwrap();
            let (logits, loss) = variant.forward(&model);
            assert_eq!(logits.kind(), kind);
            loss.backward();
            let (mut off, mut size) = (0.0, 0.0);
            for (parameter, tensor) in model.trainable.iter() {
                assert_eq!((tensor.kind(), tensor.grad().kind()), (Kind::Float, Kind::Float), "{parameter}");
                let expected = &variant.tensors[&format!("gradient.{parameter}")];
                off += (tensor.grad() - expected).square().sum(Kind::Float).double_value(&[]);
                size += expected.square().sum(Kind::Float).double_value(&[]);
            }
            let expected = variant.values["bf16_gradients_off"].as_f64().unwrap();
            // Half precision has three more bits.
            let (off, bound) = ((off / size).sqrt(), if kind == Kind::Half { expected / 4.0 } else { 1.25 * expected });
            assert!(off < bound, "{name}, {kind:?}: gradients are off by {off:.1e}");
        }
    }
}

/// Dropout of the adapters and of the attention is drawn again as it was drawn.
#[test]
fn recomputed_activations_change_no_loss_and_no_gradient() {
    let _alone = generator();
    for name in VARIANTS {
        let variant = Variant::read(name);
        let mut config = read_config(&variant.model_folder()).unwrap();
        config["attention_dropout"] = json!(0.2);
        let lora = Lora::new(2, 4.0, 0.3, Targets::AllLinear).unwrap();
        for method in [&Full as &dyn Method, &lora] {
            for kind in [Kind::Float, Kind::BFloat16] {
                let pass = |memory: Memory| {
                    let numerics = Numerics { memory, ..Numerics::all(kind, Device::Cpu) };
                    let mut weights = Checkpoint::open(&variant.model_folder(), Device::Cpu).unwrap();
                    let model = Model::build(&config, &mut weights, method, 7, numerics).unwrap();
                    // B is zero in a new adapter, and so would be the gradients of A.
                    for (_, tensor) in model.trainable.iter().filter(|(name, _)| name.ends_with("lora_B.weight")) {
                        let _ = tch::no_grad(|| tensor.shallow_clone().fill_(0.1));
                    }
                    model.activations.begin(9);
                    let (_, loss) = variant.forward(&model);
                    loss.backward();
                    model.activations.backward().unwrap();
                    let gradients: Vec<Tensor> = model.trainable.iter().map(|(_, tensor)| tensor.grad()).collect();
                    (loss.double_value(&[]), gradients)
                };
                let (loss, gradients) = pass(Memory::KeepActivations);
                let (same_loss, same_gradients) = pass(Memory::KeepInputs);
                assert_eq!(loss, same_loss, "{name}, {kind:?}");
                for (one, other) in gradients.iter().zip(&same_gradients) {
                    let tolerance = if kind == Kind::Float { 1e-6 } else { 1e-2 };
                    assert_close(other, one, tolerance, &format!("{name}, {kind:?}, {}", method.name()));
                }
            }
        }
    }
}

#[test]
fn cached_generation_is_the_continuation_without_a_cache() {
    for name in VARIANTS {
        let variant = Variant::read(name);
        let model = variant.frozen();
        let (prompts, expected): (Vec<_>, Vec<_>) = variant.texts().into_iter().unzip();
        for batch in [1, 2, 3, 6] {
            let limits = Limits { end_ids: vec![], max_new_tokens: expected[0].len(), batch };
            let made = greedy(&model.network, &prompts, &limits, Device::Cpu, &mut |_| ()).unwrap();
            let made: Vec<_> = made.into_iter().map(|row| row.tokens).collect();
            assert_eq!(made, expected, "{name}, {batch} rows together");
        }
    }
}

/// Rows of different lengths, some longer than the windows and some shorter, each column of new tokens in turn; rows are
/// dropped on the way.
#[test]
fn cached_hidden_states_are_those_of_whole_texts() {
    let _alone = generator();
    let columns = 17;
    for name in VARIANTS {
        let model = Variant::read(name).frozen();
        let network = model.network.causal_lm().unwrap();
        for (lengths, first) in [(vec![11_i64, 4, 1, 7], 3), (vec![5, 5, 5], 5), (vec![20, 19], 12)] {
            let longest = *lengths.iter().max().unwrap();
            let rows = lengths.len() as i64;
            tch::manual_seed(3);
            let texts = Tensor::randint(40, [rows, longest + columns], (Kind::Int64, Device::Cpu));
            let whole: Vec<Tensor> = (0..rows)
                .map(|row| network.hidden(&texts.narrow(0, row, 1), Mode::Eval).unwrap().squeeze_dim(0))
                .collect();
            let mut cache = Cache::new(network.layers(), Device::Cpu);
            let mut going: Vec<i64> = (0..rows).collect();
            // In one pass or in two.
            let mut prompts = network.hidden_next(&texts.narrow(1, 0, first), &mut cache).unwrap();
            if first < longest {
                let rest = network.hidden_next(&texts.narrow(1, first, longest - first), &mut cache).unwrap();
                prompts = Tensor::cat(&[prompts, rest], 1);
            }
            cache.prompts_end(&lengths).unwrap();
            for &row in &going {
                let length = lengths[row as usize];
                let (found, expected) =
                    (prompts.get(row).narrow(0, 0, length), whole[row as usize].narrow(0, 0, length));
                assert_close(&found, &expected, TOLERANCE, &format!("{name}, prompt of {length}"));
            }
            for step in 0..columns {
                if step == 9 {
                    let kept = Tensor::from_slice(&[1, 0]);
                    cache.keep(&kept).unwrap();
                    going = vec![going[1], going[0]];
                }
                let next: Vec<Tensor> =
                    going.iter().map(|&row| texts.get(row).get(lengths[row as usize] + step)).collect();
                let next = Tensor::stack(&next, 0).unsqueeze(1);
                let hidden = network.hidden_next(&next, &mut cache).unwrap();
                for (at, &row) in (0..).zip(&going) {
                    let expected = whole[row as usize].get(lengths[row as usize] + step);
                    let what = format!("{name}, {lengths:?}, row {row}, new token {step}");
                    assert_close(&hidden.get(at).squeeze_dim(0), &expected, TOLERANCE, &what);
                }
            }
        }
    }
}

/// A change of a settings file.
type Edit = fn(&mut Value);

#[test]
fn each_key_of_the_configurations_is_held() {
    let text: [(&str, Edit); 9] = [
        ("sliding_window", |c| c["sliding_window"] = json!(8)),
        ("layer_types", |c| {
            c["layer_types"] = json!(["full_attention", "full_attention", "full_attention", "full_attention"])
        }),
        ("base of full layers", |c| c["rope_parameters"]["full_attention"]["rope_theta"] = json!(5100.0)),
        ("base of sliding layers", |c| c["rope_parameters"]["sliding_attention"]["rope_theta"] = json!(310.0)),
        ("factor", |c| c["rope_parameters"]["full_attention"]["factor"] = json!(4.1)),
        ("scaling of sliding layers", |c| {
            c["rope_parameters"]["sliding_attention"] =
                json!({"rope_type": "linear", "factor": 1.1, "rope_theta": 300.0});
        }),
        ("query_pre_attn_scalar", |c| c["query_pre_attn_scalar"] = json!(11.2)),
        ("final_logit_softcapping", |c| c["final_logit_softcapping"] = json!(1.52)),
        ("rms_norm_eps", |c| c["rms_norm_eps"] = json!(1e-3)),
    ];
    let others: [(&str, &str, Edit); 10] = [
        ("phi3", "sliding_window", |c| c["sliding_window"] = json!(8)),
        ("phi3_partial", "partial_rotary_factor", |c| c["rope_parameters"]["partial_rotary_factor"] = json!(0.75)),
        ("llama_linear", "factor", |c| c["rope_parameters"]["factor"] = json!(4.1)),
        ("llama_linear", "linear", |c| c["rope_parameters"]["rope_type"] = json!("default")),
        ("mistral", "sliding_window", |c| c["sliding_window"] = json!(8)),
        ("mistral", "no window", |c| c["sliding_window"] = json!(null)),
        ("mistral_no_window", "a window", |c| c["sliding_window"] = json!(20)),
        ("qwen2", "use_sliding_window and types", |c| {
            c["use_sliding_window"] = json!(false);
            c["layer_types"] = json!(null);
        }),
        ("qwen2", "max_window_layers", |c| {
            c["max_window_layers"] = json!(0);
            c["layer_types"] = json!(null);
        }),
        ("qwen3", "layer_types", |c| c["layer_types"] = json!(["full_attention", "sliding_attention"])),
    ];
    let text = text.into_iter().map(|(what, change)| ("gemma3_text", what, change));
    for (name, what, change) in text.chain(others) {
        let variant = Variant::read(name);
        assert!(variant.off(&variant.with(|_| ()).unwrap()) <= TOLERANCE);
        let off = variant.off(&variant.with(change).unwrap());
        assert!(off > 20.0 * TOLERANCE, "{name}, {what}: the golden values do not hold it, off by {off:.1e}");
    }
}

#[test]
fn older_keys_and_names_mean_the_same() {
    let variant = Variant::read("gemma3_text");
    let config: Value =
        serde_json::from_slice(&std::fs::read(variant.folder.join("config_old_keys.json")).unwrap()).unwrap();
    let model = variant.with(|now| *now = config).unwrap();
    assert_close(&variant.forward(&model).0, &variant.tensors["logits"], TOLERANCE, "old keys");
    // What layer_types says can be told by index in the other family as well.
    let variant = Variant::read("qwen2");
    let model = variant.with(|config| drop(config.as_object_mut().unwrap().remove("layer_types"))).unwrap();
    assert_close(&variant.forward(&model).0, &variant.tensors["logits"], TOLERANCE, "qwen2 without layer_types");
}

#[test]
fn the_language_model_of_a_larger_gemma_is_taken_and_the_vision_part_named() {
    let variant = Variant::read("gemma3_nested");
    let model = variant.frozen();
    assert!(model.left_out.iter().all(|name| name.starts_with("vision_tower.") || name.starts_with("multi_modal_")));
    assert!(model.left_out.len() > 20, "{:?}", model.left_out);
    // The names that transformers has for the same tensors.
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&variant.model_folder(), folder.path());
    let path = folder.path().join("model.safetensors");
    let tensors = Tensor::read_safetensors(&path).unwrap().into_iter().map(|(name, tensor)| {
        let name = match name.strip_prefix("language_model.model.") {
            Some(rest) => format!("model.language_model.{rest}"),
            None => format!("model.{name}"),
        };
        (name, tensor)
    });
    learn::weights::write_tensors(&path, &tensors.collect::<Vec<_>>()).unwrap();
    let renamed = Model::load(folder.path(), &Frozen, 0, Device::Cpu).unwrap();
    assert_close(&variant.forward(&renamed).0, &variant.tensors["logits"], TOLERANCE, "names of transformers");
    assert_eq!(renamed.left_out.len(), model.left_out.len());
    // What is saved can be read again, without the vision part.
    let saved = tempfile::tempdir().unwrap();
    learn::adapters::Method::save(&Full, &Saved::of(&model, None), saved.path()).unwrap();
    let again = Model::load(saved.path(), &Frozen, 0, Device::Cpu).unwrap();
    assert!(again.left_out.is_empty());
    assert_close(&variant.forward(&again).0, &variant.tensors["logits"], TOLERANCE, "saved");
}

#[test]
fn configurations_that_cannot_be_computed_are_refused_with_a_reason() {
    let cases: [(&str, Edit, &str); 12] = [
        ("gemma3_text", |c| c["attn_logit_softcapping"] = json!(50.0), "attn_logit_softcapping: caps the scores"),
        ("gemma3_text", |c| c["use_bidirectional_attention"] = json!(true), "makes tokens see what stands after"),
        ("gemma3_text", |c| c["hidden_activation"] = json!("gelu"), "hidden_activation: is `gelu`"),
        ("gemma3_text", |c| c["sliding_window"] = json!(0), "sliding_window: is 0"),
        ("gemma3_text", |c| c["layer_types"] = json!(["full_attention"]), "lists 1 layers, num_hidden_layers is 4"),
        ("gemma3_text", |c| c["layer_types"][1] = json!("chunked_attention"), "unknown variant `chunked_attention`"),
        ("gemma3_nested", |c| c["text_config"] = json!(null), "text_config: is not there"),
        (
            "gemma3_nested",
            |c| c["text_config"]["final_logit_softcapping"] = json!(30.0),
            "final_logit_softcapping: caps the scores",
        ),
        (
            "llama_linear",
            |c| c["rope_parameters"]["rope_type"] = json!("dynamic"),
            "changes the frequencies while a text",
        ),
        ("mistral", |c| c["sliding_window"] = json!(-3), "sliding_window: is -3"),
        ("qwen3", |c| c["use_sliding_window"] = json!(false), "lists sliding layers, and there is no window"),
        ("qwen2", |c| c["hidden_act"] = json!("relu"), "a Qwen 2's is `silu`"),
    ];
    for (name, change, expected) in cases {
        let error = Variant::read(name).with(change).unwrap_err();
        let text = format!("{error} / {}", error.hint().unwrap_or_default());
        assert!(text.contains(expected), "{name}: {text}");
    }
}

#[test]
fn a_tensor_that_has_no_place_is_still_an_error_beside_the_vision_part() {
    let variant = Variant::read("gemma3_nested");
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&variant.model_folder(), folder.path());
    change_json(&folder.path().join("config.json"), |config| config["text_config"]["num_hidden_layers"] = json!(2));
    change_json(&folder.path().join("config.json"), |config| config["text_config"]["layer_types"] = json!(null));
    let error = Model::load(folder.path(), &Frozen, 0, Device::Cpu).unwrap_err();
    assert!(error.to_string().contains("`language_model.model.layers.2."), "{error}");
}
