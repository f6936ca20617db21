//! Runs that are killed, stopped, or meet each other.

use std::fs;

use crate::project::{FILE, Project, is_used, until};

/// A short stage, then one that writes its result in two parts and tells when it has begun.
pub const SLOW: &str = r#"
stages:
  quick:
    kind: command
    run: [sh, -c, 'echo x >> DIR/quick.runs; echo quick > "$1"', sh, "${out.text}"]
    out: {text: text}
  slow:
    kind: command
    run: [sh, -c, 'echo x >> DIR/slow.runs; echo part > "$2"; touch DIR/begun; sleep 2; echo full >> "$2"', sh, "${in.text}", "${out.text}"]
    in: {text: quick/text}
    out: {text: text}
"#;

#[test]
fn two_runs_from_the_start_do_each_member_once() {
    let project = Project::new(
        r#"
stages:
  one:
    kind: command
    matrix: {x: [a, b, c, d, e, f]}
    run: [sh, -c, 'echo "$1" >> DIR/one.runs; echo "$1" > "$2"', sh, "${matrix.x}", "${out.text}"]
    out: {text: text}
"#,
    );
    let runs = [project.start(&[]), project.start(&[]), project.start(&[])];
    for run in runs {
        run.wait().exit(0);
    }
    let done = project.text("one.runs");
    let mut done: Vec<&str> = done.lines().collect();
    done.sort_unstable();
    assert_eq!(done, ["a", "b", "c", "d", "e", "f"]);
}

#[test]
fn an_interrupted_run_keeps_what_was_finished() {
    let project = Project::new(&SLOW.replace("sleep 2", "sleep 60"));
    let run = project.start(&[]);
    project.wait_for("begun");
    run.signal("INT");
    let ran = run.wait();
    ran.exit(130).did(&["quick"]);
    ran.said.warns(&["stopping"]);
    until("the stage's program to end", || !is_used(&project.path("outputs")));
    assert!(project.text("pipelines/p.lock.yaml").contains("quick"));
    project.pipeline(&SLOW.replace("sleep 2", "sleep 0"));
    project.run(&[]).exit(0).did(&["slow"]);
    assert_eq!(project.lines("quick.runs"), 1);
}

#[test]
fn a_forced_stage_that_is_killed_keeps_what_it_had() {
    let project = Project::new(SLOW);
    project.run(&[]).exit(0).did(&["quick", "slow"]);
    fs::remove_file(project.path("begun")).unwrap();
    let run = project.start(&["--force", "slow"]);
    project.wait_for("begun");
    run.signal("KILL");
    run.gone();
    project.engine(&["plan", FILE]).exit(0).says(&["0 to run, 0 that depend on them, 2 up to date"]);
    project.run(&[]).exit(0).did(&[]);
    assert_eq!(project.text("outputs/p/slow/text"), "part\nfull\n");
}
