//! Axolotl's YAML configuration: model, method and training. Keys and defaults are those of Axolotl 0.19.0,
//! `utils/schemas/*.py` and `core/builders/base.py`. Knows no data set; see `data`.

mod data;
mod keys;
mod shapes;

use serde_json::Value;
use spec::{
    adapter::{Adapter, Full, Targets},
    diagnostic::Diagnostic,
    metric::{self, Metric},
    precision::{Number, Precision},
    protocol::{self, Protocol},
    stage::{
        Checkpoint, Duration, Empty, Form, LanguageModel, LossOn, Normalize, Objective, OverflowPolicy, SpecialToken,
        Truncate, Validate,
    },
};

use super::{
    corpus::{self, Held, VALIDATION},
    low_rank::{self, LowRank},
    read::Tool,
    recipe::{Recipe, Rows, Tokens, Training},
    settings::{self, Range, Settings},
    source::{Places, locate},
    targets, training,
};

/// `sequence_len` where it is not set.
const SEQUENCE_LEN: u64 = 512;

/// The recipe of an Axolotl configuration.
///
/// # Errors
/// What trains otherwise than on texts: preferences, rewards; a method that is not here; no data set.
pub fn recipe(mut settings: Settings, places: &Places) -> Result<Recipe, Diagnostic> {
    refuse_other_objectives(&mut settings)?;
    let adapter = adapter(&mut settings)?;
    let model = model(&mut settings, places, "base_model", &["revision_of_model"]);
    let tokenizer = settings.has("tokenizer_config").then(|| model_of(&mut settings, places, "tokenizer_config", None));
    let tokenizer = tokenizer.filter(|tokenizer| *tokenizer != model);
    let seed = training::seed(&mut settings);
    let mut sets = data::read(&mut settings, places)?;
    let held = held(&mut settings, sets.validation);
    let corpus = corpus::assemble(sets.train, held, seed.data).ok_or_else(data::no_rows)?;
    settings.absorb(corpus.left);
    let loss_on = match settings.flag("train_on_inputs") {
        Some(true) => LossOn::All,
        _ => sets.shape.loss_on,
    };
    let precision = precision(&mut settings);
    let max_length = settings.count("sequence_len", 1).unwrap_or(SEQUENCE_LEN);
    let too_long = too_long(&mut settings);
    let (epochs, steps) = training::length(&mut settings, "num_epochs", 1);
    let batch = training::batch(&mut settings, "micro_batch_size", 1);
    let scored_at_once = settings.count("eval_batch_size", 1);
    settings.unused("batch_size", "the batch is `micro_batch_size` times `gradient_accumulation_steps`");
    packing(&mut settings);
    special_tokens(&mut settings, &mut sets.shape);
    let validate = corpus.splits.contains_key(VALIDATION).then(|| validate(&mut settings)).flatten();
    let gradient_checkpointing = gradient_checkpointing(&mut settings);
    let training = Training {
        objective: Objective::LanguageModel(LanguageModel { loss_on, normalize: Normalize::Tokens }),
        adapter,
        seed,
        epochs,
        steps,
        batch: batch.clone(),
        optimizer: training::optimizer(&mut settings, "optimizer"),
        schedule: schedule(&mut settings, steps),
        clip: training::clip(&mut settings),
        precision,
        gradient_checkpointing,
        validate,
        checkpoint: checkpoint(&mut settings),
        scored: Some((
            Protocol::Perplexity(protocol::Perplexity { loss_on, window: None }),
            vec![Metric::Perplexity(metric::Perplexity {})],
        )),
        scored_at_once: scored_at_once.or(batch.micro),
    };
    let too_long_scored = match &sets.shape.template.field {
        Some(field) => OverflowPolicy::Truncate(Truncate(field.clone())),
        None => OverflowPolicy::Fail(Empty {}),
    };
    Ok(Recipe {
        tool: Tool::Axolotl.name(),
        model,
        tokenizer,
        rows: Rows::Downloaded { from: corpus.from, format: corpus.format },
        splits: corpus.splits,
        template: sets.shape.template,
        tokens: Tokens {
            chat: sets.shape.chat,
            bos: sets.shape.bos,
            eos: sets.shape.eos,
            max_length,
            form: Form::default(),
            too_long,
            too_long_scored,
        },
        training,
        left: settings.finish(&keys::KNOWN),
    })
}

fn refuse_other_objectives(settings: &mut Settings) -> Result<(), Diagnostic> {
    const HINT: &str =
        "this engine learns texts, classes, numbers and answers in a text: take the key out to import the rest";
    if let Some(word) = settings.text("rl") {
        let word = super::left::printable(&word);
        return Err(Diagnostic::new(
            format!("`rl: {word}` learns from preferences or rewards, which is not here"),
            HINT,
        ));
    }
    for key in ["reward_model", "process_reward_model"] {
        if settings.flag(key) == Some(true) {
            return Err(Diagnostic::new(format!("`{key}: true` learns rewards, which is not here"), HINT));
        }
    }
    Ok(())
}

fn adapter(settings: &mut Settings) -> Result<Adapter, Diagnostic> {
    let word = settings.text("adapter").map(|word| word.to_lowercase());
    match word.as_deref() {
        Some("lora") => {}
        Some("qlora") => {
            let why = "`lora` on a base that is not quantised: more exact, and needs more memory";
            settings.leave("adapter", &Value::from("qlora"), why);
        }
        None => return Ok(Adapter::Full(Full {})),
        Some(other) => {
            let what = format!("`adapter: {}` is no method that can be imported", super::left::printable(other));
            return Err(Diagnostic::new(what, "`lora` and `qlora` are, and no adapter for full fine-tuning"));
        }
    }
    let targets = targets_of(settings);
    let ratio = settings.number("loraplus_lr_ratio", Range::Positive).map(|ratio| ("loraplus_lr_ratio", ratio));
    let said = |settings: &mut Settings, key: &str, default: &str| {
        settings.unset(key, format!("{default}, the default of PEFT"));
    };
    let rank = settings.count("lora_r", 1).unwrap_or_else(|| {
        said(settings, "lora_r", "8");
        low_rank::RANK
    });
    let alpha = settings.number("lora_alpha", Range::Positive).unwrap_or_else(|| {
        said(settings, "lora_alpha", "8");
        low_rank::ALPHA
    });
    let low_rank = LowRank {
        rank,
        alpha,
        dropout: settings.number("lora_dropout", Range::BelowOne).unwrap_or(0.0),
        dora: settings.flag("peft_use_dora").unwrap_or(false),
        stabilized: settings.flag("peft_use_rslora").unwrap_or(false),
        init: low_rank::init(settings, "peft_init_lora_weights"),
        // `bias="none"` stands in Axolotl's code.
        bias: spec::adapter::Bias::None,
        targets,
        exclude: low_rank::exclude(settings, "lora_exclude_modules"),
        layers: low_rank::layers(settings, "peft_layers_to_transform"),
        ranks: low_rank::ranks(settings, "lora_rank_pattern"),
        alphas: low_rank::alphas(settings, "lora_alpha_pattern"),
        ratio,
    };
    Ok(low_rank.adapter(settings, "peft_init_lora_weights"))
}

/// Every linear map where `lora_target_linear` says so; modules that are named beside it are among them.
fn targets_of(settings: &mut Settings) -> Targets {
    if settings.flag("lora_target_linear") != Some(true) {
        return low_rank::targets(settings, "lora_target_modules", targets::of_peft());
    }
    if let Some(value) = settings.take("lora_target_modules") {
        let are_inner = targets::read(&value).is_ok_and(|read| matches!(read, Targets::Roles(_) | Targets::AllLinear));
        let is_empty = value.as_array().is_some_and(Vec::is_empty);
        if !are_inner && !is_empty {
            let why = "`all-linear` is every map but the output head and embeddings, which cannot be named beside it";
            settings.leave("lora_target_modules", &value, why);
        }
    }
    Targets::AllLinear
}

fn model(settings: &mut Settings, places: &Places, key: &str, revisions: &[&str]) -> spec::stage::Source {
    let revision = revisions.iter().find_map(|key| settings.text(key));
    model_of(settings, places, key, revision)
}

fn model_of(settings: &mut Settings, places: &Places, key: &str, revision: Option<String>) -> spec::stage::Source {
    let Some(name) = settings.text(key) else {
        settings.unset(key, "the model is not named: say it in `stages.model.from`");
        return locate(places, "models/base/", false, None).from;
    };
    let found = locate(places, &name, false, revision);
    if let Some(why) = found.why {
        settings.leave(key, &Value::from(name), why);
    }
    found.from
}

/// The rows that are not learned from: other data sets, so many rows, or a part of them.
fn held(settings: &mut Settings, validation: Vec<corpus::Part>) -> Held {
    const KEY: &str = "val_set_size";
    if !validation.is_empty() {
        settings.unused(KEY, "`test_datasets` are validated on");
        return Held::Parts(validation);
    }
    match settings.number(KEY, Range::NotNegative) {
        Some(part) if part > 0.0 && part < 1.0 => Held::Fraction { key: KEY.to_owned(), part },
        Some(rows) if rows >= 1.0 => match settings::count(&Value::from(rows)) {
            Some(rows) => Held::Rows(rows),
            None => {
                settings.leave(
                    KEY,
                    &Value::from(rows),
                    "not used: a part of 1, or a whole number of rows was expected",
                );
                Held::Nothing
            }
        },
        _ => Held::Nothing,
    }
}

/// `bf16: auto` stands where nothing is said: what the device can do, which today is bf16.
fn precision(settings: &mut Settings) -> Precision {
    let is_on = |settings: &mut Settings, key: &str| {
        settings.take(key).and_then(|value| match &value {
            Value::Bool(flag) => Some(*flag),
            Value::String(word) => match word.to_lowercase().as_str() {
                "auto" | "full" | "true" | "yes" => Some(true),
                "false" | "no" => Some(false),
                _ => None,
            },
            _ => None,
        })
    };
    let bf16 = is_on(settings, "bf16");
    let [fp16, bfloat16, float16, float32] =
        ["fp16", "bfloat16", "float16", "float32"].map(|key| is_on(settings, key) == Some(true));
    let number = match bf16 {
        Some(true) => Number::Bf16,
        _ if bfloat16 => Number::Bf16,
        _ if fp16 || float16 => Number::Fp16,
        None if !float32 => {
            settings.unset("bf16", "`bf16`, which `auto` means on a GPU that can");
            Number::Bf16
        }
        _ => Number::Float32,
    };
    Precision::all(number)
}

fn too_long(settings: &mut Settings) -> OverflowPolicy {
    const KEY: &str = "excess_length_strategy";
    match settings.take(KEY) {
        None => OverflowPolicy::Drop(Empty {}),
        Some(value) => match value.as_str().map(str::to_lowercase).as_deref() {
            Some("drop") => OverflowPolicy::Drop(Empty {}),
            Some("raise") => OverflowPolicy::Fail(Empty {}),
            _ => {
                settings.leave(KEY, &value, "rows that are too long are left out: a row is not cut in its answer here");
                OverflowPolicy::Drop(Empty {})
            }
        },
    }
}

/// The tokens that begin and end a row. Padding never carries loss, and no text has an unknown token here.
fn special_tokens(settings: &mut Settings, shape: &mut shapes::Shape) {
    let Some(mut special) = settings.below("special_tokens") else { return };
    for (key, token) in [("bos_token", &mut shape.bos), ("eos_token", &mut shape.eos)] {
        let Some(text) = special.text(key) else { continue };
        match (&shape.chat, &token) {
            (None, SpecialToken::Auto) => *token = SpecialToken::Token(text),
            _ => special.leave(key, &Value::from(text), "the form of the rows says what begins and ends them"),
        }
    }
    settings.absorb(special.finish(&keys::OF_TOKENS));
}

/// Axolotl packs rows into sequences that do not see each other; a step then has more rows than `micro_batch_size` says.
fn packing(settings: &mut Settings) {
    if settings.flag("sample_packing") == Some(true) {
        let why = "rows are not packed here: a row of `batch` is one example, where there it was a sequence of several. Raise \
                   `batch.size`, or lower the learning rate, to train alike";
        settings.leave("sample_packing", &Value::from(true), why);
    }
}

fn validate(settings: &mut Settings) -> Option<Validate> {
    let patience = settings.count("early_stopping_patience", 1);
    let strategy = if settings.has("eval_strategy") { "eval_strategy" } else { "evaluation_strategy" };
    let every = training::every(settings, strategy, None);
    let times = settings.take("evals_per_epoch");
    let keep = training::keep(settings, patience);
    training::never_stops(settings, "early_stopping_patience", every.as_ref(), patience);
    if let Some(times) = times.filter(|times| settings::count(times) != Some(1)) {
        let why = "after each epoch: how many steps one has is not known here; say `validate.every: {steps: …}`";
        settings.leave("evals_per_epoch", &times, why);
    }
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

fn gradient_checkpointing(settings: &mut Settings) -> bool {
    let Some(value) = settings.take("gradient_checkpointing") else { return false };
    match &value {
        Value::Bool(flag) => *flag,
        Value::String(word) if matches!(word.as_str(), "offload" | "offload_disk") => {
            settings.leave("gradient_checkpointing", &value, "activations are computed again, and stay on the device");
            true
        }
        Value::String(word) if matches!(word.to_lowercase().as_str(), "true" | "yes" | "unsloth") => true,
        Value::String(word) if matches!(word.to_lowercase().as_str(), "false" | "no") => false,
        _ => {
            settings.leave("gradient_checkpointing", &value, "not used: `true` or `false` was expected");
            false
        }
    }
}

/// Without a warm-up, Axolotl takes 3 % of the steps, and 100 at most.
fn schedule(settings: &mut Settings, steps: Option<u64>) -> spec::schedule::Schedule {
    const PART: f64 = 0.03;
    const MOST: u64 = 100;
    let unset = match steps {
        Some(steps) => Some((steps.saturating_mul(3) / 100).min(MOST)).filter(|steps| *steps > 0).map(Duration::Steps),
        None => {
            if !settings.has("warmup_steps") && !settings.has("warmup_ratio") {
                settings.unset(
                    "warmup_ratio",
                    "3 % of the steps, as there; the 100 steps that it is at most there are no bound here",
                );
            }
            Some(Duration::Ratio(PART))
        }
    };
    training::schedule(settings, "lr_scheduler", "cosine", unset)
}

fn checkpoint(settings: &mut Settings) -> Checkpoint {
    // A part of all steps and `saves_per_epoch` only say what is kept, and nothing of the result depends on that.
    let steps = settings.take("save_steps").as_ref().and_then(settings::count).filter(|steps| *steps > 0);
    steps.map_or_else(Checkpoint::default, |steps| Checkpoint { steps })
}
