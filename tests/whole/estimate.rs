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
