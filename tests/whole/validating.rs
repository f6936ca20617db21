//! Trainings that ask the model on their way, through the engine: their figures are those of an `evaluate` stage of the same
//! weights, for every protocol that goes with an objective; they choose what is kept, and the report draws them.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::{Value, json};

use crate::encoders::{bert_tokenizer, lines_of, model, rows, t5_tokenizer};
use crate::project::{Project, is_used, until, users, worker};
use crate::tiny::{self, DATA, TRAINING};

/// The validations of a training, in the history that it left.
fn validations(project: &Project, stage: &str) -> Vec<Value> {
    let lines = lines_of(project, &format!("outputs/p/{stage}/history.jsonl"));
    lines.into_iter().filter(|line| line.get("validation_loss").is_some()).collect()
}

/// The last figures that a training counted, which are those of what it left.
fn counted(project: &Project, stage: &str) -> Value {
    let figures = validations(project, stage).pop().unwrap()["metrics"].clone();
    let headline = project.json(&format!("outputs/p/{stage}/summary.json"))["headline"].clone();
    for (name, value) in figures.as_object().unwrap() {
        assert_eq!(&headline[name], value, "{stage}: {name}");
    }
    figures
}

fn evaluated(project: &Project, stage: &str) -> Value {
    project.json(&format!("outputs/p/{stage}/metrics.json"))["headline"].clone()
}

/// The same figures, up to rounding: an evaluation merges an adapter into its model.
fn assert_alike(one: &Value, other: &Value) {
    let (one, other) = (one.as_object().unwrap(), other.as_object().unwrap());
    assert_eq!(one.keys().collect::<BTreeSet<_>>(), other.keys().collect::<BTreeSet<_>>());
    for (name, value) in one {
        let (value, other) = (value.as_f64().unwrap(), other[name].as_f64().unwrap());
        assert!((value - other).abs() <= 1e-4 * value.abs().max(1e-2), "{name}: {value} and {other}");
    }
}

/// A training that asks with `protocol` and counts `metrics` of the rows that it learns, and an evaluation of both adapters.
fn asking(more: &str) -> String {
    let stages = &TRAINING[..TRAINING.find("  scores:").unwrap()];
    let stages = stages.replace("steps: 3\n", "steps: 60\n    optimizer: {adamw: {learning_rate: 1e-2}}\n");
    let validate = format!(
        "    steps: 60\n    validate: {{on: train, every: {{steps: 20}}, metrics: [{{squad_v2: {{no_answer: none}}}}, rouge], \
         protocol: {{generate: {{max_new_tokens: 8}}}}{more}}}\n"
    );
    let stages = stages.replace("    steps: 4\n", &validate);
    format!(
        "{DATA}{stages}  scores:\n    kind: evaluate\n    resources: {{cpu: 1}}\n    model: tuned\n    data: tokens/train\n    \
         protocol: {{generate: {{max_new_tokens: 8}}}}\n    metrics: [{{squad_v2: {{no_answer: none}}}}, rouge]\n  report:\n    \
         kind: report\n    inputs: [tuned, scores]\n"
    )
}

#[test]
fn what_a_training_counts_is_what_an_evaluation_counts() {
    worker();
    let project = tiny::with_rows(&asking(""));
    project.run(&[]).exit(0);
    for method in ["lora", "dora"] {
        let figures = counted(&project, &format!("tuned/method={method}"));
        assert_alike(&figures, &evaluated(&project, &format!("scores/method={method}")));
        assert!(figures["rouge.rouge1"].as_f64().unwrap() > 5.0, "nothing is learned, so all figures are 0: {figures}");
        assert_eq!(validations(&project, &format!("tuned/method={method}")).len(), 3);
    }
    let report = project.text("outputs/p/report/report.html");
    for title in ["Exact match (%) in validation, tuned", "ROUGE-L (%) in validation, tuned", "Validation loss, tuned"]
    {
        assert!(report.contains(title), "no `{title}`");
    }
    // The weights are those of a training that is not asked; so is what is written of its steps.
    let weights = |project: &Project| project.left("tuned/method=dora")["adapter_model.safetensors"].clone();
    let asked = weights(&project);
    project.pipeline(
        &asking("")
            .replace("metrics: [{squad_v2: {no_answer: none}}, rouge], protocol: {generate: {max_new_tokens: 8}}}", "}")
            .replace("{steps: 20}, }", "{steps: 20}}"),
    );
    project.run(&["--until", "tuned"]).exit(0).did(&["tuned[method=dora]", "tuned[method=lora]"]);
    assert_eq!(weights(&project), asked);
    assert!(validations(&project, "tuned/method=dora")[0].get("metrics").is_none());
}

#[test]
fn the_best_figure_is_kept_and_a_select_stage_compares_it() {
    worker();
    let select = "  winner: {kind: select, from: tuned, best: {metric: squad_v2.f1, mode: max}}\n";
    let more = ", rows: 20, keep: {best: rouge.rougeL}, patience: 2";
    let project = tiny::with_rows(&format!("{}{select}", asking(more).replace("steps: 20", "steps: 5")));
    project.run(&["--until", "winner"]).exit(0);
    let mut figures = Vec::new();
    for method in ["lora", "dora"] {
        let stage = format!("tuned/method={method}");
        let way: Vec<f64> = validations(&project, &stage)
            .iter()
            .map(|line| line["metrics"]["rouge.rougeL"].as_f64().unwrap())
            .collect();
        let best = way.iter().copied().fold(f64::MIN, f64::max);
        let first = way.iter().position(|figure| *figure == best).unwrap();
        let summary = project.json(&format!("outputs/p/{stage}/summary.json"));
        assert_eq!((&summary["best_step"], &summary["kept_step"]), (&json!(5 * (first + 1)), &json!(5 * (first + 1))));
        assert_eq!(summary["headline"]["rouge.rougeL"], best);
        assert_eq!(summary["stopped_early"], way.len() < 12);
        assert_eq!(way.len(), (first + 3).min(12), "{way:?}");
        figures.push((summary["headline"]["squad_v2.f1"].as_f64().unwrap(), method));
    }
    let selected = project.json("outputs/p/winner/selected.json");
    let best = figures.iter().map(|(f1, _)| *f1).fold(f64::MIN, f64::max);
    assert_eq!(selected["value"], best, "{selected}, {figures:?}");
}

#[test]
fn a_killed_training_that_asks_goes_on_and_ends_in_the_same_bytes() {
    worker();
    const KILLED: &str = "tuned[method=dora]";
    let long = asking(", rows: 8, keep: {best: rouge.rougeL}")
        .replace("steps: 60\n    validate", "steps: 200\n    checkpoint: {steps: 5}\n    validate")
        .replace("every: {steps: 20}", "every: {steps: 7}");
    let whole = tiny::with_rows(&long);
    whole.run(&["--until", KILLED]).exit(0);
    let project = tiny::with_rows(&long);
    project.run(&["--until", "base"]).exit(0);
    let run = project.start(&["--until", KILLED]);
    until("a checkpoint", || {
        let work = std::fs::read_dir(project.path("outputs/.store/v1/work")).into_iter().flatten().flatten();
        work.filter_map(|attempt| std::fs::read_dir(attempt.path().join("state/checkpoints")).ok())
            .flatten()
            .flatten()
            .any(|file| file.path().extension().is_some_and(|extension| extension == "blake3"))
    });
    run.signal("KILL");
    run.gone();
    for id in users(&project.path("")) {
        let _ = Command::new("kill").args(["-KILL", &id.to_string()]).output();
    }
    until("the worker's end", || !is_used(&project.path("")));
    assert!(!project.path("outputs/p/tuned/method=dora").exists(), "it was killed too late: make it longer");
    project.run(&["--until", KILLED]).exit(0).did(&[KILLED]);
    let measured = project.json("outputs/p/tuned.observed/method=dora/measured.json");
    assert!(measured["resumed_from"].as_u64().is_some_and(|step| step > 0), "{measured}");
    assert_eq!(project.left("tuned/method=dora"), whole.left("tuned/method=dora"));
}

const HEADS: &str = r#"
stages:
  bert: {kind: download, from: {path: bert}}
  t5: {kind: download, from: {path: t5}}
  raw: {kind: download, from: {path: data}}
  rows:
    kind: preprocess
    matrix: {task: [kind, degree, place]}
    input: raw
    template: ${matrix.task}.jinja
    splits: {train: {from: train}, test: {from: test}}
  questions: {kind: preprocess, input: raw, template: answer.jinja, splits: {train: {from: train}, test: {from: test}}}
  tokens: {kind: tokenize, input: rows, tokenizer: bert, form: text, max_length: 14, overflow: {windows: {stride: 1}}}
  answers: {kind: tokenize, input: questions, tokenizer: t5, form: seq2seq, max_length: {prompt: 12, completion: 4}}
  classes:
    kind: train
    model: bert
    data: tokens[task=kind]
    objective: classify
    adapter: {lora: {rank: 2, alpha: 4, targets: [attention.q, attention.v]}}
    steps: 40
    optimizer: {adamw: {learning_rate: 1e-2}}
    validate: {on: test, every: {steps: 20}, protocol: classify, metrics: [accuracy, {f1: {of: {class: warm}}}]}
  numbers:
    kind: train
    model: bert
    data: tokens[task=degree]
    objective: regress
    adapter: {lora: {rank: 2, alpha: 4, targets: all-linear}}
    steps: 40
    optimizer: {adamw: {learning_rate: 1e-2}}
    validate: {on: test, every: {steps: 20}, protocol: regress, metrics: [pearson, spearman], keep: {best: pearson.pearson}}
  places:
    kind: train
    model: bert
    data: tokens[task=place]
    objective: span
    adapter: full
    steps: 60
    optimizer: {adamw: {learning_rate: 1e-2}}
    validate: {on: test, every: {steps: 20}, protocol: {span: {no_answer: never}}, metrics: [squad_v2], rows: 6}
  written:
    kind: train
    model: t5
    data: answers
    objective: seq2seq
    adapter: {lora: {rank: 4, alpha: 8, targets: [encoder.attention.q, attention.v, mlp.up, mlp.down]}}
    steps: 100
    batch: {size: 8, micro: 4}
    optimizer: {adamw: {learning_rate: 2e-2}}
    clip: 1.0
    validate: {on: test, protocol: {generate: {max_new_tokens: 4}}, metrics: [squad_v2]}
  likely:
    kind: train
    model: t5
    data: answers
    objective: seq2seq
    adapter: full
    steps: 10
    validate: {on: test, protocol: perplexity, metrics: [perplexity]}
  classified: {kind: evaluate, model: classes, data: "tokens[task=kind]/test", protocol: classify, metrics: [accuracy, {f1: {of: {class: warm}}}]}
  measured: {kind: evaluate, model: numbers, data: "tokens[task=degree]/test", protocol: regress, metrics: [pearson, spearman]}
  found: {kind: evaluate, model: places, data: "tokens[task=place]/test", protocol: {span: {no_answer: never}}, metrics: [squad_v2]}
  said: {kind: evaluate, model: written, data: answers/test, protocol: {generate: {max_new_tokens: 4}}, metrics: [squad_v2]}
  held: {kind: evaluate, model: likely, data: answers/test, protocol: perplexity, metrics: [perplexity]}
"#;

#[test]
fn every_objective_is_asked_by_its_own_protocol() {
    worker();
    let stages = HEADS.replace("kind: train\n", "kind: train\n    resources: {cpu: 1}\n");
    let project = Project::new(&stages);
    model(&project, "bert", "encoders/bert_headless", &bert_tokenizer());
    model(&project, "t5", "t5/v1_1", &t5_tokenizer());
    project.file("data/train.jsonl", &rows(40)).file("data/test.jsonl", &rows(10));
    let both = "{% block prompt %}{{ first }}{% endblock %}{% block pair %}{{ second }}{% endblock %}";
    project.file("templates/kind.jinja", &format!("{both}{{% block label %}}{{{{ kind }}}}{{% endblock %}}"));
    project.file("templates/degree.jinja", &format!("{both}{{% block label %}}{{{{ degree }}}}{{% endblock %}}"));
    let answers = "{% block answers %}{{ [{'text': word, 'start': start}]|tojson }}{% endblock %}{% block references %}{{ \
                   [word]|tojson }}{% endblock %}";
    project.file("templates/place.jinja", &format!("{both}{answers}"));
    let answer = "{% block prompt %}{{ second }}{% endblock %}{% block completion %}{{ kind }}{% endblock %}{% block \
                  references %}{{ [kind]|tojson }}{% endblock %}";
    project.file("templates/answer.jinja", answer);
    project.run(&[]).exit(0);
    assert_alike(&counted(&project, "classes"), &evaluated(&project, "classified"));
    assert!(counted(&project, "classes")["accuracy.accuracy"].as_f64().unwrap() > 60.0);
    assert_alike(&counted(&project, "written"), &evaluated(&project, "said"));
    assert!(counted(&project, "written")["squad_v2.exact"].as_f64().unwrap() > 30.0);
    assert_alike(&counted(&project, "likely"), &evaluated(&project, "held"));
    // The best weights are kept; the newest figures may be others.
    let best = project.json("outputs/p/numbers/summary.json");
    let kept = json!({
        "pearson.pearson": best["headline"]["pearson.pearson"], "spearman.spearman": best["headline"]["spearman.spearman"],
    });
    assert_alike(&kept, &evaluated(&project, "measured"));
    // Six rows are asked, which may have more windows.
    let exact = |line: &Value| line["scores"]["squad_v2"]["exact"].as_f64().unwrap();
    let found: Vec<f64> = lines_of(&project, "outputs/p/found/predictions.jsonl").iter().map(exact).collect();
    let mean = 100.0 * found[..6].iter().sum::<f64>() / 6.0;
    assert!((counted(&project, "places")["squad_v2.exact"].as_f64().unwrap() - mean).abs() < 1e-9, "{found:?}");
}
