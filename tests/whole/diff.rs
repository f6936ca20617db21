//! `engine diff`: settings beside figures, from pipeline files and locks alone.

use std::fs;

use serde_json::Value;

use crate::project::{FILE, Project};

/// Scores that are a function of the settings, for each of two members, and rows of a template.
const STUDY: &str = r#"
vars: {rank: 8}
profiles:
  short: {vars.rank: 2}
stages:
  rows:
    kind: preprocess
    input: raw
    template: ask.jinja
    splits: {train: {from: train}}
  raw: {kind: download, from: {path: data}}
  tuned:
    kind: command
    matrix: {seed: [0, 1]}
    run: [sh, -c, 'printf "{\"headline\": {\"exact\": %s.5}}" $(($1 + $2)) > "$3"', sh, "${vars.rank}", "${matrix.seed}", "${out.metrics}"]
    out: {metrics: metrics.json}
  fixed:
    kind: command
    run: [sh, -c, 'echo fixed > "$1"', sh, "${out.text}"]
    out: {text: text}
"#;

/// A study in git: rank 8, then rank 16 with a third member and another template.
fn study() -> Project {
    let project = Project::new(STUDY);
    project.file("data/train.jsonl", &crate::tiny::rows(0..4)).file("templates/ask.jinja", crate::tiny::TEMPLATE);
    project.file(".gitignore", "/outputs\n");
    project.git(&["init", "-q", "-b", "main"]);
    project.run(&[]).exit(0);
    project.git(&["add", "."]);
    project.git(&["commit", "-q", "-m", "rank 8"]);
    project.git(&["tag", "eight"]);
    project.pipeline(&STUDY.replace("rank: 8", "rank: 16").replace("[0, 1]", "[0, 1, 2]"));
    project.file("templates/ask.jinja", &crate::tiny::TEMPLATE.replace(" is{", " was{"));
    project.run(&[]).exit(0);
    project
}

/// Lines without what stands between words.
fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

const TABLE: &[&str] = &[
    "pipelines/p: eight → working tree",
    "rows",
    "templates/ask.jinja changed",
    "tuned",
    "all 2 run.4 \"8\" \"16\"",
    "seed=0 exact 8.50 16.50 +8.00",
    "seed=1 exact 9.50 17.50 +8.00",
    "only in working tree: tuned[seed=2]",
    "2 members are the same",
];

#[test]
fn a_revision_beside_the_working_tree() {
    let project = study();
    let said = project.engine(&["diff", "eight"]);
    assert_eq!(lines(&said.exit(0).out), TABLE);
    assert!(said.out.lines().all(|line| line.chars().count() <= 100), "{}", said.out);
    // As text alone, in a clone that never ran it.
    project.git(&["commit", "-q", "-a", "-m", "rank 16"]);
    let clone = Project::new("");
    let (from, to) = (project.path("").display().to_string(), clone.path("clone").display().to_string());
    clone.git(&["clone", "-q", &from, &to]);
    let mut command = clone.command(&["diff", "eight", "HEAD"]);
    let output = command.current_dir(clone.path("clone")).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(lines(&said).join("\n"), TABLE.join("\n").replace("working tree", "HEAD"));
    assert!(!clone.path("clone/outputs").exists());
    // One pipeline, in each way of naming it.
    for words in [&["eight", FILE][..], &["eight", "HEAD", FILE], &["eight:pipelines/p.yaml", FILE], &["HEAD~1", FILE]]
    {
        let said = project.engine(&[&["diff"], words].concat());
        assert_eq!(lines(&said.exit(0).out)[1..7], TABLE[1..7], "{words:?}");
    }
    project
        .engine(&["diff", FILE])
        .exit(0)
        .says(&["HEAD:pipelines/p.yaml → pipelines/p.yaml", "6 members are the same"]);
    project.engine(&["diff", "HEAD"]).exit(0).says(&["6 members are the same"]);
}

#[test]
fn two_files() {
    let project = study();
    project.file("pipelines/q.yaml", &format!("name: q\n{}", STUDY.replace("rank: 8", "rank: 9")));
    project.engine(&["run", "pipelines/q.yaml"]).exit(0);
    let said = project.engine(&["diff", "pipelines/q.yaml", FILE]);
    said.exit(0).says(&["pipelines/q.yaml → pipelines/p.yaml", "\"9\"", "\"16\"", "+7.00"]);
    let json = project.engine(&["diff", "pipelines/q.yaml", FILE, "--json"]);
    let json: Value = serde_json::from_str(&json.exit(0).out).unwrap();
    let tuned = &json["stages"][0];
    assert_eq!((&tuned["stage"], &tuned["common"][0]["new"]), (&"tuned".into(), &"\"16\"".into()));
    assert_eq!(tuned["changed"][1]["figures"][0]["new"], 17.5);
    assert_eq!((&json["differs"], &json["old"]["lock"]), (&true.into(), &"pipelines/q.lock.yaml".into()));
}

#[test]
fn what_was_changed_and_not_run_is_said() {
    let project = study();
    project.git(&["commit", "-q", "-a", "-m", "rank 16"]);
    project.pipeline(&STUDY.replace("rank: 8", "rank: 32").replace("[0, 1]", "[0, 1, 2]"));
    let said = project.engine(&["diff", "HEAD"]);
    said.exit(0).says(&["\"32\"", "not run since its settings changed: tuned[seed=0], tuned[seed=1], tuned[seed=2]"]);
}

#[test]
fn profiles_have_locks_of_their_own() {
    let project = study();
    project.run(&["--profile", "short"]).exit(0);
    let said = project.engine(&["diff", "eight"]);
    said.exit(0)
        .says(&["pipelines/p.short: eight → working tree", "there is no lock eight:pipelines/p.short.lock.yaml"]);
    assert!(lines(&said.out).contains(&"seed=0 exact – 2.50".to_owned()), "{}", said.out);
}

#[test]
fn locks_that_are_absent_or_damaged() {
    let project = study();
    let lock = project.text("pipelines/p.lock.yaml");
    project.file("pipelines/p.lock.yaml", &lock[..lock.len() / 2]);
    let said = project.engine(&["diff", "eight"]);
    said.exit(0).says(&["pipelines/p.lock.yaml: the lock file is damaged", "no figures", "\"8\""]);
    fs::remove_file(project.path("pipelines/p.lock.yaml")).unwrap();
    project.engine(&["diff", "eight"]).exit(0).says(&["there is no lock pipelines/p.lock.yaml", "\"8\""]);
    // An older file that this engine does not understand: figures alone.
    project.file("pipelines/p.lock.yaml", &lock);
    project.file(FILE, "name: p\nstages: {one: {kind: unheard}}\n");
    project.git(&["commit", "-q", "-a", "-m", "broken"]);
    project.pipeline(STUDY);
    let said = project.engine(&["diff", "HEAD"]);
    said.exit(0).says(&["settings are not compared: HEAD:pipelines/p.yaml", "no kind is named `unheard`"]);
}

#[test]
fn mistakes_are_said() {
    let project = study();
    project.engine(&["diff", "nine"]).exit(2).warns(&["`nine` is neither a revision nor a file"]);
    project.engine(&["diff", "--", "--output=x"]).exit(2).warns(&["`--output=x` is neither"]);
    assert!(!project.path("x").exists());
    project.engine(&["diff", "eight:pipelines/q.yaml"]).exit(2).warns(&["there is no `pipelines/q.yaml`", "p.yaml"]);
    project.engine(&["diff", FILE, "eight"]).exit(2).warns(&["do not go together"]);
    fs::remove_dir_all(project.path(".git")).unwrap();
    let outside = project.command(&["diff", "eight"]).env("GIT_CEILING_DIRECTORIES", "/").output().unwrap();
    assert_eq!(outside.status.code(), Some(2));
    assert!(String::from_utf8(outside.stderr).unwrap().contains("is in no git repository"));
    let without = project.command(&["diff", "eight"]).env("PATH", "/nowhere").output().unwrap();
    assert!(String::from_utf8(without.stderr).unwrap().contains("`git` is not installed"));
}
