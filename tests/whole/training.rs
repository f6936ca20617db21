//! Training through the engine with real tensors: what runs again, what fails and how, and going on after a kill.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use crate::{
    project::{Project, engine, is_used, until, users, worker},
    tiny::{self, DATA, TRAINING},
};

fn all(with: &str) -> String {
    format!("{DATA}{with}")
}

#[test]
fn from_rows_to_a_report_and_another_rank() {
    worker();
    let project = tiny::training();
    project.run(&[]).exit(0).did(&[
        "base",
        "raw",
        "report",
        "rows",
        "scores[model=base]",
        "scores[model=tuned,method=dora]",
        "scores[model=tuned,method=lora]",
        "tokens",
        "tuned[method=dora]",
        "tuned[method=lora]",
    ]);
    for method in ["lora", "dora"] {
        let left = project.left(&format!("tuned/method={method}"));
        let names: Vec<&str> = left.keys().map(String::as_str).collect();
        assert_eq!(names, ["adapter_config.json", "adapter_model.safetensors", "history.jsonl", "summary.json"]);
    }
    let report = project.text("outputs/p/report/report.md");
    ["| lora |", "| dora |", "Exact match", "256 (1.74 %)"]
        .iter()
        .for_each(|word| assert!(report.contains(word), "{report}"));
    project.run(&[]).exit(0).did(&[]);
    assert!(project.unfinished().is_empty(), "{:?}", project.unfinished());

    let dora = project.left("tuned/method=dora");
    project.pipeline(&all(&TRAINING.replace("rank: 2", "rank: 4")));
    let ran = project.run(&[]);
    ran.exit(0).did(&["report", "scores[model=tuned,method=lora]", "tuned[method=lora]"]);
    assert_eq!(ran.why("tuned[method=lora]"), ["adapter.lora.rank"]);
    assert_eq!(project.left("tuned/method=dora"), dora);
}

#[test]
fn training_again_gives_the_same_bytes() {
    worker();
    let project = tiny::training();
    project.run(&["--until", "tuned"]).exit(0);
    let left = [project.left("tuned/method=lora"), project.left("tuned/method=dora")];
    project.run(&["--until", "tuned", "--force", "tuned"]).exit(0).did(&["tuned[method=dora]", "tuned[method=lora]"]);
    assert_eq!([project.left("tuned/method=lora"), project.left("tuned/method=dora")], left);
}

#[test]
fn targets_that_match_nothing() {
    worker();
    let project = tiny::with_rows(&all(&TRAINING.replace("[attention.q, attention.v]", "{regex: '.*attn.query'}")));
    let ran = project.run(&["--until", "tuned[method=lora]"]);
    ran.failed(&["tuned[method=lora]"]).fails_with(&[".*attn.query", "q_proj"]);
}

#[test]
fn a_loss_that_is_not_finite() {
    worker();
    let absurd = TRAINING.replace("    steps: 3\n", "    steps: 3\n    optimizer: {adamw: {learning_rate: 1e30}}\n");
    let project = tiny::with_rows(&all(&absurd));
    let ran = project.run(&["--until", "base"]);
    ran.did(&["raw", "rows", "tokens"]).failed(&["base"]);
    ran.fails_with(&["not finite", "step 2", "row-", "there is no checkpoint yet"]);
    assert!(!project.path("outputs/p/base").exists());
}

/// Long enough to be killed in the middle, saved every five steps.
fn long() -> String {
    let stages = TRAINING.replace("steps: 4", "steps: 200\n    checkpoint: {steps: 5}");
    stages[..stages.find("  scores:").unwrap()].to_owned()
}

const KILLED: &str = "tuned[method=dora]";

#[test]
fn a_killed_training_goes_on_and_ends_in_the_same_bytes() {
    worker();
    let whole = tiny::with_rows(&all(&long()));
    whole.run(&["--until", KILLED]).exit(0);
    assert_eq!(whole.resumed_from(), None);

    let project = tiny::with_rows(&all(&long()));
    project.run(&["--until", "base"]).exit(0);
    let run = project.start(&["--until", KILLED]);
    until("a checkpoint", || project.unfinished().iter().any(|path| is_checkpoint(path)));
    run.signal("KILL");
    run.gone();
    for id in users(&project.path("")) {
        let _ = Command::new("kill").args(["-KILL", &id.to_string()]).output();
    }
    until("the worker's end", || !is_used(&project.path("")));
    assert!(!project.path("outputs/p/tuned/method=dora").exists(), "it was killed too late: make it longer");
    project.run(&["--until", KILLED]).exit(0).did(&[KILLED]);
    assert!(project.resumed_from().is_some_and(|step| step > 0));
    assert_eq!(project.left("tuned/method=dora"), whole.left("tuned/method=dora"));
    assert!(project.unfinished().is_empty(), "{:?}", project.unfinished());
}

#[test]
fn an_interrupted_training_goes_on() {
    worker();
    let project =
        tiny::with_rows(&all(&long().replace("steps: 200", "steps: 2000").replace("{steps: 5}", "{steps: 1000}")));
    project.run(&["--until", "base"]).exit(0);
    let run = project.start(&["--until", KILLED]);
    until("the training to begin", || project.unfinished().iter().any(|path| path.ends_with("state/history.jsonl")));
    run.signal("INT");
    let ran = run.wait();
    ran.exit(130);
    assert!(!ran.members("finished").iter().any(|name| name == KILLED), "it was stopped too late: make it longer");
    assert!(project.unfinished().iter().any(|path| is_checkpoint(path)), "it saved what it had");
    assert!(!is_used(&project.path("")));
}

/// Whether this file completes a checkpoint.
fn is_checkpoint(path: &str) -> bool {
    path.contains("/step-") && path.ends_with(".blake3")
}

impl Project {
    /// The step that the killed training went on from.
    fn resumed_from(&self) -> Option<u64> {
        let text = self.text("outputs/p/tuned.observed/method=dora/measured.json");
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["resumed_from"].as_u64()
    }

    /// The files of attempts that are not over.
    fn unfinished(&self) -> Vec<String> {
        let mut files = Vec::new();
        let mut open = vec![self.path("outputs/.store/v1/work")];
        while let Some(folder) = open.pop() {
            for item in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let is_folder = item.file_type().is_ok_and(|kind| kind.is_dir());
                if is_folder { open.push(item.path()) } else { files.push(item.path().display().to_string()) }
            }
        }
        files
    }
}

/// A copy of `engine` with another program, or none, in the worker's place.
fn with_worker(project: &Project, worker: Option<&str>) -> Command {
    let copy = project.path("bin/engine");
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    fs::copy(engine(), &copy).unwrap();
    if let Some(script) = worker {
        project.file("bin/engine-worker", script);
        fs::set_permissions(project.path("bin/engine-worker"), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(copy);
    command.args(["run", crate::project::FILE, "--json", "--until", "base"]).current_dir(project.path(""));
    command
}

#[test]
fn a_worker_of_another_build_is_refused() {
    let project = tiny::training();
    let said = with_worker(&project, Some("#!/bin/sh\necho 0123456789abcdef\n")).output().unwrap();
    let ran = crate::project::Ran::from(said);
    ran.did(&["raw", "rows", "tokens"]).failed(&["base"]);
    ran.fails_with(&["built from other sources", "0123456789abcdef", "bin/engine-worker", "make build"]);
}

#[test]
fn a_worker_that_is_missing_is_said() {
    let project = tiny::training();
    let ran = crate::project::Ran::from(with_worker(&project, None).output().unwrap());
    ran.did(&["raw", "rows", "tokens"]).failed(&["base"]);
    ran.fails_with(&["`engine-worker`", "bin/engine-worker", "make build"]);
}

#[test]
fn a_worker_that_does_not_start_is_said() {
    let project = tiny::training();
    let script = "#!/bin/sh\necho 'libtorch_cpu.so: cannot open shared object file' >&2\nexit 127\n";
    let ran = crate::project::Ran::from(with_worker(&project, Some(script)).output().unwrap());
    ran.failed(&["base"]).fails_with(&["libtorch_cpu.so: cannot open", "make build"]);
}
