//! Twenty AdamW steps with accumulation, clipping and a schedule, against PyTorch and PEFT. The values are made by
//! `tests/golden/train.py`.

use std::path::{Path, PathBuf};

use learn::adapters::{self, Full, Method, saved_method};
use learn::batches::LossRow;
use learn::models::Model;
use learn::objectives::{LanguageModel, Normalize};
use learn::optim::AdamW;
use learn::schedule::{Schedule, Shape};
use learn::train::{Rule, Weights};
use learn::weights::SafetensorsFile;
use serde_json::Value;
use tch::{Device, Kind, Tensor};

const TOLERANCE: f64 = 1e-4;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/train")
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// The rows of each step; the first half are the golden first micro-batch.
fn batches(values: &Value) -> Vec<Vec<LossRow>> {
    let row = |micro: &Value, index: usize| {
        let length = micro["lengths"][index].as_u64().unwrap() as usize;
        let ids: Vec<i32> = numbers(&micro["tokens"][index]).into_iter().take(length).map(|id| id as i32).collect();
        LossRow::new(format!("{index}"), &ids, numbers(&micro["loss_mask"][index]).into_iter().map(|mark| mark == 1.0))
    };
    let batch = |batch: &Value| {
        let micros = batch.as_array().unwrap().iter();
        micros
            .flat_map(|micro| (0..micro["lengths"].as_array().unwrap().len()).filter_map(|at| row(micro, at)))
            .collect()
    };
    values["batches"].as_array().unwrap().iter().map(batch).collect()
}

/// Everything that a trajectory depends on beside rows and model.
#[derive(Clone, Copy)]
struct Recipe {
    peak: f64,
    warmup: u64,
    clip: Option<f64>,
    optimizer: AdamW,
    micro: usize,
}

fn recipe(values: &Value) -> Recipe {
    let number = |key: &str| values[key].as_f64().unwrap();
    let betas = numbers(&values["betas"]);
    let optimizer =
        AdamW { weight_decay: number("weight_decay"), beta1: betas[0], beta2: betas[1], epsilon: number("epsilon") };
    Recipe {
        peak: number("peak_learning_rate"),
        warmup: values["warmup"].as_u64().unwrap(),
        clip: Some(number("max_gradient_norm")),
        optimizer,
        micro: 3,
    }
}

fn model(method: &str) -> Model {
    let base = folder().join("model");
    let adapter = folder().join(method);
    let method: Box<dyn Method> = if method == "full" { Box::new(Full) } else { saved_method(&adapter).unwrap() };
    let mut model = Model::load(&base, method.as_ref(), 0, Device::Cpu).unwrap();
    if adapter.exists() {
        adapters::load(&adapter, &mut model.trainable).unwrap();
    }
    model
}

/// The largest deviation from the golden trajectory, relative to the size of what is compared, and what it is of.
fn deviation(values: &Value, method: &str, recipe: &Recipe) -> (f64, String) {
    let golden = &values["methods"][method];
    let (losses, norms) = (numbers(&golden["loss"]), numbers(&golden["gradient_norm"]));
    let model = model(method);
    let mut weights = Weights::new(&model).unwrap();
    let schedule = Schedule { shape: Shape::Linear, warmup: recipe.warmup, total: values["steps"].as_u64().unwrap() };
    let rule = Rule {
        micro: recipe.micro,
        normalize: Normalize::Tokens,
        dropout_seed: 0,
        clip: recipe.clip,
        optimizer: recipe.optimizer,
    };
    let mut worst = (0.0, String::new());
    let mut compare = |deviation: f64, what: String| {
        if deviation.is_nan() || deviation > worst.0 {
            worst = (deviation, what);
        }
    };
    for (step, rows) in (0..).zip(batches(values)) {
        let chosen: Vec<usize> = (0..rows.len()).collect();
        let examples = LanguageModel::new(rows);
        let done = weights.step(&model, &examples, &chosen, &rule, recipe.peak * schedule.factor(step)).unwrap();
        let (loss, norm) = (done.loss.double_value(&[]), done.norm.double_value(&[]));
        let index = step as usize;
        compare(
            (loss - losses[index]).abs() / losses[index],
            format!("loss of step {step}: {loss}, {}", losses[index]),
        );
        compare((norm - norms[index]).abs() / norms[index], format!("norm of step {step}: {norm}, {}", norms[index]));
    }
    let last = SafetensorsFile::open(&folder().join(format!("{method}_final.safetensors"))).unwrap();
    let mut compared = 0;
    for (name, tensor) in model.trainable.iter() {
        let golden = last.tensor(name, Device::Cpu, Kind::Float).unwrap();
        let largest = |tensor: &Tensor| tensor.abs().max().double_value(&[]);
        compare(largest(&(tensor.detach() - &golden)) / largest(&golden), name.to_owned());
        compared += 1;
    }
    assert_eq!(compared, last.names().len(), "{method}: tensors that train");
    worst
}

fn values() -> Value {
    serde_json::from_slice(&std::fs::read(folder().join("values.json")).unwrap()).unwrap()
}

#[test]
fn trajectories_are_those_of_pytorch_and_peft() {
    let values = values();
    for method in ["full", "lora", "dora"] {
        for micro in [3, 1, 6] {
            let (deviation, what) = deviation(&values, method, &Recipe { micro, ..recipe(&values) });
            assert!(deviation < TOLERANCE, "{method}, {micro} rows at once: {deviation:e} in {what}");
        }
    }
}

#[test]
fn every_constant_of_the_recipe_matters_to_the_golden_values() {
    let values = values();
    let right = recipe(&values);
    let AdamW { weight_decay, beta1, beta2, epsilon } = right.optimizer;
    let with = |optimizer| Recipe { optimizer, ..right };
    let mutants = [
        ("peak", Recipe { peak: right.peak * 1.01, ..right }),
        ("warm-up", Recipe { warmup: right.warmup + 1, ..right }),
        ("clip", Recipe { clip: right.clip.map(|bound| bound * 1.1), ..right }),
        ("no clip", Recipe { clip: None, ..right }),
        ("weight decay", with(AdamW { weight_decay: weight_decay * 2.0, ..right.optimizer })),
        ("beta1", with(AdamW { beta1: beta1 - 0.01, ..right.optimizer })),
        ("beta2", with(AdamW { beta2: beta2 - 0.001, ..right.optimizer })),
        ("epsilon", with(AdamW { epsilon: epsilon * 1e4, ..right.optimizer })),
    ];
    for (what, mutant) in mutants {
        let (deviation, _) = deviation(&values, "lora", &mutant);
        assert!(deviation > 2.0 * TOLERANCE, "another {what} goes unnoticed: {deviation:e}");
    }
}
