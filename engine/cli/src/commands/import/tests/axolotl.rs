//! Axolotl's configurations.

use spec::{
    adapter::{Adapter, Init, PlainInit, Scale, Targets},
    optimizer::{AdamW, Optimizer},
    precision::{Number, Precision},
    schedule::{Schedule, Warmup},
    stage::{
        Batch, Duration, Every, Format, Hub, Keep, KeepBest, LanguageModel, LossOn, MaxLength, Objective, Overflow,
        OverflowPolicy, Seed, Source, SpecialToken, Take,
    },
};

use super::Case;

fn hub(dataset: &str) -> Hub {
    Hub { dataset: Some(dataset.into()), ..Hub::default() }
}

fn loss_on(case: &Case) -> LossOn {
    match &case.train().objective {
        Objective::LanguageModel(LanguageModel { loss_on, .. }) => *loss_on,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_example_of_the_tool_is_carried_over() {
    let case = Case::of("axolotl/lora.yml");
    case.check().unwrap();
    assert_eq!(
        *case.from("model"),
        Source::Hub(Hub { model: Some("NousResearch/Meta-Llama-3-8B".into()), ..Hub::default() })
    );
    assert_eq!(*case.from("data"), Source::Hub(hub("mhenrichsen/alpaca_2k_test")));
    let Adapter::Lora(lora) = case.adapter() else { panic!() };
    assert_eq!((&lora.rank, lora.alpha, lora.dropout), (&32.into(), 16.0, 0.05));
    assert_eq!((&lora.targets, lora.scale, lora.init), (&Targets::AllLinear, Scale::Standard, Init::Kaiming));
    let train = case.train();
    assert_eq!((train.epochs, train.steps, train.clip), (Some(4), None, Some(1.0)));
    assert_eq!(train.batch, Batch { size: 8, micro: Some(2), ..Batch::default() });
    let adamw = AdamW { learning_rate: 2e-4, weight_decay: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    assert_eq!(train.optimizer, Optimizer::AdamW(adamw));
    assert_eq!(train.schedule, Schedule::Cosine(Warmup { warmup: Some(Duration::Steps(10)) }));
    assert_eq!((train.precision, train.gradient_checkpointing), (Precision::all(Number::Bf16), true));
    assert_eq!(train.seed, Seed { init: 42, data: 42, dropout: 42 });
    assert_eq!(loss_on(&case), LossOn::Completion);
    assert_eq!(case.tokens().max_length, MaxLength::Row(4096));
    assert_eq!(case.tokens().overflow.of("train"), OverflowPolicy::Drop(spec::stage::Empty {}));
    let splits = &case.rows().splits;
    assert_eq!(splits["validation"].hold_out.as_ref().map(|held| (held.rows, held.seed)), Some((100, 42)));
    assert_eq!((splits["train"].rest_of.as_deref(), &splits["train"].take), (Some("validation"), &Take::Rows(1500)));
    let validate = train.validate.as_ref().unwrap();
    assert_eq!((validate.on.as_str(), &validate.every), ("validation", &Every::Epochs(1)));
    assert_eq!(case.scores().precision, train.precision);
    let mut left = case.left();
    left.sort_unstable();
    let expected = [
        "attn_implementation",
        "datasets.0.split",
        "deepspeed",
        "evals_per_epoch",
        "load_in_8bit",
        "lora_modules_to_save",
        "lora_rnak",
        "loss_watchdog_threshold",
        "optimizer",
        "sample_packing",
        "val_set_size",
    ];
    assert_eq!(left, expected);
    assert!(case.why("lora_rnak").contains("unknown"));
}

#[test]
fn the_alpaca_template_writes_what_the_tool_writes() {
    let case = Case::of("axolotl/dora.yml");
    let rendered = case.rendered("data/rows.jsonl");
    let paired = "Below is an instruction that describes a task, paired with an input that provides further context. Write a \
                  response that appropriately completes the request.\n\n### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### \
                  Response:\n";
    assert_eq!(rendered[0].prompt.as_deref(), Some(paired));
    assert_eq!(rendered[0].completion.as_deref(), Some("3"));
    let alone = "Below is an instruction that describes a task. Write a response that appropriately completes the \
                 request.\n\n### Instruction:\nSay hello.\n\n### Response:\n";
    assert_eq!(rendered[1].prompt.as_deref(), Some(alone));
}

#[test]
fn what_is_not_set_means_what_it_means_there() {
    let case = Case::of("axolotl/defaults.yml");
    case.check().unwrap();
    let Adapter::Lora(lora) = case.adapter() else { panic!() };
    // PEFT's 8 and 8, not this engine's.
    assert_eq!((&lora.rank, lora.alpha, lora.dropout), (&8.into(), 8.0, 0.0));
    let roles = ["attention.q", "attention.v", "mlp.down"].map(str::to_owned).to_vec();
    assert_eq!(lora.targets, Targets::Roles(roles));
    let train = case.train();
    assert_eq!(train.batch, Batch { size: 1, micro: Some(1), ..Batch::default() });
    assert_eq!((train.epochs, train.clip, train.gradient_checkpointing), (Some(1), Some(1.0), false));
    assert_eq!(train.schedule, Schedule::Cosine(Warmup { warmup: Some(Duration::Ratio(0.03)) }));
    assert_eq!(train.precision, Precision::all(Number::Bf16));
    assert_eq!(case.tokens().max_length, MaxLength::Row(512));
    let config = Some("small".into());
    assert_eq!(*case.from("data"), Source::Hub(Hub { config, revision: Some("v1.0".into()), ..hub("owner/data") }));
    assert!(train.validate.is_none() && !case.has("scores") && !case.rows().splits.contains_key("validation"));
    assert_eq!(case.left(), ["lora_r", "lora_alpha", "bf16", "warmup_ratio"]);
}

#[test]
fn dora_with_all_that_goes_with_it() {
    let case = Case::of("axolotl/dora.yml");
    case.check().unwrap();
    assert_eq!(*case.from("model"), Source::Path("models/base".into()));
    assert_eq!(*case.from("data"), Source::Path("data/rows.jsonl".into()));
    let Adapter::Dora(dora) = case.adapter() else { panic!() };
    assert_eq!((&dora.rank, dora.alpha, dora.scale), (&16.into(), 32.0, Scale::RankStabilized));
    assert_eq!(dora.targets, Targets::Suffix(vec!["lm_head".into(), "q_proj".into()]));
    assert_eq!(dora.layers, Some(vec![1, 3]));
    assert_eq!(dora.rank_pattern, [("q_proj".to_owned(), 4), ("layers\\.3\\..*".to_owned(), 16)].into());
    assert_eq!(dora.alpha_pattern, [("q_proj".to_owned(), 8.0)].into());
    assert_eq!(dora.init, PlainInit::Kaiming);
    let train = case.train();
    assert_eq!((train.epochs, train.steps, train.clip), (None, Some(1000), None));
    let adamw = AdamW { learning_rate: 1e-3, weight_decay: 0.0, beta1: 0.8, beta2: 0.95, epsilon: 1e-6 };
    assert_eq!(train.optimizer, Optimizer::AdamW(adamw));
    // 3 % of 1000 steps, below the 100 that it is at most.
    assert_eq!(train.schedule, Schedule::Constant(Warmup { warmup: Some(Duration::Steps(30)) }));
    assert_eq!((train.precision, train.seed.data, train.checkpoint.steps), (Precision::all(Number::Fp16), 7, 100));
    let validate = train.validate.as_ref().unwrap();
    assert_eq!((&validate.every, validate.patience), (&Every::Steps(50), Some(3)));
    assert_eq!(validate.keep, Keep::Best(KeepBest::Loss));
    assert_eq!(case.rows().splits["validation"].hold_out.as_ref().map(|held| (held.rows, held.seed)), Some((12, 7)));
    assert_eq!(loss_on(&case), LossOn::All);
    assert_eq!(case.tokens().overflow.of("train"), OverflowPolicy::Fail(spec::stage::Empty {}));
    let expected = [
        "adapter",
        "peft_init_lora_weights",
        "lora_rank_pattern.bad",
        "loraplus_lr_ratio",
        "peft_init_lora_weights",
        "num_epochs",
    ];
    assert_eq!(case.left(), expected);
}

#[test]
fn full_fine_tuning_of_plain_texts_with_a_test_set() {
    let case = Case::of("axolotl/full.yml");
    case.check().unwrap();
    assert!(matches!(case.adapter(), Adapter::Full(_)));
    let splits = &case.rows().splits;
    assert_eq!(splits["train"].from.0, ["data/rows.jsonl"]);
    assert_eq!(splits["validation"].from.0, ["rows/rows.jsonl"]);
    assert_eq!(loss_on(&case), LossOn::All);
    let rendered = case.rendered("data/rows.jsonl");
    assert_eq!((rendered[0].prompt.as_deref(), rendered[0].completion.as_deref()), (Some(""), Some("3")));
    let train = case.train();
    assert_eq!(
        (train.epochs, &train.schedule),
        (Some(2), &Schedule::Cosine(Warmup { warmup: Some(Duration::Ratio(0.2)) }))
    );
    assert_eq!(train.validate.as_ref().unwrap().every, Every::Steps(100));
    let left = case.left();
    for key in ["lora_r", "optimizer", "lr_scheduler", "num_epochs", "test_datasets.1", "bf16"] {
        assert!(left.contains(&key), "{key}: {left:?}");
    }
    // What is off is nothing to speak of.
    assert!(!left.contains(&"flash_attention"), "{left:?}");
}

#[test]
fn chats_are_written_by_the_tokenizers_template() {
    let case = Case::of("axolotl/chats.yml");
    case.check().unwrap();
    let chat = case.tokens().chat.as_ref().unwrap();
    assert_eq!(chat.system.as_deref(), Some("Be brief."));
    assert_eq!(chat.variables["enable_thinking"], false);
    let pair = |prompt: &str, completion: &str| (prompt.to_owned(), completion.to_owned());
    let rendered = case.rendered("data/chats.jsonl");
    assert_eq!(rendered[0].pairs, Some(vec![pair("Be kind.\n\nHi", "Hello"), pair("Bye", "See you")]));
    assert_eq!(rendered[1].pairs, Some(vec![pair("1", "2")]));
    // A quarter of five rows, rounded up.
    assert_eq!(case.rows().splits["validation"].hold_out.as_ref().map(|held| held.rows), Some(2));
    let left = case.left();
    for key in [
        "chat_template",
        "datasets.0.roles_to_train",
        "datasets.0.roles.system",
        "datasets.0.train_on_eos",
        "special_tokens.eos_token",
        "special_tokens.additional_special_tokens",
    ] {
        assert!(left.contains(&key), "{key}: {left:?}");
    }
    assert!(!left.contains(&"val_set_size"), "{left:?}");
}

#[test]
fn a_form_of_ones_own_becomes_a_template() {
    let case = Case::of("axolotl/own.yml");
    let rendered = case.rendered("data/rows.jsonl");
    let before = "[Use {{x}} and ${vars.x} {% if %}] ";
    assert_eq!(rendered[0].prompt, Some(format!("{before}Add.|1 2|{{other}} {{literal}}\n")));
    assert_eq!(rendered[1].prompt, Some(format!("{before}Say hello.>")));
    assert_eq!(rendered[1].completion.as_deref(), Some("Hello."));
    assert!(case.why("datasets.0.type.field_output").contains("rename the column"));
    assert_eq!(case.tokens().eos, SpecialToken::Token("</end>".into()));
    // Rows that are no chats have no chat template.
    assert!(!case.left().contains(&"chat_template"));
}

#[test]
fn several_data_sets_are_parts_of_one_download() {
    let case = Case::of("axolotl/several.yml");
    case.check().unwrap();
    let Source::Parts(parts) = case.from("data") else { panic!() };
    let names: Vec<&str> = parts.keys().map(String::as_str).collect();
    assert_eq!(names, ["one", "one_2", "two"]);
    assert_eq!(parts["one_2"].0, Source::Hub(Hub { files: Some(vec!["a/b.json".into()]), ..hub("other/one") }));
    let splits = &case.rows().splits;
    assert_eq!(splits["train"].from.0, ["one/train", "two/train", "one_2/a/b.json"]);
    assert_eq!(splits["train"].take, Take::All);
    assert_eq!(splits["validation"].from.0, ["one/test"]);
    let left = case.left();
    for key in ["datasets.0.split", "datasets.3", "datasets.4", "datasets.5", "test_datasets.1"] {
        assert!(left.contains(&key), "{key}: {left:?}");
    }
}

#[test]
fn anchors_merge_keys_and_words_for_true_are_yaml_as_the_tool_reads_it() {
    let case = Case::of("axolotl/anchors.yml");
    case.check().unwrap();
    let Adapter::Lora(lora) = case.adapter() else { panic!() };
    assert_eq!(lora.targets, Targets::AllLinear);
    assert_eq!(case.imported.template, "imported/alpaca.jinja");
    assert!(case.why("defaults").contains("unknown"));
}

#[test]
fn segments_are_joined_until_they_carry_loss_otherwise() {
    let case = Case::of("axolotl/segments.yml");
    case.check().unwrap();
    assert_eq!(*case.from("data"), Source::Path("data/segments.jsonl".into()));
    let pair = |prompt: &str, completion: &str| (prompt.to_owned(), completion.to_owned());
    assert_eq!(case.rendered("data/segments.jsonl")[0].pairs, Some(vec![pair("ab", "cd"), pair("e", "f")]));
    assert_eq!((&case.tokens().bos, &case.tokens().eos), (&SpecialToken::None, &SpecialToken::None));
    assert!(matches!(case.tokens().overflow, Overflow::Every(OverflowPolicy::Drop(_))));
    assert_eq!(case.rows().format, None::<Format>);
}
