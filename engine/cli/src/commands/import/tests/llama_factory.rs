//! LLaMA-Factory's configurations.

use spec::{
    adapter::{Adapter, PlainInit, Targets},
    metric::Metric,
    optimizer::{AdamW, Optimizer},
    precision::{Number, Precision},
    schedule::{Schedule, Warmup},
    stage::{
        Batch, Duration, Every, Hub, Keep, KeepBest, LanguageModel, LossOn, MaxLength, Objective, OverflowPolicy, Seed,
        Source, Take, Truncate,
    },
};

use super::Case;

fn loss_on(case: &Case) -> LossOn {
    match &case.train().objective {
        Objective::LanguageModel(LanguageModel { loss_on, .. }) => *loss_on,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_example_of_the_tool_is_carried_over() {
    let case = Case::of("llama_factory/lora.yaml");
    case.check().unwrap();
    assert_eq!(*case.from("data"), Source::Path("data/rows.jsonl".into()));
    let Adapter::Lora(lora) = case.adapter() else { panic!() };
    // Alpha is twice the rank where it is not set.
    assert_eq!((&lora.rank, lora.alpha, &lora.targets), (&8.into(), 16.0, &Targets::AllLinear));
    let train = case.train();
    assert_eq!(train.batch, Batch { size: 8, micro: Some(1), ..Batch::default() });
    assert_eq!((train.epochs, train.clip, train.gradient_checkpointing), (Some(3), Some(1.0), true));
    assert_eq!(train.schedule, Schedule::Cosine(Warmup { warmup: Some(Duration::Ratio(0.1)) }));
    assert_eq!(train.checkpoint.steps, 250);
    let validate = train.validate.as_ref().unwrap();
    assert_eq!((&validate.every, validate.patience), (&Every::Steps(500), Some(2)));
    assert_eq!(validate.keep, Keep::Best(KeepBest::Loss));
    // A tenth of the three rows that are taken, rounded up.
    let splits = &case.rows().splits;
    assert_eq!(splits["validation"].hold_out.as_ref().map(|held| (held.rows, held.seed)), Some((1, 42)));
    assert_eq!(splits["train"].take, Take::Rows(3));
    assert_eq!(case.tokens().max_length, MaxLength::Row(1024));
    assert_eq!(case.tokens().overflow.of("validation"), OverflowPolicy::Truncate(Truncate("input".into())));
    assert!(case.tokens().chat.is_some());
    assert_eq!(case.scores().batch.size, 1);
    assert!(matches!(case.scores().metrics.as_slice(), [Metric::Perplexity(_), Metric::TokenAccuracy(_)]));
    let rendered = case.rendered("data/rows.jsonl");
    assert_eq!(rendered[0].prompt.as_deref(), Some("Add.\n1 2"));
    assert_eq!(rendered[1].prompt.as_deref(), Some("Say hello."));
    assert_eq!(case.left(), ["template", "max_samples", "cutoff_len", "trust_remote_code"]);
}

#[test]
fn what_is_not_set_means_what_it_means_there() {
    let case = Case::of("llama_factory/defaults.yaml");
    case.check().unwrap();
    let Adapter::Lora(lora) = case.adapter() else { panic!() };
    assert_eq!((&lora.rank, lora.alpha, lora.dropout, &lora.targets), (&8.into(), 16.0, 0.0, &Targets::AllLinear));
    let train = case.train();
    let adamw = AdamW { learning_rate: 5e-5, weight_decay: 0.0, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    assert_eq!(train.optimizer, Optimizer::AdamW(adamw));
    assert_eq!(train.schedule, Schedule::Linear(Warmup { warmup: None }));
    assert_eq!((train.epochs, train.clip, train.checkpoint.steps), (Some(3), Some(1.0), 500));
    assert_eq!(train.batch, Batch { size: 8, micro: Some(8), ..Batch::default() });
    assert_eq!(train.seed, Seed { init: 42, data: 42, dropout: 42 });
    assert_eq!((train.precision, train.gradient_checkpointing), (Precision::default(), true));
    assert_eq!(case.tokens().max_length, MaxLength::Row(2048));
    // Validated in the end alone: `eval_strategy` is `no`.
    assert!(train.validate.is_none() && case.has("scores"));
    let hub = Hub { dataset: Some("owner/data".into()), config: Some("small".into()), ..Hub::default() };
    assert_eq!(*case.from("data"), Source::Hub(hub));
    let splits = &case.rows().splits;
    assert_eq!((splits["train"].from.0[0].as_str(), splits["validation"].from.0[0].as_str()), ("dev", "test"));
    // `template: alpaca`, and no column for an input.
    assert!(case.tokens().chat.is_none());
    assert!(case.imported.template_text.contains(
        "{%- block prompt %}Below is an instruction that describes a task. Write a response that appropriately completes the \
         request.\n\n### Instruction:\n{{ question }}\n\n### Response:\n{% endblock -%}\n{%- block completion %}{{ answer }}"
    ));
    assert_eq!(case.left(), ["cutoff_len", "learning_rate", "bf16"]);
}

#[test]
fn full_fine_tuning_on_conversations_without_a_chat_template() {
    let case = Case::of("llama_factory/full.yaml");
    case.check().unwrap();
    assert!(matches!(case.adapter(), Adapter::Full(_)));
    let train = case.train();
    assert_eq!((train.epochs, train.steps, train.gradient_checkpointing), (None, Some(20), false));
    assert_eq!(train.schedule, Schedule::Constant(Warmup { warmup: None }));
    assert_eq!((train.precision, loss_on(&case)), (Precision::all(Number::Bf16), LossOn::All));
    assert!(case.tokens().chat.is_none());
    let rendered = case.rendered("data/chats.jsonl");
    assert_eq!(rendered[1].prompt.as_deref(), Some("Sys "));
    let pair = ("### Instruction:\n1\n\n### Response:\n".to_owned(), "2".to_owned());
    assert_eq!(rendered[1].pairs, Some(vec![pair]));
    let left = case.left();
    for key in [
        "lora_rank",
        "pure_bf16",
        "lr_scheduler_type",
        "optim",
        "packing",
        "deepspeed",
        "mask_history",
        "dataset_info.json.chats.tools",
    ] {
        let key = if key.ends_with(".tools") { "tools" } else { key };
        assert!(left.iter().any(|line| line.ends_with(key)), "{key}: {left:?}");
    }
}

#[test]
fn dora_and_data_sets_that_do_not_go_together() {
    let case = Case::of("llama_factory/dora.yaml");
    let Adapter::Dora(dora) = case.adapter() else { panic!() };
    assert_eq!((&dora.rank, dora.alpha, dora.init), (&4.into(), 3.0, PlainInit::Kaiming));
    assert_eq!(dora.targets, Targets::Roles(vec!["attention.q".into(), "attention.v".into()]));
    assert_eq!(case.train().precision, Precision::all(Number::Fp16));
    assert_eq!(case.tokens().chat.as_ref().unwrap().variables["enable_thinking"], false);
    assert_eq!(*case.from("data"), Source::Path("data/chats.jsonl".into()));
    let left = case.left();
    for key in [
        "pissa_init",
        "loraplus_lr_ratio",
        "quantization_bit",
        "additional_target",
        "dataset",
        "early_stopping_steps",
        "mix_strategy",
    ] {
        assert!(left.contains(&key), "{key}: {left:?}");
    }
    let said = case.imported.pipeline.lines().take_while(|line| line.starts_with('#')).collect::<Vec<_>>().join("\n");
    for name in [
        "dataset: rows: left out",
        "dataset: missing: dataset_info.json has no such",
        "elsewhere.ms_hub_url: owner/data",
    ] {
        assert!(said.contains(name), "{name}: {said}");
    }
}

#[test]
fn texts_are_learned_whole() {
    let case = Case::of("llama_factory/pretraining.yaml");
    case.check().unwrap();
    assert_eq!(loss_on(&case), LossOn::All);
    let rendered = case.rendered("data/rows.jsonl");
    assert_eq!((rendered[1].prompt.as_deref(), rendered[1].completion.as_deref()), (Some(""), Some("Hello.")));
    assert_eq!(case.rows().splits["validation"].hold_out.as_ref().map(|held| held.rows), Some(1));
    // It packs where it learns texts whole.
    assert!(case.left().contains(&"packing"));
}
