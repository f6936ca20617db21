//! PEFT's adapter configurations: each method, and each task.

use spec::{
    adapter::{
        Adapter, Bias, Ia3, Init, PlainInit, Prefix, Projection, Prompt, PromptInit, Scale, Size, Targets, Vera,
    },
    stage::{Form, Hub, Objective, Source},
};

use super::Case;

fn roles(names: &[&str]) -> Targets {
    Targets::Roles(names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn lora_with_all_that_is_here() {
    let case = Case::of("peft/lora.json");
    case.check().unwrap();
    let hub = Hub { model: Some("meta-llama/Llama-3.2-1B".into()), revision: Some("abc123".into()), ..Hub::default() };
    assert_eq!(*case.from("model"), Source::Hub(hub));
    let Adapter::Lora(lora) = case.adapter() else { panic!() };
    assert_eq!((&lora.rank, lora.alpha, lora.dropout), (&16.into(), 32.0, 0.1));
    assert_eq!((lora.scale, lora.init, lora.bias), (Scale::RankStabilized, Init::Olora, Bias::LoraOnly));
    let all = ["attention.q", "attention.k", "attention.v", "attention.o", "mlp.gate", "mlp.up", "mlp.down"];
    assert_eq!(lora.targets, roles(&all));
    assert_eq!(lora.exclude, Some(Targets::Suffix(vec!["lm_head".into()])));
    assert_eq!(lora.layers, Some(vec![5]));
    assert_eq!(lora.rank_pattern, [("down_proj".to_owned(), 8)].into());
    assert_eq!(lora.alpha_pattern, [("q_proj".to_owned(), 4.0)].into());
    assert_eq!(case.left(), ["rows and training"]);
}

#[test]
fn what_is_not_set_means_what_it_means_there() {
    let case = Case::of("peft/defaults.json");
    case.check().unwrap();
    let Adapter::Lora(lora) = case.adapter() else { panic!() };
    assert_eq!((&lora.rank, lora.alpha, lora.dropout, lora.bias), (&8.into(), 8.0, 0.0, Bias::None));
    assert_eq!(lora.targets, Targets::Regex(".*\\.(q_proj|fc1)".into()));
}

#[test]
fn dora_for_classes_whose_head_trains_whatever_the_method() {
    let case = Case::of("peft/dora.json");
    case.check().unwrap();
    let Adapter::Dora(dora) = case.adapter() else { panic!() };
    assert_eq!((&dora.rank, dora.alpha, &dora.targets), (&7.into(), 14.0, &Targets::AllLinear));
    // An odd rank cannot be shared by two orthogonal halves.
    assert_eq!(dora.init, PlainInit::Kaiming);
    assert!(matches!((&case.train().objective, &case.tokens().form), (Objective::Classify(_), Form::Text(_))));
    assert_eq!(case.left(), ["init_lora_weights", "rows and training"]);
}

#[test]
fn ia3_vera_prompts_and_prefixes() {
    let case = Case::of("peft/ia3.json");
    case.check().unwrap();
    let feedforward = Some(roles(&["mlp.down"]));
    let targets = roles(&["attention.k", "attention.v", "mlp.down"]);
    assert_eq!(*case.adapter(), Adapter::Ia3(Ia3 { targets, feedforward }));
    assert_eq!(case.left(), ["modules_to_save", "rows and training"]);

    let case = Case::of("peft/vera.json");
    case.check().unwrap();
    let targets = Targets::Suffix(vec!["fc1".into(), "q_proj".into()]);
    let vera = Vera { rank: 256.into(), d_initial: 0.2, projection_seed: 3, dropout: 0.05, targets };
    assert_eq!(*case.adapter(), Adapter::Vera(vera));
    assert!(matches!(case.train().objective, Objective::Span(_)));
    assert_eq!(case.left(), ["bias", "rows and training"]);

    let case = Case::of("peft/prompt.json");
    case.check().unwrap();
    // A variable of the pipeline language in it is text.
    let init = PromptInit::Text("Say ${vars.x}: \"yes\"\n".into());
    assert_eq!(*case.adapter(), Adapter::Prompt(Prompt { tokens: Size::Number(8), init }));
    assert!(matches!((&case.train().objective, &case.tokens().form), (Objective::Seq2Seq(_), Form::Seq2Seq(_))));

    let case = Case::of("peft/prefix.json");
    case.check().unwrap();
    let projection = Some(Projection { width: 768 });
    assert_eq!(*case.adapter(), Adapter::Prefix(Prefix { tokens: Size::Number(30), projection }));
    assert_eq!(case.left(), ["task_type", "rows and training"]);
}

#[test]
fn the_rows_that_show_the_form_are_rendered_by_the_template() {
    use data::template::Template;
    for name in ["dora", "vera", "prompt", "lora"] {
        let case = Case::of(&format!("peft/{name}.json"));
        let template = Template::load(&case.folder.path().join("templates"), &case.imported.template).unwrap();
        let spec::stage::RowSource::Rows(rows) = &case.rows().input else { panic!() };
        for row in rows.values().flatten() {
            let rendered = template.render(row.clone()).unwrap();
            assert!(rendered.prompt.is_some_and(|prompt| !prompt.is_empty()), "{name}");
        }
    }
}
