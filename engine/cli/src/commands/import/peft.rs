//! PEFT's `adapter_config.json`: a method and the model that it adapts, no rows and no training. Checked against PEFT 0.21.2.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use spec::{
    adapter::{Adapter, Ia3, Prefix, Projection, Prompt, PromptInit, Targets, Vera},
    diagnostic::Diagnostic,
    metric::{self, Metric},
    optimizer::Optimizer,
    precision::Precision,
    protocol::{self, Protocol},
    schedule::Schedule,
    stage::{
        Batch, Checkpoint, Empty, Form, LiteralRows, Objective, OverflowPolicy, Seed, SpecialToken, Split, SplitNames,
        Take, TextForm, Truncate,
    },
};

use super::{
    corpus::{TRAIN, VALIDATION},
    left::Known,
    low_rank::{self, LowRank},
    read::Tool,
    recipe::{Recipe, Rows, Tokens, Training},
    settings::{Range, Settings},
    source::{Places, locate},
    targets,
    template::{self, Template},
};

const KNOWN: Known = Known {
    // What PEFT writes for itself, or works out from the model.
    no_difference: &[
        "auto_mapping",
        "fan_in_fan_out",
        "inference_mode",
        "init_ia3_weights",
        "megatron_core",
        "num_attention_heads",
        "num_layers",
        "num_transformer_submodules",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "runtime_config",
        "save_projection",
        "token_dim",
        "tokenizer_kwargs",
        "tokenizer_name_or_path",
    ],
    no_counterpart: &[
        ("no module trains whole beside the adapter here, but for heads of classes and answers", &["modules_to_save"]),
        ("layers are numbered here by the family, wherever they stand in the model", &["layers_pattern"]),
        (
            "single tokens do not train here; `{prompt: {tokens: …}}` has tokens of its own",
            &["trainable_token_indices"],
        ),
        ("the adapter has no biases of its own here", &["lora_bias"]),
        ("maps alone are adapted here, no other parameters", &["target_parameters"]),
        ("layers are not repeated here", &["layer_replication"]),
        (
            "settings of a way to begin that is not here",
            &["corda_config", "eva_config", "loftq_config", "lora_ga_config"],
        ),
        (
            "a variant of LoRA that is not here",
            &[
                "alora_invocation_tokens",
                "arrow_config",
                "kasa_config",
                "monteclora_config",
                "use_bdlora",
                "use_qalora",
                "velora_config",
            ],
        ),
        ("tied maps are adapted once here", &["ensure_weight_tying"]),
        ("a model is not divided over machines here", &["megatron_config"]),
        ("other first values than PEFT's own are not here", &["init_weights"]),
    ],
};

/// What an adapter learned, beside its configuration.
const WEIGHTS: &str = "adapter_model.safetensors";

/// What a `task_type` is learned as: how rows look, and how the result is scored.
struct Task {
    objective: Objective,
    form: Form,
    template: Template,
    rows: [Value; 2],
    scored: (Protocol, Vec<Metric>),
    truncated: &'static str,
}

/// The recipe of an adapter's configuration: its method and its model, and rows to be replaced.
///
/// # Errors
/// A method that is not here.
pub fn recipe(mut settings: Settings, places: &Places) -> Result<Recipe, Diagnostic> {
    let kind = settings.text("peft_type").unwrap_or_default().to_uppercase();
    let adapter = match kind.as_str() {
        "LORA" => lora(&mut settings),
        "IA3" => ia3(&mut settings),
        "VERA" => vera(&mut settings),
        "PROMPT_TUNING" => prompt(&mut settings),
        "PREFIX_TUNING" => prefix(&mut settings),
        _ => {
            let what = format!("`peft_type: {}` is no method of this engine", super::left::printable(&kind));
            return Err(Diagnostic::new(what, "LORA, IA3, VERA, PROMPT_TUNING and PREFIX_TUNING are imported"));
        }
    };
    let revision = settings.text("revision");
    let found = match settings.text("base_model_name_or_path") {
        Some(name) => {
            let found = locate(places, &name, false, revision);
            if let Some(why) = &found.why {
                settings.leave("base_model_name_or_path", &Value::from(name), why.as_str());
            }
            found
        }
        None => {
            settings.unset("base_model_name_or_path", "the model is not named: say it in `stages.model.from`");
            locate(places, "models/base/", false, None)
        }
    };
    let task = task(&mut settings);
    if let Some(modules) = settings.take("modules_to_save") {
        // A head trains whole beside any method.
        let is_head = |name: &Value| matches!(name.as_str(), Some("classifier" | "score" | "qa_outputs"));
        let has_head = !matches!(task.objective, Objective::LanguageModel(_) | Objective::Seq2Seq(_));
        let is_done = |list: &Vec<Value>| list.is_empty() || (has_head && list.iter().all(is_head));
        if !modules.as_array().is_some_and(is_done) {
            settings.leave("modules_to_save", &modules, KNOWN.reason("modules_to_save").unwrap_or_default());
        }
    }
    if places.beside(WEIGHTS) {
        let why = "the trained weights beside it are not read, a new adapter is trained: to go on from them, `download` the \
                   folder and write `adapter: {from: STAGE}`";
        settings.differs(WEIGHTS, why);
    }
    settings.differs(
        "rows and training",
        "the configuration names no data and no training: put yours into the stages `rows` and `tuned`, whose settings are \
         this engine's own defaults",
    );
    let split = |from: &str| Split {
        from: SplitNames(vec![from.to_owned()]),
        filter: None,
        hold_out: None,
        rest_of: None,
        shuffle: None,
        take: Take::All,
        permute: None,
    };
    let row = |row: &Value| row.as_object().cloned().into_iter().collect::<Vec<_>>();
    let [learned, held] = &task.rows;
    let rows: LiteralRows = [(TRAIN.to_owned(), row(learned)), (VALIDATION.to_owned(), row(held))].into();
    let chosen = |name: &str| (name.to_owned(), split(name));
    Ok(Recipe {
        tool: Tool::Peft.name(),
        model: found.from,
        tokenizer: None,
        rows: Rows::Written(rows),
        splits: BTreeMap::from([chosen(TRAIN), chosen(VALIDATION)]),
        template: task.template,
        tokens: Tokens {
            chat: None,
            bos: SpecialToken::Auto,
            eos: SpecialToken::Auto,
            max_length: 512,
            form: task.form,
            too_long: OverflowPolicy::Drop(Empty {}),
            too_long_scored: OverflowPolicy::Truncate(Truncate(task.truncated.to_owned())),
        },
        training: Training {
            objective: task.objective,
            adapter,
            seed: Seed::default(),
            epochs: Some(1),
            steps: None,
            batch: Batch::default(),
            optimizer: Optimizer::default(),
            schedule: Schedule::default(),
            clip: None,
            precision: Precision::default(),
            gradient_checkpointing: false,
            validate: None,
            checkpoint: Checkpoint::default(),
            scored: Some(task.scored),
            scored_at_once: None,
        },
        left: settings.finish(&KNOWN),
    })
}

fn lora(settings: &mut Settings) -> Adapter {
    let low_rank = LowRank {
        rank: settings.count("r", 1).unwrap_or(low_rank::RANK),
        alpha: settings.number("lora_alpha", Range::Positive).unwrap_or(low_rank::ALPHA),
        dropout: settings.number("lora_dropout", Range::BelowOne).unwrap_or(0.0),
        dora: settings.flag("use_dora").unwrap_or(false),
        stabilized: settings.flag("use_rslora").unwrap_or(false),
        init: low_rank::init(settings, "init_lora_weights"),
        bias: low_rank::bias(settings, "bias"),
        targets: low_rank::targets(settings, "target_modules", targets::of_peft()),
        exclude: low_rank::exclude(settings, "exclude_modules"),
        layers: low_rank::layers(settings, "layers_to_transform"),
        ranks: low_rank::ranks(settings, "rank_pattern"),
        alphas: low_rank::alphas(settings, "alpha_pattern"),
        ratio: None,
    };
    low_rank.adapter(settings, "init_lora_weights")
}

fn ia3(settings: &mut Settings) -> Adapter {
    settings.unused("exclude_modules", "IA3 leaves out no target here: name the others in `targets`");
    let of_paper = || Targets::Roles(["attention.k", "attention.v", "mlp.down"].map(str::to_owned).into());
    let targets = match settings.take("target_modules") {
        None => {
            settings.unset(
                "target_modules",
                "PEFT chooses by the model's family: keys, values and what leads out of an MLP here",
            );
            of_paper()
        }
        Some(value) => targets::read(&value).unwrap_or_else(|why| {
            settings.leave("target_modules", &value, format!("not used: {why}; those of the paper are adapted"));
            of_paper()
        }),
    };
    let feedforward = settings.take("feedforward_modules").and_then(|value| match targets::read(&value) {
        Ok(found) => Some(found),
        Err(why) => {
            settings.leave(
                "feedforward_modules",
                &value,
                format!("not used: {why}; inputs of what leads out of an MLP are scaled"),
            );
            None
        }
    });
    Adapter::Ia3(Ia3 { targets, feedforward })
}

fn vera(settings: &mut Settings) -> Adapter {
    const FOR_ALL: &str = "VeRA adapts its targets in every layer here";
    settings.unused("layers_to_transform", FOR_ALL);
    settings.unused("bias", "biases do not train beside VeRA here");
    if settings.take("init_weights").is_some_and(|value| value == json!(false)) {
        settings.leave("init_weights", &json!(false), "VeRA begins as the base model here");
    }
    Adapter::Vera(Vera {
        // PEFT 0.21, `VeraConfig`: r 256, d_initial 0.1, projection_prng_key 0.
        rank: settings.count("r", 1).unwrap_or(256).into(),
        d_initial: settings.number("d_initial", Range::NotZero).unwrap_or(0.1),
        projection_seed: settings.count("projection_prng_key", 0).unwrap_or(0),
        dropout: settings.number("vera_dropout", Range::BelowOne).unwrap_or(0.0),
        targets: low_rank::targets(settings, "target_modules", targets::of_peft()),
    })
}

/// How many virtual tokens there are where none are named; PEFT wants them named.
const VIRTUAL_TOKENS: u64 = 20;

fn virtual_tokens(settings: &mut Settings) -> u64 {
    settings.count("num_virtual_tokens", 1).unwrap_or_else(|| {
        settings.unset("num_virtual_tokens", "20 stand in its place");
        VIRTUAL_TOKENS
    })
}

fn prompt(settings: &mut Settings) -> Adapter {
    let tokens = virtual_tokens(settings).into();
    let text = settings.text("prompt_tuning_init_text");
    let word = settings.take("prompt_tuning_init").unwrap_or_else(|| json!("RANDOM"));
    let init = match (word.as_str().unwrap_or_default().to_uppercase().as_str(), text) {
        ("TEXT", Some(text)) => PromptInit::Text(text),
        ("SAMPLE_VOCAB", _) => PromptInit::Vocabulary(Empty {}),
        ("RANDOM", _) => PromptInit::Random(Empty {}),
        _ => {
            settings.leave(
                "prompt_tuning_init",
                &word,
                "not used: RANDOM, SAMPLE_VOCAB or TEXT with its text was expected; random here",
            );
            PromptInit::Random(Empty {})
        }
    };
    Adapter::Prompt(Prompt { tokens, init })
}

fn prefix(settings: &mut Settings) -> Adapter {
    let tokens = virtual_tokens(settings).into();
    let width = settings.count("encoder_hidden_size", 1);
    let projected = settings.flag("prefix_projection").unwrap_or(false);
    let projection = projected.then(|| {
        // PEFT takes the width of a token where none is named.
        let width = width.or_else(|| settings.count("token_dim", 1)).unwrap_or_else(|| {
            settings
                .unset("encoder_hidden_size", "the width of the model there; 512 here: say it in `projection.width`");
            512
        });
        Projection { width }
    });
    Adapter::Prefix(Prefix { tokens, projection })
}

fn task(settings: &mut Settings) -> Task {
    let value = settings.take("task_type");
    let word = value.as_ref().and_then(Value::as_str).unwrap_or_default().to_uppercase();
    let blocks = template::blocks;
    let answered = |name, heading| {
        let both: &[(&str, &str)] = &[("prompt", "{{ prompt }}"), ("completion", "{{ completion }}")];
        blocks(name, heading, both, Some("prompt"))
    };
    let pairs = || [json!({"prompt": "2 + 2 =", "completion": " 4"}), json!({"prompt": "1 + 2 =", "completion": " 3"})];
    let perplexity = || {
        let protocol = Protocol::Perplexity(protocol::Perplexity::default());
        (protocol, vec![Metric::Perplexity(metric::Perplexity {})])
    };
    match word.as_str() {
        "SEQ_CLS" => Task {
            objective: Objective::Classify(Empty {}),
            form: Form::Text(TextForm::default()),
            template: blocks(
                "class",
                "A text and its class. Columns: text, label.",
                &[("prompt", "{{ text }}"), ("label", "{{ label }}")],
                Some("text"),
            ),
            rows: [json!({"text": "good", "label": "yes"}), json!({"text": "bad", "label": "no"})],
            scored: (Protocol::Classify(Empty {}), vec![Metric::Accuracy(metric::Accuracy {})]),
            truncated: "prompt",
        },
        "QUESTION_ANS" => Task {
            objective: Objective::Span(Empty {}),
            form: Form::Text(TextForm::default()),
            template: blocks(
                "answer",
                "A question, and the text that holds its answer. Columns: question, context, answers (a list of {text, start}).",
                &[
                    ("prompt", "{{ question }}"),
                    ("pair", "{{ context }}"),
                    ("answers", "{{ answers|tojson }}"),
                    (
                        "references",
                        "[{% for answer in answers %}{{ answer.text|tojson }}{% if not loop.last %}, {% endif %}{% endfor %}]",
                    ),
                ],
                None,
            ),
            rows: [
                json!({"question": "Who?", "context": "It was Ann.", "answers": [{"text": "Ann", "start": 7}]}),
                json!({"question": "When?", "context": "It was May.", "answers": [{"text": "May", "start": 7}]}),
            ],
            scored: (Protocol::Span(protocol::Span::default()), vec![Metric::SquadV1(metric::SquadV1 {})]),
            truncated: "pair",
        },
        "SEQ_2_SEQ_LM" => Task {
            objective: Objective::Seq2Seq(spec::stage::Seq2Seq::default()),
            form: Form::Seq2Seq(Empty {}),
            template: answered("answer", "A text and its answer. Columns: prompt, completion."),
            rows: pairs(),
            scored: perplexity(),
            truncated: "prompt",
        },
        _ => {
            if word != "CAUSAL_LM" {
                let why = "learned as a language model: `classify`, `span` and `seq2seq` are the other objectives";
                match &value {
                    Some(value) => settings.leave("task_type", value, why),
                    None => settings.unset("task_type", why),
                }
            }
            Task {
                objective: Objective::default(),
                form: Form::default(),
                template: answered("prompt", "A prompt and its completion. Columns: prompt, completion."),
                rows: pairs(),
                scored: perplexity(),
                truncated: "prompt",
            }
        }
    }
}
