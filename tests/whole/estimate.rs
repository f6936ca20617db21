//! `engine estimate`: forecasts before anything ran and after, what it cannot know, and that it leaves nothing.

use serde_json::Value;

use crate::{
    project::{FILE, Project, Said, worker},
    tiny,
};

fn forecasts(said: &Said) -> Vec<Value> {
    said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn of<'a>(forecasts: &'a [Value], member: &str) -> &'a Value {
    forecasts.iter().find(|line| line["member"] == member).unwrap_or_else(|| panic!("no {member} in {forecasts:#?}"))
}

fn summary(project: &Project, path: &str) -> Value {
    serde_json::from_str(&project.text(&format!("outputs/p/{path}/summary.json"))).unwrap()
}

#[test]
fn before_anything_ran_and_after_rows_are_there() {
    worker();
    let project = tiny::training();
    let before = project.engine(&["estimate", FILE, "--json"]);
    before.exit(0);
    assert!(!project.path("outputs").exists(), "it leaves nothing");
    let before = forecasts(&before);
    let lora = &of(&before, "tuned[method=lora]")["forecast"];
    assert_eq!((&lora["rows_known"], &lora["steps"]), (&Value::from(false), &Value::from(4)));
    assert_eq!(lora["longest"], 95, "`max_length`, of which the last token is only predicted");
    project.run(&["--until", "tuned"]).exit(0);
    let said = project.engine(&["estimate", FILE, "--json"]);
    let after = forecasts(said.exit(0));
    for (member, path) in
        [("base", "base"), ("tuned[method=lora]", "tuned/method=lora"), ("tuned[method=dora]", "tuned/method=dora")]
    {
        let (forecast, summary) = (&of(&after, member)["forecast"], summary(&project, path));
        for key in ["trainable_parameters", "total_parameters", "steps"] {
            assert_eq!(forecast[key], summary[key], "{member}, {key}");
        }
        assert_eq!(forecast["rows_known"], true);
        assert!(forecast["longest"].as_u64() < Some(95), "{forecast}");
    }
    let table = project.engine(&["estimate", FILE]);
    table.exit(0).says(&["trains", "activations", "tuned[method=dora]", "Rows as they were tokenized", "GFLOP/s"]);
    assert!(table.out.lines().all(|line| line.chars().count() <= 120), "{}", table.out);
    let one = project.engine(&["estimate", FILE, "tuned[method=lora]", "--json"]);
    assert_eq!(forecasts(one.exit(0)).len(), 1);
}

#[test]
fn what_is_not_here_is_said_and_the_rest_is_forecast() {
    worker();
    let elsewhere = r#"
  away: {kind: download, from: {url: {address: "https://127.0.0.1:1/model.zip", sha256: "0000000000000000000000000000000000000000000000000000000000000000"}}}
  other:
    kind: train
    model: away
    data: tokens
    adapter: full
    steps: 1
"#;
    let project = tiny::with_rows(&format!("{}{}{elsewhere}", tiny::DATA, tiny::TRAINING));
    let said = project.engine(&["estimate", FILE]);
    said.exit(0).says(&["tuned[method=lora]"]).warns(&["other", "`away` is not made yet", "--until away"]);
    project.engine(&["estimate", FILE, "other"]).exit(1);
    project.engine(&["estimate", FILE, "tokens"]).exit(1).warns(&["no `train` stage"]);
    project.engine(&["estimate", FILE, "tunde"]).exit(2).warns(&["tuned"]);
}

/// Rows that are not made yet are told by `--rows`, of one stage or of all, and a device that is not here by `--speed`.
#[test]
fn rows_and_a_device_elsewhere_are_told() {
    worker();
    let project = tiny::training();
    let words = ["estimate", FILE, "--json", "--device", "cuda", "--speed", "0.5", "--rows", "tokens=1000"];
    let said = project.engine(&words);
    let forecasts = forecasts(said.exit(0));
    for member in ["tuned[method=lora]", "tuned[method=dora]"] {
        let forecast = &of(&forecasts, member)["forecast"];
        let (products, seconds) =
            (forecast["step_products"].as_f64().unwrap(), forecast["step_seconds"].as_f64().unwrap());
        assert!((products / seconds / 0.5e12 - 1.0).abs() < 1e-9, "{forecast}");
        assert_eq!((&forecast["device"], &forecast["speed_measured"]), (&Value::from("cuda:0"), &Value::from(false)));
    }
    project.engine(&["estimate", FILE, "--speed", "0.5"]).exit(0).says(&["as told"]);
    project.engine(&["estimate", FILE, "--rows", "rows=7"]).exit(2).warns(&["no `tokenize` stage"]);
    project.engine(&["estimate", FILE, "--rows", "tokens=many"]).exit(2).warns(&["`many` is no number of rows"]);
    project.engine(&["estimate", FILE, "--rows", "tokns=5"]).exit(2).warns(&["did you mean `tokens`"]);
    project.engine(&["estimate", FILE, "--speed", "0"]).exit(2);
}

/// Epochs become steps where rows are told, and all trainings are summed up.
#[test]
fn told_rows_become_steps() {
    worker();
    let project = tiny::training();
    let told = |rows: &str| {
        let epochs = "stages.tuned={kind: train, resources: {cpu: 1}, model: base, data: tokens, matrix: {seed: [0, 1]}, \
                      objective: language_model, adapter: {lora: {rank: 2, alpha: 4, targets: [attention.q]}}, seed: \
                      '${matrix.seed}', epochs: 3, batch: {size: 4}, optimizer: {adamw: {learning_rate: 1e-3}}, \
                      schedule: constant}";
        let words = ["estimate", FILE, "tuned", "--set", epochs, "--rows", rows];
        let json = project.engine(&[&words[..], &["--json"]].concat());
        let steps: Vec<u64> =
            forecasts(json.exit(0)).iter().map(|line| line["forecast"]["steps"].as_u64().unwrap()).collect();
        (steps, project.engine(&words).out)
    };
    let (steps, table) = told("1001");
    assert_eq!(steps, [3 * 251, 3 * 251]);
    assert!(table.contains("In all: 2 trainings"), "{table}");
    assert_eq!(told("tokens=8").0, [6, 6]);
}

/// What is forecast of a member does not depend on what was forecast before it.
#[test]
fn a_member_alone_is_forecast_as_among_others() {
    worker();
    let project = tiny::training();
    let wide = "stages.base.model={random: {llama: {hidden_size: 256, intermediate_size: 512, num_hidden_layers: 4, \
                num_attention_heads: 4, max_position_embeddings: 96}}}";
    let activations = |words: &[&str]| {
        let said = project.engine(&[&["estimate", FILE, "--json", "--set", wide], words].concat());
        let forecasts = forecasts(said.exit(0));
        of(&forecasts, "tuned[method=dora]")["forecast"]["activations"].as_f64().unwrap()
    };
    let (alone, among) = (activations(&["tuned[method=dora]"]), activations(&[]));
    assert!((alone / among - 1.0).abs() < 0.2, "{alone} alone, {among} among others");
}
