//! `measure: {latency: …}` through the engine: what is observed, for which machine it holds, and where it is shown.

use std::process::Command;

use crate::choices::{CHOOSE, MORE};
use crate::encoders::{TEXTS, WRITTEN, model, rows, t5_tokenizer, texts};
use crate::project::{FILE, Project, Said, engine, worker};
use crate::tiny::{self, DATA, TRAINING};

/// A base model, an adapter on it, both of them merged, evaluations of all three, and a report.
fn study(measure: &str) -> String {
    let training = TRAINING.split("  scores:").next().unwrap();
    let scores = |name: &str, model: &str| {
        format!(
            "  {name}:\n    kind: evaluate\n    resources: {{cpu: 1}}\n    model: {model}\n    data: tokens/test\n    \
             protocol: {{perplexity: {{loss_on: all}}}}\n    metrics: [perplexity]\n{measure}"
        )
    };
    format!(
        "{DATA}{training}  whole: {{kind: merge, resources: {{cpu: 1}}, model: \"tuned[method=lora]\"}}\n{}{}{}",
        scores("scores", "[base, \"tuned[method=lora]\"]"),
        scores("merged", "whole"),
        "  report: {kind: report, inputs: [tuned, scores, merged]}\n"
    )
}

const MEASURE: &str = "    measure: {latency: {batch: [1, 2, 8], warmup: 1, iterations: 3}}\n";

/// `engine` on one core alone.
fn on_one_core(project: &Project, words: &[&str]) -> Said {
    let plain = project.command(words);
    let mut command = Command::new("taskset");
    command.args(["-c", &core().to_string()]).arg(engine()).args(words);
    command.current_dir(plain.get_current_dir().unwrap());
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Said::from(command.output().unwrap())
}

/// A core that this program may use.
fn core() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    list.trim().split(['-', ',']).next().unwrap().parse().unwrap()
}

#[test]
fn forward_times_are_observed_shown_and_reported_and_are_no_result() {
    worker();
    let project = tiny::with_rows(&study(""));
    project.run(&[]).exit(0);
    let left = project.left("merged");
    assert!(!project.path("outputs/p/merged.observed/latency.json").exists());
    assert!(!project.text("outputs/p/report/report.md").contains("Forward time"));

    // What is scored is the same, so that nothing else is done again; but the report shows the new figures.
    project.pipeline(&study(MEASURE));
    project.run(&[]).exit(0).did(&["merged", "report", "scores[model=base]", "scores[model=tuned]"]);
    assert_eq!(project.left("merged"), left);
    for (stage, weights) in [
        ("merged.observed", "merged"),
        ("scores.observed/model=base", "plain"),
        ("scores.observed/model=tuned", "unmerged"),
    ] {
        let latency = project.json(&format!("outputs/p/{stage}/latency.json"));
        assert_eq!(latency["weights"], weights, "{stage}");
        assert_eq!((&latency["warmup"], &latency["iterations"]), (&1.into(), &3.into()));
        let batches = latency["batches"].as_array().unwrap();
        assert_eq!(batches.iter().map(|batch| batch["size"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 8]);
        for batch in batches {
            let (median, p95) = (batch["median_seconds"].as_f64().unwrap(), batch["p95_seconds"].as_f64().unwrap());
            assert!(median > 0.0 && median <= p95 && batch["length"].as_u64().unwrap() > 0, "{batch}");
        }
    }
    project.engine(&["show", FILE, "merged"]).exit(0).says(&[
        "forward time, adapter merged, 3 passes after 1:\n",
        "measured on cpu, 1 thread: ",
        " ms\n       8 ",
    ]);
    project.engine(&["show", FILE, "tuned[method=lora]"]).exit(0).says(&["time by part: data ", "forward ", " %)"]);
    let report = project.text("outputs/p/report/report.md");
    for part in ["## Forward time", "| | Weights | 1 row | 2 rows | 8 rows |", "adapter unmerged | ", "Time by part"] {
        assert!(report.contains(part), "no `{part}` in\n{report}");
    }
    let figures = project.text("outputs/p/report/metrics.csv");
    assert!(figures.contains("latency.8.median_seconds"), "{figures}");
    assert!(figures.contains("part_seconds.backward"), "{figures}");
    assert!(project.text("outputs/p/report/report.html").contains("<h2>Forward time</h2>"));
    project.run(&[]).exit(0).did(&[]);
}

#[test]
fn on_another_machine_what_measures_time_is_done_again_and_nothing_else() {
    worker();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let project = tiny::with_rows(&study(MEASURE));
    project.run(&[]).exit(0);
    if cores == 1 || Command::new("taskset").arg("--version").output().is_err() {
        println!("there is no other machine to be had here");
        return;
    }
    let plan = on_one_core(&project, &["plan", FILE]);
    let why = format!("machine.cores: {cores} → 1");
    plan.exit(0).says(&[&format!("merged  {why}"), &format!("scores[model=base]  {why}"), "3 to run, 1 that depend"]);
    project.engine(&["plan", FILE]).exit(0).says(&["0 to run"]);
    // Without the measurement the machine does not matter.
    project.pipeline(&study(""));
    project.run(&[]).exit(0);
    on_one_core(&project, &["plan", FILE]).exit(0).says(&["0 to run"]);
}

/// A pipeline of little training whose evaluations are measured.
fn measured(pipeline: &str) -> String {
    let short = ["60", "80", "150"]
        .iter()
        .fold(pipeline.to_owned(), |text, steps| text.replace(&format!("    steps: {steps}\n"), "    steps: 2\n"));
    short.replace("    metrics: [", &format!("{MEASURE}    metrics: ["))
}

/// Tokens of the batches of one and of eight rows.
fn tokens(project: &Project, stage: &str) -> (u64, u64) {
    let latency = project.json(&format!("outputs/p/{stage}/latency.json"));
    let tokens = |at: usize| latency["batches"][at]["tokens"].as_u64().unwrap();
    assert!(latency["batches"][2]["median_seconds"].as_f64().unwrap() > 0.0, "{latency}");
    (tokens(0), tokens(2))
}

#[test]
fn every_protocol_has_its_forward_pass() {
    worker();
    let project = texts();
    project.pipeline(&measured(TEXTS));
    project.run(&[]).exit(0);
    for stage in ["classified.observed/method=lora", "classified.observed/method=full", "measured.observed"] {
        // `what is red thing` and `thing is warm`, three special tokens.
        assert_eq!(tokens(&project, stage).0, 10, "{stage}");
    }
    assert_eq!(tokens(&project, "found.observed").0, 10);

    let project = Project::new(&measured(WRITTEN));
    model(&project, "t5", "t5/v1_1", &t5_tokenizer());
    project.file("data/train.jsonl", &rows(40)).file("data/test.jsonl", &rows(10));
    project.file(
        "templates/ask.jinja",
        "{% block prompt %}{{ second }}{% endblock %}{% block completion %}{{ kind }}{% endblock %}{% block references \
         %}{{ [kind]|tojson }}{% endblock %}",
    );
    project.run(&[]).exit(0);
    // `thing is warm` and the end: the answer is not read.
    assert_eq!(tokens(&project, "answers.observed").0, 4);
    assert_eq!(tokens(&project, "likelihoods.observed/model=tuned").0, 4);

    let project = tiny::with_rows(&measured(&format!("{DATA}{TRAINING}{MORE}")));
    project.file("templates/choose.jinja", CHOOSE);
    project.run(&["--until", "chosen"]).exit(0);
    project.run(&["--until", "likely"]).exit(0);
    // The prompts are the same, whether a choice stands behind them or an answer.
    assert_eq!(tokens(&project, "chosen.observed"), tokens(&project, "likely.observed"));
}
