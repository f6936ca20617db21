//! What holds for every step and every training, in this process.

use learn::adapters::{Full, Lora};
use learn::batches::LossRow;
use learn::numerics::Numerics;
use learn::objectives::{LanguageModel, Normalize};
use learn::observer::Unobserved;
use learn::optim::AdamW;
use learn::schedule::Shape;
use learn::targets::Targets;
use learn::train::{Best, Every, Length, Rule, Settings, Training, Validate, Warmup, Weights, loss_of};
use learn::weights::SafetensorsFile;
use tch::{Device, Kind, Tensor};

use crate::support::{VOCABULARY, model, model_in, rows};

const ADAMW: AdamW = AdamW { weight_decay: 0.0, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

fn settings() -> Settings {
    Settings {
        length: Length::Epochs(1),
        batch: 10,
        micro: 4,
        optimizer: ADAMW,
        learning_rate: 1e-2,
        shape: Shape::Constant,
        warmup: Warmup::Steps(0),
        clip: None,
        data_seed: 0,
        dropout_seed: 0,
        normalize: Normalize::Tokens,
        validate: Validate { every: Every::Epochs(1), best: Best::Loss, keep_best: false, patience: None },
        checkpoint: 5,
    }
}

fn with_loss() -> Vec<LossRow> {
    rows().iter().map(crate::support::Row::with_loss).collect()
}

#[test]
fn accumulation_equals_the_large_batch() {
    // Rows with unequal numbers of targets, so that a mean over micro-batches would be another number.
    let mut rows = with_loss();
    rows.truncate(8);
    for row in rows.iter_mut().take(3) {
        *row = LossRow::new(row.id.clone(), &row.ids, vec![true; row.ids.len()]).unwrap();
    }
    let chosen: Vec<usize> = (0..rows.len()).collect();
    let examples = LanguageModel::new(rows);
    let step = |micro| {
        let model = model(&Full, 1);
        let mut weights = Weights::new(&model).unwrap();
        let rule = Rule { micro, normalize: Normalize::Tokens, dropout_seed: 0, clip: None, optimizer: ADAMW };
        let done = weights.step(&model, &examples, &chosen, &rule, 1e-3).unwrap();
        let gradients = weights.flat.gradients().unwrap().copy();
        (done.loss.double_value(&[]), gradients)
    };
    let (loss, gradients) = step(8);
    for micro in [1, 3, 5] {
        let (other_loss, other_gradients) = step(micro);
        assert!((loss - other_loss).abs() < 1e-6 * loss, "{micro}: {loss} and {other_loss}");
        let difference = (&gradients - other_gradients).norm().double_value(&[]) / gradients.norm().double_value(&[]);
        assert!(difference < 1e-5, "{micro} rows at once: {difference:e}");
    }
}

#[test]
fn padding_changes_nothing() {
    let rows = with_loss();
    let model = model(&Full, 2);
    let loss =
        |rows: Vec<LossRow>, micro| loss_of(&model, &LanguageModel::new(rows), Normalize::Tokens, micro).unwrap();
    let apart: Vec<f64> = rows.iter().map(|row| loss(vec![row.clone()], 1)).collect();
    let together = loss(rows, 64);
    let mean = apart.iter().sum::<f64>() / apart.len() as f64;
    assert!((together - mean).abs() < 1e-6, "{together} and {mean}");
}

#[test]
fn a_loss_that_is_not_finite_stops_with_its_step_and_rows_before_a_checkpoint_holds_it() {
    let state = tempfile::tempdir().unwrap();
    let rows = LanguageModel::new(with_loss());
    let model = model(&Full, 3);
    let settings = Settings { learning_rate: 1e30, checkpoint: 1, ..settings() };
    let training = Training {
        model: &model,
        examples: &rows,
        validation: None,
        asks: None,
        settings: &settings,
        snapshots: None,
        state: state.path(),
    };
    let error = training.run(&state.path().join("out.jsonl"), &mut Unobserved).unwrap_err();
    assert!(error.to_string().contains("is not finite"), "{error}");
    let learn::Error::Stopped { place: Some(place), hint, .. } = &error else { panic!("{error:?}") };
    assert!(place.starts_with("step ") && place.contains("rows `") && place.contains("and 5 more"), "{place}");
    assert!(hint.contains("learning_rate"), "{hint}");
    let mut checkpoints = 0;
    for entry in std::fs::read_dir(state.path().join("checkpoints")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            let file = SafetensorsFile::open(&path).unwrap();
            for name in file.names() {
                let tensor = file.tensor(&name, Device::Cpu, Kind::Float).unwrap();
                assert!(tensor.isfinite().all().int64_value(&[]) == 1, "{} holds {name} not finite", path.display());
            }
            checkpoints += 1;
        }
    }
    assert_eq!(hint.contains("the last good checkpoint is that of step"), checkpoints > 0, "{hint}");
}

/// What a training says whose model holds this number in one row of a weight.
fn damaged(method: &dyn learn::adapters::Method, weight: &str, row: i64, number: f64, compute: Kind) -> learn::Error {
    let state = tempfile::tempdir().unwrap();
    let rows = LanguageModel::new(with_loss());
    let model = model_in(method, 4, Numerics { compute, ..Device::Cpu.into() });
    let tensor = model.frozen.get(weight).or_else(|| model.trainable.get(weight)).unwrap();
    let _ = tch::no_grad(|| tensor.get(row).fill_(number));
    let settings = settings();
    let training = Training {
        model: &model,
        examples: &rows,
        validation: None,
        asks: None,
        settings: &settings,
        snapshots: None,
        state: state.path(),
    };
    training.run(&state.path().join("out.jsonl"), &mut Unobserved).unwrap_err()
}

#[test]
fn weights_that_are_not_finite_are_named() {
    let lora = Lora::new(2, 4.0, 0.0, Targets::AllLinear).unwrap();
    let up = "model.layers.1.mlp.up_proj.weight";
    for (number, compute) in [(f64::NAN, Kind::Float), (f64::INFINITY, Kind::Float), (f64::NAN, Kind::Half)] {
        let error = damaged(&lora, up, 3, number, compute);
        let text = error.to_string();
        assert!(text.starts_with("the loss is not finite: NaN, and the base model's own weights hold such"), "{text}");
        assert!(text.ends_with(&format!("such numbers: `{up}`")), "{text}");
        let hint = error.hint().unwrap();
        assert!(hint.contains("fetch it again") && !hint.contains("learning_rate"), "{hint}");
    }
    // Where they train they are looked at before they change, even those that no row of the first batch reads.
    let table = "model.embed_tokens.weight";
    let error = damaged(&Full, table, VOCABULARY - 1, f64::NEG_INFINITY, Kind::Float);
    let text = error.to_string();
    assert_eq!(text, format!("the weights that are to train hold numbers that are not finite: `{table}`"));
    assert!(error.hint().unwrap().contains("fetch it again"));
}

#[test]
fn a_tensor_that_the_loss_does_not_reach_is_named() {
    let state = tempfile::tempdir().unwrap();
    let rows = LanguageModel::new(with_loss());
    let mut model = model(&Full, 4);
    let _ = model.trainable.add("model.lonely.weight", &Tensor::ones([3], (Kind::Float, Device::Cpu))).unwrap();
    let settings = settings();
    let training = Training {
        model: &model,
        examples: &rows,
        validation: None,
        asks: None,
        settings: &settings,
        snapshots: None,
        state: state.path(),
    };
    let error = training.run(&state.path().join("out.jsonl"), &mut Unobserved).unwrap_err();
    assert_eq!(error.to_string(), "no gradient reaches `model.lonely.weight`");
}

#[test]
fn a_zero_gradient_is_a_gradient() {
    // B is zero at the start, so that A's gradient is: the first step must not complain.
    let state = tempfile::tempdir().unwrap();
    let rows = LanguageModel::new(with_loss());
    let model = model(&Lora::new(2, 4.0, 0.1, Targets::AllLinear).unwrap(), 5);
    let settings = settings();
    let training = Training {
        model: &model,
        examples: &rows,
        validation: None,
        asks: None,
        settings: &settings,
        snapshots: None,
        state: state.path(),
    };
    let outcome = training.run(&state.path().join("out.jsonl"), &mut Unobserved).unwrap();
    assert_eq!((outcome.steps, outcome.epochs), (20, 1.0));
    assert_eq!(outcome.loss_tokens, 400);
}

#[test]
fn the_best_weights_are_kept_and_patience_ends_the_training() {
    let state = tempfile::tempdir().unwrap();
    let rows = with_loss();
    let (train, dev) = rows.split_at(150);
    let [train, dev] = [train, dev].map(|rows| LanguageModel::new(rows.to_vec()));
    let model = model(&Full, 6);
    let settings = Settings {
        length: Length::Steps(400),
        learning_rate: 0.1,
        validate: Validate { every: Every::Steps(3), best: Best::Loss, keep_best: true, patience: Some(4) },
        ..settings()
    };
    let training = Training {
        model: &model,
        examples: &train,
        validation: Some(&dev),
        asks: None,
        settings: &settings,
        snapshots: None,
        state: state.path(),
    };
    let outcome = training.run(&state.path().join("out.jsonl"), &mut Unobserved).unwrap();
    let best = outcome.best_step.unwrap();
    assert!(outcome.stopped_early && outcome.steps == best + 12, "{outcome:?}");
    assert_eq!(outcome.kept_step, best);
    let kept = loss_of(&model, &dev, Normalize::Tokens, 4).unwrap();
    assert!((kept - outcome.validation.as_ref().unwrap().loss).abs() < 1e-6, "{kept} and {outcome:?}");
}
