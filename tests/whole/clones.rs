//! A clone without the store, and locks that cannot be read: what is recorded is shown, and both numbers where they
//! differ.

use std::fs;

use crate::project::{FILE, Project};

/// A stage that leaves a figure, and one that reads it. The figure is in a file that no stage declares.
const FIGURES: &str = r#"
stages:
  scores:
    kind: command
    run: [sh, -c, 'echo x >> DIR/scores.runs; printf "{\"headline\": {\"exact\": %s}}" $(cat DIR/figure) > "$1"', sh, "${out.metrics}"]
    out: {metrics: metrics.json}
  after:
    kind: command
    run: [sh, -c, 'cp "$1" "$2"', sh, "${in.a}", "${out.metrics}"]
    in: {a: scores/metrics}
    out: {metrics: metrics.json}
"#;

const LOCK: &str = "pipelines/p.lock.yaml";

fn scored() -> Project {
    let project = Project::new(FIGURES);
    project.file("figure", "61.25");
    project.run(&[]).exit(0).did(&["after", "scores"]);
    project
}

#[test]
fn what_is_recorded_is_shown_without_the_store() {
    let project = scored();
    let lock = project.text(LOCK);
    fs::remove_dir_all(project.path("outputs")).unwrap();
    project.engine(&["status", FILE]).exit(0).says(&[
        "scores  stale    recorded, not here  recorded: exact 61.25",
        "after   stale    depends on scores  recorded: exact 61.25",
    ]);
    project.engine(&["plan", FILE]).exit(0).says(&["runs     scores  recorded, not here  recorded: exact 61.25"]);
    let key = lock.split("key: ").nth(1).unwrap()[..64].to_owned();
    project.engine(&["show", FILE, "after"]).exit(0).says(&["recorded in the lock under key", &key, "exact 61.25"]);
    assert!(!project.path("outputs").exists());
    // The same numbers again: nothing is said, and the lock stays as it was.
    let ran = project.run(&[]);
    ran.exit(0).did(&["after", "scores"]);
    assert!(!ran.said.err.contains("the lock says"), "{}", ran.said.err);
    assert_eq!(project.text(LOCK), lock);
}

#[test]
fn numbers_that_differ_are_printed_both() {
    let project = scored();
    fs::remove_dir_all(project.path("outputs")).unwrap();
    project.file("figure", "60.5");
    let ran = project.run(&[]);
    ran.exit(0);
    ran.said.warns(&[
        "scores: the lock says exact 61.25; this time exact 60.50",
        "after: the lock says exact 61.25; this time exact 60.50",
    ]);
    // A changed setting explains a changed number; doing it again does not.
    project.file("figure", "59").pipeline(&FIGURES.replace("printf", "echo other > /dev/null; printf"));
    let ran = project.run(&["--until", "scores"]);
    assert!(!ran.said.err.contains("the lock says"), "{}", ran.said.err);
    project.file("figure", "58");
    project.run(&["--force", "scores"]).said.warns(&["scores: the lock says exact 59.00; this time exact 58.00"]);
}

#[test]
fn other_bytes_with_the_same_numbers_are_said() {
    let project = scored();
    project.file("figure", "61.250");
    let ran = project.run(&["--force", "scores"]);
    ran.exit(0);
    ran.said.warns(&["scores: the lock says it left ", "; this time "]);
}

#[test]
fn a_run_of_a_part_keeps_what_the_lock_says_of_the_rest() {
    let project = scored();
    let lock = project.text(LOCK);
    fs::remove_dir_all(project.path("outputs")).unwrap();
    project.run(&["--until", "scores"]).exit(0).did(&["scores"]);
    assert_eq!(project.text(LOCK), lock);
}

#[test]
fn a_damaged_lock_is_made_again_from_the_store_though_only_a_part_runs() {
    let project = scored();
    let lock = project.text(LOCK);
    project.file(LOCK, &lock[..lock.len() / 2]);
    let ran = project.run(&["--until", "scores"]);
    ran.exit(0).did(&[]);
    ran.said.warns(&["the lock file is damaged", "it is written anew"]);
    assert_eq!(project.text(LOCK), lock);
    assert_eq!(project.lines("scores.runs"), 1);
}
