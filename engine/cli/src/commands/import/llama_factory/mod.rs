//! LLaMA-Factory's YAML configuration: model, method and training. Keys and defaults are those of LLaMA-Factory 0.9.5,
//! `hparams/*.py`, and of transformers' `TrainingArguments`. Knows no data set; see `data`.

mod data;
mod keys;

use serde_json::Value;
use spec::{
    adapter::{Adapter, Bias, Full, Init, Targets},
    diagnostic::Diagnostic,
    metric::{self, Metric},
    precision::{Number, Precision},
    protocol::{self, Protocol},
    stage::{
        Checkpoint, Empty, Form, LanguageModel, LossOn, Normalize, Objective, OverflowPolicy, Source, SpecialToken,
        Truncate, Validate,
    },
};

use super::{
    corpus::{self, Held, VALIDATION},
    low_rank::LowRank,
    read::Tool,
    recipe::{Recipe, Rows, Tokens, Training},
    settings::{self, Range, Settings},
    source::{Places, locate},
    targets, training,
};

/// `DataArguments.cutoff_len`.
const CUTOFF_LEN: u64 = 2048;
/// `LoraArguments.lora_rank`; alpha is twice the rank where it is not set.
const RANK: u64 = 8;
/// `TrainingArguments.per_device_train_batch_size` and its sibling.
const BATCH: u64 = 8;
/// `TrainingArguments.num_train_epochs`.
const EPOCHS: u64 = 3;
/// `TrainingArguments.save_steps` and `logging_steps`, which is `eval_steps` too.
const STEPS: u64 = 500;

/// The recipe of a LLaMA-Factory configuration.
///
/// # Errors
/// What trains otherwise than on texts: preferences, rewards; a method that is not here; no data set.
pub fn recipe(mut settings: Settings, places: &Places) -> Result<Recipe, Diagnostic> {
    let is_pretraining = stage(&mut settings)?;
    if settings.flag("do_train") == Some(false) {
        settings.leave(
            "do_train",
            &Value::from(false),
            "a pipeline trains: take the stages `tuned` and what reads it out",
        );
    }
    let adapter = adapter(&mut settings)?;
    let model = model(&mut settings, places);
    let seed = training::seed(&mut settings);
    let sets = data::read(&mut settings, places, is_pretraining)?;
    let held = held(&mut settings, sets.validation);
    let corpus = corpus::assemble(sets.train, held, seed.data).ok_or_else(data::no_rows)?;
    settings.absorb(corpus.left);
    let whole = is_pretraining || settings.flag("train_on_prompt") == Some(true);
    let loss_on = if whole { LossOn::All } else { LossOn::Completion };
    let max_length = settings.count("cutoff_len", 1).unwrap_or(CUTOFF_LEN);
    settings
        .differs("cutoff_len", "longer rows are cut there, question and answer; here they are left out of training");
    let packs = settings.flag("packing").unwrap_or(is_pretraining) | (settings.flag("neat_packing") == Some(true));
    if packs {
        let why = "rows are not packed here: a row of `batch` is one example, where there it was a sequence of several. Raise \
                   `batch.size`, or lower the learning rate, to train alike";
        settings.differs("packing", why);
    }
    let (epochs, steps) = training::length(&mut settings, "num_train_epochs", EPOCHS);
    let batch = training::batch(&mut settings, "per_device_train_batch_size", BATCH);
    let scored_at_once = settings.count("per_device_eval_batch_size", 1).unwrap_or(BATCH);
    let validate = corpus.splits.contains_key(VALIDATION).then(|| validate(&mut settings)).flatten();
    let mut metrics = vec![Metric::Perplexity(metric::Perplexity {})];
    if settings.flag("compute_accuracy") == Some(true) {
        metrics.push(Metric::TokenAccuracy(metric::TokenAccuracy {}));
    }
    let training = Training {
        objective: Objective::LanguageModel(LanguageModel { loss_on, normalize: Normalize::Tokens }),
        adapter,
        seed,
        epochs,
        steps,
        batch,
        optimizer: training::optimizer(&mut settings, "optim"),
        schedule: training::schedule(&mut settings, "lr_scheduler_type", "linear", None),
        clip: training::clip(&mut settings),
        precision: precision(&mut settings),
        // On unless it is turned off: `model_utils/checkpointing.py`.
        gradient_checkpointing: settings.flag("disable_gradient_checkpointing") != Some(true),
        validate,
        checkpoint: checkpoint(&mut settings),
        scored: Some((Protocol::Perplexity(protocol::Perplexity { loss_on, window: None }), metrics)),
        scored_at_once: Some(scored_at_once),
    };
    let too_long_scored = match &sets.shape.template.field {
        Some(field) => OverflowPolicy::Truncate(Truncate(field.clone())),
        None => OverflowPolicy::Fail(Empty {}),
    };
    Ok(Recipe {
        tool: Tool::LlamaFactory.name(),
        model,
        tokenizer: None,
        rows: Rows::Downloaded { from: corpus.from, format: corpus.format },
        splits: corpus.splits,
        template: sets.shape.template,
        tokens: Tokens {
            chat: sets.shape.chat,
            bos: SpecialToken::Auto,
            eos: SpecialToken::Auto,
            max_length,
            form: Form::default(),
            too_long: OverflowPolicy::Drop(Empty {}),
            too_long_scored,
        },
        training,
        left: settings.finish(&keys::KNOWN),
    })
}

/// Whether texts are learned whole.
fn stage(settings: &mut Settings) -> Result<bool, Diagnostic> {
    match settings.text("stage").map(|word| word.to_lowercase()).as_deref() {
        None | Some("sft") => Ok(false),
        Some("pt") => Ok(true),
        Some(other) => {
            let what = format!(
                "`stage: {}` learns from preferences or rewards, which is not here",
                super::left::printable(other)
            );
            Err(Diagnostic::new(what, "`sft` and `pt` are imported: set one of them to import the rest"))
        }
    }
}

fn adapter(settings: &mut Settings) -> Result<Adapter, Diagnostic> {
    let word = settings.text("finetuning_type").map(|word| word.to_lowercase());
    match word.as_deref() {
        None | Some("lora") => {}
        Some("full") => return Ok(Adapter::Full(Full {})),
        Some("freeze") => {
            let why = "every weight trains here: which layers do cannot be said";
            settings.leave("finetuning_type", &Value::from("freeze"), why);
            return Ok(Adapter::Full(Full {}));
        }
        Some(other) => {
            let what =
                format!("`finetuning_type: {}` is no method that can be imported", super::left::printable(other));
            return Err(Diagnostic::new(what, "`lora`, `freeze` and `full` are"));
        }
    }
    let rank = settings.count("lora_rank", 1).unwrap_or(RANK);
    // `lora_alpha or lora_rank * 2`.
    let alpha = settings.number("lora_alpha", Range::NotNegative).filter(|alpha| *alpha > 0.0);
    let pissa = settings.flag("pissa_init") == Some(true);
    if pissa && let Some(iterations) = settings.take("pissa_iter").filter(|value| settings::number(value) != Some(-1.0))
    {
        settings.leave("pissa_iter", &iterations, "singular values are computed exactly here, not by iterations");
    }
    let low_rank = LowRank {
        rank,
        alpha: alpha.unwrap_or(rank as f64 * 2.0),
        dropout: settings.number("lora_dropout", Range::BelowOne).unwrap_or(0.0),
        dora: settings.flag("use_dora").unwrap_or(false),
        stabilized: settings.flag("use_rslora").unwrap_or(false),
        init: if pissa { Init::Pissa } else { Init::Kaiming },
        bias: Bias::None,
        targets: targets_of(settings),
        exclude: None,
        layers: None,
        ranks: Default::default(),
        alphas: Default::default(),
        ratio: settings.number("loraplus_lr_ratio", Range::Positive).map(|ratio| ("loraplus_lr_ratio", ratio)),
    };
    Ok(low_rank.adapter(settings, "pissa_init"))
}

/// Every linear map where nothing is said.
fn targets_of(settings: &mut Settings) -> Targets {
    match settings.words("lora_target") {
        None => Targets::AllLinear,
        Some(names) if names.len() == 1 && names[0] == "all" => Targets::AllLinear,
        Some(names) => targets::named(&names),
    }
}

fn model(settings: &mut Settings, places: &Places) -> Source {
    const KEY: &str = "model_name_or_path";
    let revision = settings.text("model_revision").filter(|revision| revision != "main");
    let Some(name) = settings.text(KEY) else {
        settings.unset(KEY, "the model is not named: say it in `stages.model.from`");
        return locate(places, "models/base/", false, None).from;
    };
    let found = locate(places, &name, false, revision);
    if let Some(why) = found.why {
        settings.leave(KEY, &Value::from(name), why);
    }
    found.from
}

/// The rows that are not learned from: `val_size` is a part of 1, or a number of rows.
fn held(settings: &mut Settings, validation: Vec<corpus::Part>) -> Held {
    const KEY: &str = "val_size";
    if !validation.is_empty() {
        settings.unused(KEY, "`eval_dataset` is validated on");
        return Held::Parts(validation);
    }
    match settings.number(KEY, Range::NotNegative) {
        Some(part) if part > 1e-6 && part < 1.0 => Held::Fraction { key: KEY.to_owned(), part },
        // `int(val_size)` there, too.
        Some(rows) if rows >= 1.0 => settings::count(&Value::from(rows.floor())).map_or(Held::Nothing, Held::Rows),
        _ => Held::Nothing,
    }
}

fn validate(settings: &mut Settings) -> Option<Validate> {
    let key = if settings.has("eval_strategy") { "eval_strategy" } else { "evaluation_strategy" };
    if !settings.has(key) {
        return None;
    }
    let patience = settings.count("early_stopping_steps", 1);
    let steps = settings.take("logging_steps").as_ref().and_then(settings::count).filter(|steps| *steps > 0);
    let every = training::every(settings, key, Some(steps.unwrap_or(STEPS)));
    let keep = training::keep(settings, patience);
    training::never_stops(settings, "early_stopping_steps", every.as_ref(), patience);
    Some(Validate {
        on: VALIDATION.to_owned(),
        every: every?,
        protocol: None,
        metrics: Vec::new(),
        rows: None,
        batch: None,
        keep,
        patience,
    })
}

/// Without `bf16` and `fp16`, LLaMA-Factory computes in the numbers of the checkpoint.
fn precision(settings: &mut Settings) -> Precision {
    let [bf16, pure, fp16] = ["bf16", "pure_bf16", "fp16"].map(|key| settings.flag(key));
    if pure == Some(true) {
        settings.leave(
            "pure_bf16",
            &Value::from(true),
            "`bf16`: what trains, and the optimiser's memory, are float32 here",
        );
    }
    let number = match (bf16 == Some(true) || pure == Some(true), fp16 == Some(true)) {
        (true, _) => Number::Bf16,
        (_, true) => Number::Fp16,
        _ => {
            settings.unset("bf16", "computed in float32 here, and in the numbers of the checkpoint there");
            Number::Float32
        }
    };
    Precision::all(number)
}

fn checkpoint(settings: &mut Settings) -> Checkpoint {
    let steps = settings.take("save_steps").as_ref().and_then(settings::count).filter(|steps| *steps > 0);
    Checkpoint { steps: steps.unwrap_or(STEPS) }
}
