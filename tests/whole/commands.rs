//! The commands that run nothing: what they print of a small project.

use std::process::Stdio;

use crate::{
    project::{FILE, Project, worker},
    tiny::{self, DATA, TRAINING},
};

fn trained() -> Project {
    let project = tiny::training();
    project.run(&[]).exit(0);
    project
}

#[test]
fn plan_before_and_after() {
    let project = tiny::training();
    project.engine(&["plan", FILE]).exit(0).says(&[
        "runs     raw  never made",
        "depends  rows  on raw",
        "depends  scores[model=tuned,method=lora]  on tokens, tuned",
        "1 to run, 9 that depend on them, 0 up to date",
    ]);
    project.engine(&["status", FILE]).exit(0).says(&["never made", "depends on raw"]);
    assert!(!project.path("outputs").exists(), "a look leaves nothing");
}

#[test]
fn what_is_said_of_finished_stages_and_of_changes() {
    worker();
    let project = trained();
    project.engine(&["plan", FILE]).exit(0).says(&["0 to run, 0 that depend on them, 10 up to date"]);
    project.engine(&["status", FILE]).exit(0).says(&["fresh", "squad_v2.exact", "KiB"]);
    project.engine(&["show", FILE, "tuned[method=dora]"]).exit(0).says(&[
        "tuned[method=dora] (train)",
        "rank: 3",
        "key ",
        "made in ",
        "adapter_model.safetensors",
        "loss ",
    ]);
    the_worst_rows(&project);

    let before = project.text("pipelines/p.lock.yaml");
    project.pipeline(&format!("{DATA}{}", TRAINING.replace("rank: 2", "rank: 16")));
    project.engine(&["plan", FILE]).exit(0).says(&[
        "runs     tuned[method=lora]  adapter.lora.rank: 2 → 16",
        "depends  scores[model=tuned,method=lora]  on tuned",
        "depends  report  on ",
        "1 to run, 2 that depend on them, 7 up to date",
    ]);
    project.engine(&["status", FILE]).exit(0).says(&["stale    adapter.lora.rank: 2 → 16"]);
    project.pipeline(&format!("{DATA}{TRAINING}")).file("data/train.jsonl", &tiny::rows(0..41));
    project.engine(&["plan", FILE]).exit(0).says(&["runs     raw  from.path: file changed (", " → "]);
    project.engine(&["status", FILE]).exit(0).says(&[
        "raw",
        "stale    from.path: file changed (",
        "stale    depends on raw",
    ]);
    assert_eq!(project.text("pipelines/p.lock.yaml"), before, "a look changes no lock");
}

/// What `show --worst` says of rows that all got wrong, in order and by another figure.
fn the_worst_rows(project: &Project) {
    let dora = "scores[model=tuned,method=dora]";
    let worst = project.engine(&["show", FILE, dora, "--worst", "2"]);
    worst.exit(0).says(&[
        "scores[model=tuned,method=dora]: the 2 worst of 6 rows by squad_v2.exact, the worst first\n",
        "exact 0.0000  row-40  line 1\n  prompt: thing 40 is\n  output: ",
        "\n  references: red\n  squad_v2: exact 0.0000, f1 0.0000, has_answer 1.00\n",
        "row-41  line 2\n",
    ]);
    assert!(!worst.out.contains("row-42"), "{}", worst.out);
    let json = project.engine(&["show", FILE, dora, "--worst", "9", "--by", "squad_v2.f1", "--json"]);
    let lines: Vec<serde_json::Value> =
        json.exit(0).out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let left = project.text("outputs/p/scores/model=tuned,method=dora/predictions.jsonl");
    let left: Vec<serde_json::Value> = left.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 6);
    for line in &lines {
        assert_eq!((&line["member"], &line["by"]), (&dora.into(), &"squad_v2.f1".into()));
        let at = line["line"].as_u64().unwrap() as usize - 1;
        assert_eq!(line["row"], left[at]);
        assert_eq!(line["score"], left[at]["scores"]["squad_v2"]["f1"]);
    }
    let scores: Vec<f64> = lines.iter().map(|line| line["score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted(), "{scores:?}");
    let tuned = project.engine(&["show", FILE, "tuned[method=dora]", "--worst", "2"]);
    tuned.exit(2).warns(&["is a stage of kind `train`", "name an `evaluate` stage"]);
    let by = project.engine(&["show", FILE, dora, "--worst", "2", "--by", "squad_v2.exakt"]);
    by.exit(2).warns(&["`squad_v2.exakt` is no figure", "did you mean `squad_v2.exact`?"]);
    project.engine(&["show", FILE, dora, "--json"]).exit(2);
}

#[test]
fn worst_rows_of_what_is_not_there_are_said_to_be_missing() {
    let project = tiny::training();
    let missing = project.engine(&["show", FILE, "scores[model=base]", "--worst", "3"]);
    missing.exit(1).warns(&["`scores[model=base]` is not made", "--until scores` first"]);
}

#[test]
fn plan_tells_each_difference_with_old_and_new_value() {
    let project = tiny::data();
    project.run(&[]).exit(0);
    project.file("templates/ask.jinja", &tiny::TEMPLATE.replace(" is{", " was{"));
    project.pipeline(&DATA.replace("max_length: 96", "max_length: 48\n    eos: none"));
    let plan = project.engine(&["plan", FILE]);
    plan.exit(0).says(&["runs     rows  template: file changed (", "depends  tokens  on rows"]);
    project.run(&["--until", "rows"]).exit(0).did(&["rows"]);
    let plan = project.engine(&["plan", FILE]);
    plan.exit(0).says(&[
        "runs     tokens\n",
        "eos: \"auto\" → \"none\"",
        "max_length: 96 → 48",
        "input: other contents (",
    ]);
    let json = project.engine(&["plan", FILE, "--json"]);
    let last = json.exit(0).out.lines().last().unwrap();
    let last: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!((&last["member"], &last["state"]), (&"tokens".into(), &"stale".into()));
    assert_eq!(last["why"][0]["part"], "setting");
}

#[test]
fn plan_without_the_store() {
    let project = tiny::data();
    project.run(&[]).exit(0);
    std::fs::remove_dir_all(project.path("outputs")).unwrap();
    project.engine(&["plan", FILE]).exit(0).says(&["runs     raw  recorded, not here"]);
    project.engine(&["status", FILE]).exit(0).says(&["stale    recorded, not here"]);
}

#[test]
fn graphs() {
    let project = tiny::training();
    project.engine(&["graph", FILE]).exit(0).says(&[
        "rows    preprocess ← raw",
        "tuned   train ×2 ← tokens, base",
        "method: lora, dora",
        "report  report ← tuned, scores",
    ]);
    let mermaid = project.engine(&["graph", FILE, "--format", "mermaid"]);
    mermaid.exit(0).says(&["flowchart LR", "[\"tuned<br/><i>train ×2</i>\"]", "s0 --> s1"]);
    let dot = project.engine(&["graph", FILE, "--format", "dot"]);
    dot.exit(0).says(&["digraph pipeline {", "\"tokens\" -> \"tuned\";", "\"tuned\" -> \"scores\";"]);
}

#[test]
fn previews() {
    let project = tiny::data();
    let early = project.engine(&["preview", FILE, "tokens"]);
    early.exit(1).warns(&["`tokens` is not made yet", "engine run pipelines/p.yaml --until tokens"]);
    project.run(&[]).exit(0);
    project
        .engine(&["preview", FILE, "rows", "--split", "train", "--rows", "1"])
        .exit(0)
        .says(&["── train · row 1 (id row-0)", "thing 0 is▸ red"]);
    let tokens = project.engine(&["preview", FILE, "tokens", "--split", "test"]);
    tokens.exit(0).says(&["── test · id row-40", "with loss", "⟦", "⟧"]);
    // The tiny pipeline has the split `train` before the split `test`.
    for stage in ["rows", "tokens"] {
        let shown = project.engine(&["preview", FILE, stage]);
        let place = |split: &str| shown.out.find(&format!("── {split} ·")).unwrap();
        assert!(place("train") < place("test"), "{}", shown.out);
    }
    project.engine(&["preview", FILE, "raw"]).exit(1).warns(&["it leaves no rows"]);
    project.engine(&["preview", FILE, "rows", "--split", "tset"]).exit(1).warns(&["no split `tset`", "test"]);
}

#[test]
fn doctor_looks_and_finds_damage() {
    worker();
    let project = tiny::data();
    project.run(&[]).exit(0);
    project.engine(&["doctor"]).exit(0).says(&[
        "engine ",
        "worker ",
        "libtorch 2.",
        "devices cpu",
        "cores",
        "3 results",
        "0 damaged",
    ]);
    let file = std::fs::canonicalize(project.path("outputs/p/rows/train.parquet")).unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[10] ^= 1;
    let (time, permissions) = (file.metadata().unwrap().modified().unwrap(), file.metadata().unwrap().permissions());
    let mut writable = permissions.clone();
    std::os::unix::fs::PermissionsExt::set_mode(&mut writable, 0o644);
    std::fs::set_permissions(&file, writable).unwrap();
    std::fs::write(&file, bytes).unwrap();
    std::fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    std::fs::set_permissions(&file, permissions).unwrap();
    project.engine(&["doctor"]).exit(1).says(&["rows is damaged and will be made anew", "1 damaged"]);
    project.run(&[]).exit(0).did(&["rows"]);
    project.engine(&["doctor"]).exit(0).says(&["0 damaged"]);
}

#[test]
fn schema_and_completions() {
    let project = Project::new("stages: {}\n");
    let schema = project.engine(&["schema"]);
    let schema: serde_json::Value = serde_json::from_str(&schema.exit(0).out).unwrap();
    assert!(schema["properties"]["stages"].is_object(), "{schema:#}");
    project.engine(&["schema", "--docs"]).exit(0).says(&["preprocess", "`rank`"]);
    for shell in ["bash", "zsh", "fish"] {
        let script = project.engine(&["completions", shell]);
        script.exit(0).says(&["engine", "preview", "keep-going"]);
        let name = format!("completions.{shell}");
        project.file(&name, &script.out);
        // Where the shell is installed, it reads the script without running it.
        if let Ok(read) = std::process::Command::new(shell).arg("-n").arg(project.path(&name)).output() {
            assert!(read.status.success(), "{shell}: {}", String::from_utf8_lossy(&read.stderr));
        }
    }
}

#[test]
fn check_and_mistakes_on_the_command_line() {
    let project = tiny::training();
    project.engine(&["check", FILE]).exit(0).says(&["pipelines/p.yaml: fine, 7 stages, 10 to run in all"]);
    project.engine(&["run", "pipelines/q.yaml"]).exit(2).warns(&["cannot read pipelines/q.yaml", "pipelines/p.yaml"]);
    project.engine(&["rnu", FILE]).exit(2).warns(&["unrecognized subcommand 'rnu'"]);
    project.engine(&["show", FILE, "tuned[method=dora,seed=1]"]).exit(2).warns(&["is no member of `tuned`"]);
    project.engine(&["run", FILE, "--profile", "short"]).exit(2).warns(&["short"]);
    project.engine(&["run", FILE, "--set", "stages.tuned.stpes=3"]).exit(2).warns(&["stpes", "steps"]);
    assert!(!project.path("outputs").exists(), "a mistake leaves nothing behind");
}

#[test]
fn locks_are_told_from_pipelines() {
    let project = Project::new("stages:\n  one: {kind: command, run: [touch, '${out.text}'], out: {text: text}}\n");
    project.run(&[]).exit(0);
    let lock = "pipelines/p.lock.yaml";
    project.engine(&["check", FILE, lock]).exit(0).says(&["p.yaml: fine, 1 stage", "p.lock.yaml: fine, a lock of 1"]);
    project.engine(&["run", lock]).exit(2).warns(&["`pipelines/p.lock.yaml` is a lock, not a pipeline"]);
    project.file(lock, "<<<<<<< ours\n");
    project.engine(&["check", lock]).exit(2).warns(&["p.lock.yaml:1: the lock file holds both sides of a merge"]);
    project.engine(&["check", "pipelines/q.lock.yaml"]).exit(2).warns(&["no such file"]);
}

/// `engine graph FILE | head` closes the pipe before all is said.
#[test]
fn a_reader_that_went_away_ends_no_command() {
    let project = tiny::data();
    let commands: [&[&str]; 7] = [
        &["graph", FILE],
        &["schema"],
        &["schema", "--docs"],
        &["completions", "bash"],
        &["check", FILE],
        &["plan", FILE],
        &["run", FILE, "--until", "rows"],
    ];
    for words in commands {
        let mut command = project.command(words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(0), "{words:?}: {said}");
        assert!(!said.contains("panicked"), "{words:?}: {said}");
    }
}
