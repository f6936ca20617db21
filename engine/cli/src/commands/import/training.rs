//! Training in the words of transformers' `TrainingArguments`, which Axolotl and LLaMA-Factory share: optimiser, schedule,
//! lengths, batches, seeds. Defaults are those of transformers 5.3, `training_args.py`. Knows no data set.

use serde_json::Value;
use spec::{
    optimizer::{AdamW, Optimizer},
    schedule::{Schedule, Warmup},
    stage::{Batch, Duration, Every, Keep, KeepBest, Seed},
};

use super::settings::{Range, Settings, count, number};

/// `TrainingArguments.learning_rate`.
const LEARNING_RATE: f64 = 5e-5;
/// `TrainingArguments.max_grad_norm`.
const CLIP: f64 = 1.0;
/// `TrainingArguments.seed`; Axolotl's too.
const SEED: u64 = 42;

/// Optimisers that are AdamW in float32.
const ADAMW: &[&str] = &[
    "adamw",
    "adamw_torch",
    "adamw_torch_fused",
    "adamw_hf",
    "adamw_apex_fused",
    "adamw_torch_npu_fused",
    "adamw_torch_xla",
    "optimi_adamw",
];

/// The optimiser: AdamW, whatever is asked for; another one is listed.
pub fn optimizer(settings: &mut Settings, key: &str) -> Optimizer {
    if let Some(name) = settings.take(key) {
        let word = name.as_str().unwrap_or_default().to_lowercase();
        if word.contains("adamw") && !ADAMW.contains(&word.as_str()) {
            settings.leave(key, &name, "AdamW with its memory in float32, which needs more of it and is more exact");
        } else if !ADAMW.contains(&word.as_str()) {
            let why = "not here: AdamW stands in its place, with the same learning rate, which may not suit it";
            settings.leave(key, &name, why);
        }
    }
    let learning_rate = settings.number("learning_rate", Range::Positive).unwrap_or_else(|| {
        settings.unset("learning_rate", "5e-5, the default of transformers");
        LEARNING_RATE
    });
    Optimizer::AdamW(AdamW {
        learning_rate,
        weight_decay: settings.number("weight_decay", Range::NotNegative).unwrap_or(0.0),
        beta1: settings.number("adam_beta1", Range::BelowOne).unwrap_or(0.9),
        beta2: settings.number("adam_beta2", Range::BelowOne).unwrap_or(0.999),
        epsilon: settings.number("adam_epsilon", Range::Positive).unwrap_or(1e-8),
    })
}

/// The bound of the gradients' norm; zero there means none.
pub fn clip(settings: &mut Settings) -> Option<f64> {
    Some(settings.number("max_grad_norm", Range::NotNegative).unwrap_or(CLIP)).filter(|bound| *bound > 0.0)
}

/// The learning rate over the steps. `unset` is the warm-up where none is said.
pub fn schedule(settings: &mut Settings, key: &str, default: &str, unset: Option<Duration>) -> Schedule {
    let said = settings.has("warmup_steps") || settings.has("warmup_ratio");
    let steps = settings.number("warmup_steps", Range::NotNegative);
    let ratio = settings.number("warmup_ratio", Range::Part);
    let warmup = match (steps, ratio) {
        // Since transformers 5, a part of all steps may stand here, too.
        (Some(steps), _) if steps > 0.0 && steps < 1.0 => Some(Duration::Ratio(steps)),
        (Some(steps), _) if steps >= 1.0 => count(&Value::from(steps)).map(Duration::Steps),
        (_, Some(ratio)) if ratio > 0.0 => Some(Duration::Ratio(ratio)),
        _ if said => None,
        _ => unset,
    };
    let value = settings.take(key).unwrap_or_else(|| Value::from(default));
    let shape = Warmup { warmup };
    match value.as_str().unwrap_or_default().to_lowercase().as_str() {
        "linear" => Schedule::Linear(shape),
        "cosine" => Schedule::Cosine(shape),
        "constant_with_warmup" => Schedule::Constant(shape),
        "constant" => {
            if said && shape.warmup.is_some() {
                let why =
                    "`constant` has no warm-up in transformers, so there is none here; `constant_with_warmup` has one";
                settings.leave(key, &value, why);
            }
            Schedule::Constant(Warmup { warmup: None })
        }
        "polynomial" => {
            settings.leave(
                key,
                &value,
                "`linear`: the same with a power of 1, which is the default, and an end of zero",
            );
            Schedule::Linear(shape)
        }
        word => {
            let falls = word.contains("cosine") || matches!(word, "one_cycle" | "rex" | "warmup_stable_decay");
            let (near, schedule) = match falls {
                true => ("cosine", Schedule::Cosine(shape)),
                false => ("linear", Schedule::Linear(shape)),
            };
            settings.leave(
                key,
                &value,
                format!("not here (`linear`, `cosine`, `constant`): `{near}` stands in its place"),
            );
            schedule
        }
    }
}

/// Epochs, or optimiser steps where these are bounded.
pub fn length(settings: &mut Settings, key: &'static str, default: u64) -> (Option<u64>, Option<u64>) {
    let epochs = settings.take(key);
    let steps = settings.take("max_steps").filter(|steps| number(steps).is_none_or(|steps| steps > 0.0));
    if let Some(value) = steps {
        match count(&value) {
            Some(steps) => {
                if let Some(epochs) = epochs {
                    settings.leave(key, &epochs, "`max_steps` goes before it, as there");
                }
                return (None, Some(steps));
            }
            None => settings.leave("max_steps", &value, "not used: a whole number was expected"),
        }
    }
    let Some(value) = epochs else { return (Some(default), None) };
    match (count(&value), number(&value)) {
        (Some(epochs), _) if epochs > 0 => (Some(epochs), None),
        (_, Some(epochs)) if epochs > 0.0 && epochs < 1e6 => {
            let whole = epochs.ceil();
            settings.leave(
                key,
                &value,
                format!("{whole} epochs: there are whole ones alone; say `steps` for a part of one"),
            );
            (count(&Value::from(whole)), None)
        }
        _ => {
            settings.leave(
                key,
                &value,
                format!("not used: a number above zero was expected; {default} stands in its place"),
            );
            (Some(default), None)
        }
    }
}

/// Rows of a step: those computed at once, times the steps that are added up.
pub fn batch(settings: &mut Settings, micro_key: &str, default: u64) -> Batch {
    let micro = settings.count(micro_key, 1).unwrap_or(default);
    let times = settings.take("gradient_accumulation_steps");
    let parts = times.as_ref().and_then(count).filter(|times| *times > 0);
    if let (Some(value), None) = (&times, parts) {
        settings.leave("gradient_accumulation_steps", value, "not used: a whole number from 1 on was expected; 1 here");
    }
    match micro.checked_mul(parts.unwrap_or(1)) {
        Some(size) => Batch { size, micro: Some(micro), ..Batch::default() },
        None => {
            let value = times.unwrap_or_default();
            settings.leave(
                "gradient_accumulation_steps",
                &value,
                "not used: the batch would have more rows than can be counted",
            );
            Batch { size: micro, micro: Some(micro), ..Batch::default() }
        }
    }
}

/// One seed, or another one for the order of rows.
pub fn seed(settings: &mut Settings) -> Seed {
    let all = settings.count("seed", 0).unwrap_or(SEED);
    let data = settings.count("data_seed", 0).unwrap_or(all);
    Seed { init: all, data, dropout: all }
}

/// How often is validated: `eval_steps`, or each epoch.
pub fn every(settings: &mut Settings, strategy_key: &str, default_steps: Option<u64>) -> Option<Every> {
    let strategy = settings.text(strategy_key).map(|word| word.to_lowercase());
    let value = settings.take("eval_steps");
    let steps = value.as_ref().and_then(count).filter(|steps| *steps > 0);
    if let (Some(value), None) = (&value, steps) {
        let why =
            "a part of all steps, whose number is not known here: validated after each epoch; say `every: {steps: …}`";
        settings.leave("eval_steps", value, why);
    }
    match (strategy.as_deref(), steps) {
        (Some("no" | "false"), _) => None,
        (Some("epoch"), _) => Some(Every::Epochs(1)),
        (Some("steps"), None) if value.is_none() => Some(default_steps.map_or(Every::Epochs(1), Every::Steps)),
        (_, Some(steps)) => Some(Every::Steps(steps)),
        _ => Some(Every::Epochs(1)),
    }
}

/// Lists a patience where nothing is validated.
pub fn never_stops(settings: &mut Settings, key: &str, every: Option<&Every>, patience: Option<u64>) {
    if let (None, Some(patience)) = (every, patience) {
        settings.leave(key, &Value::from(patience), "nothing is validated while it trains, so nothing stops it early");
    }
}

/// Which state is kept in the end.
pub fn keep(settings: &mut Settings, patience: Option<u64>) -> Keep {
    let best = settings.flag("load_best_model_at_end").unwrap_or(false) || patience.is_some();
    if let Some(metric) = settings.take("metric_for_best_model")
        && best
        && !matches!(metric.as_str(), Some("loss" | "eval_loss"))
    {
        settings.leave(
            "metric_for_best_model",
            &metric,
            "the loss decides here; name a figure in `validate.keep.best`",
        );
    }
    let greater = settings.flag("greater_is_better");
    if best && greater == Some(true) {
        settings.leave("greater_is_better", &Value::from(true), "the loss decides here, of which less is better");
    }
    if best { Keep::Best(KeepBest::Loss) } else { Keep::Last(spec::stage::Empty {}) }
}
