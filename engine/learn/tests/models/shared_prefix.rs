//! Rows one behind the other, and rows that share what they begin with, have the losses and the gradients of the same rows
//! computed one by one, each position of every layer.

use learn::adapters::{Dora, Full, Lora, LoraFa, Method, Prefix, Prompt, Start};
use learn::batches::LossRow;
use learn::layers::Mode;
use learn::loss::cross_entropy;
use learn::models::Model;
use learn::numerics::{Memory, Numerics};
use learn::objectives::{Examples, LanguageModel, SharedPrefix, Weighed};
use learn::targets::Targets;
use learn::weights::{Fresh, Init, Random};
use serde_json::{Value, json};
use tch::{Device, Kind, Reduction, Tensor};

/// A small decoder of each kind: plain, with a fused projection, with a window shorter than what is shared, with layers of
/// both kinds of span.
fn configs() -> Vec<Value> {
    let common = json!({
        "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 97, "initializer_range": 0.25, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 256,
    });
    let families = [
        json!({"model_type": "llama", "rope_theta": 500.0}),
        json!({"model_type": "phi3", "pad_token_id": 0}),
        json!({"model_type": "mistral", "sliding_window": 13, "rope_theta": 500.0}),
        json!({"model_type": "qwen3", "head_dim": 8, "rope_theta": 500.0}),
        json!({
            "model_type": "gemma3_text", "head_dim": 8, "sliding_window": 11, "query_pre_attn_scalar": 8,
            "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        }),
    ];
    let with = |family: Value| {
        let mut config = common.clone();
        config.as_object_mut().unwrap().extend(family.as_object().unwrap().clone());
        config
    };
    families.map(with).to_vec()
}

/// Two paragraphs behind one instruction, with questions of other lengths; a row of its own; a row that ends within what
/// others share.
fn rows() -> Vec<LossRow> {
    let part = |seed: usize, count: usize| (0..count).map(move |at| ((seed * 31 + at * 17 + at * at) % 97) as i32);
    let mut rows = Vec::new();
    for (paragraph, length) in [(1, 37), (2, 21)] {
        for question in 0..4 {
            let ids: Vec<i32> =
                part(0, 19).chain(part(paragraph, length)).chain(part(10 + question, 5 + 3 * question)).collect();
            let prompt = ids.len() - 2 - question;
            rows.push(
                LossRow::new(format!("{paragraph}-{question}"), &ids, (0..ids.len()).map(|at| at >= prompt)).unwrap(),
            );
        }
    }
    let own: Vec<i32> = part(50, 30).collect();
    rows.push(LossRow::new("own", &own, vec![true; own.len()]).unwrap());
    let within: Vec<i32> = part(0, 19).chain(part(1, 12)).collect();
    rows.push(LossRow::new("within", &within, vec![true; within.len()]).unwrap());
    rows
}

fn shake(model: &mut Model) {
    let noise = Random::new(9, Device::Cpu);
    let moved: Vec<_> = model
        .trainable
        .iter()
        .map(|(name, tensor)| {
            (name.to_owned(), tensor.detach() * 0.9 + noise.draw(name, &tensor.size(), Init::Normal(0.1)).unwrap())
        })
        .collect();
    for (name, values) in moved {
        model.trainable.set(&name, &values).unwrap();
    }
}

fn weight(row: usize) -> f64 {
    0.1 + row as f64 / 20.0
}

/// The loss of all rows and the gradient of each tensor.
fn learned(model: &Model, examples: &dyn Examples) -> (f64, Vec<(String, Tensor)>) {
    let weighed: Vec<Weighed> = (0..examples.len()).map(|row| Weighed { row, weight: weight(row) }).collect();
    gradients(model, || examples.backward(model, &weighed).unwrap().double_value(&[]))
}

/// The same by the scores of every position of one row after the other.
fn one_by_one(model: &Model, rows: &[LossRow]) -> (f64, Vec<(String, Tensor)>) {
    let network = model.network.causal_lm().unwrap();
    let of_row = |(number, row): (usize, &LossRow)| {
        let ids: Vec<i64> = row.ids.iter().map(|&id| i64::from(id)).collect();
        let read = Tensor::from_slice(&ids[..ids.len() - 1]).unsqueeze(0);
        let scores = network.logits(&network.hidden(&read, Mode::Train).unwrap(), Mode::Train).unwrap();
        let losses = cross_entropy(&scores.squeeze_dim(0), &Tensor::from_slice(&ids[1..]), Reduction::None).unwrap();
        let counts: Vec<f32> = row.targets[1..].iter().map(|&counts| f32::from(u8::from(counts))).collect();
        let loss = (losses * Tensor::from_slice(&counts)).sum(Kind::Float) * weight(number);
        loss.backward();
        model.activations.backward().unwrap();
        loss.double_value(&[])
    };
    gradients(model, || rows.iter().enumerate().map(of_row).sum())
}

fn gradients(model: &Model, backward: impl FnOnce() -> f64) -> (f64, Vec<(String, Tensor)>) {
    for (_, tensor) in model.trainable.iter() {
        let mut gradient = tensor.grad();
        if gradient.defined() {
            let _ = gradient.zero_();
        }
    }
    model.activations.begin(7);
    let loss = backward();
    model.activations.backward().unwrap();
    (loss, model.trainable.iter().map(|(name, tensor)| (name.to_owned(), tensor.grad().copy())).collect())
}

#[test]
fn losses_and_gradients_are_those_of_the_rows_one_by_one() {
    let targets = || Targets::AllLinear;
    let methods: [Box<dyn Method>; 6] = [
        Box::new(Full),
        Box::new(Lora::new(3, 6.0, 0.0, targets()).unwrap()),
        Box::new(Dora::new(3, 6.0, 0.0, targets()).unwrap()),
        Box::new(LoraFa::new(3, 6.0, 0.0, targets()).unwrap()),
        Box::new(Prompt::new(4, Start::Random).unwrap()),
        Box::new(Prefix::new(5, None).unwrap()),
    ];
    for config in configs() {
        for method in &methods {
            // Recomputing is the same code for every family.
            let memories = match config["model_type"] == "llama" {
                true => vec![Memory::KeepActivations, Memory::KeepInputs],
                false => vec![Memory::KeepActivations],
            };
            for memory in memories {
                let numerics = Numerics { memory, ..Numerics::all(Kind::Float, Device::Cpu) };
                let mut model = Model::random(&config, 1, method.as_ref(), 2, numerics).unwrap();
                shake(&mut model);
                let (apart, shared) = (LanguageModel::new(rows()), SharedPrefix::new(rows()));
                let (loss, gradients) = one_by_one(&model, &rows());
                for examples in [&apart as &dyn Examples, &shared] {
                    let (same_loss, same) = learned(&model, examples);
                    let what = format!("{}, {}, {examples:.20?}", config["model_type"], method.name());
                    assert!((loss - same_loss).abs() < 1e-5 * loss, "{what}: {loss} and {same_loss}");
                    for ((name, gradient), (_, same)) in gradients.iter().zip(&same) {
                        let difference = (gradient - same).norm().double_value(&[]) / gradient.norm().double_value(&[]);
                        assert!(difference < 2e-5, "{what}, {name}: {difference:e}");
                    }
                }
                let all: Vec<Weighed> = (0..apart.len()).map(|row| Weighed { row, weight: 1.0 }).collect();
                let of = |examples: &dyn Examples| examples.loss(&model, &all).unwrap().double_value(&[]);
                assert!((of(&apart) / of(&shared) - 1.0).abs() < 1e-6, "{}", config["model_type"]);
            }
        }
    }
}
