//! How stages run: side by side as far as they fit, again after a failure, no longer than they may, or one alone.

use crate::project::{FILE, Project};

#[test]
fn a_stage_that_fails_is_tried_again_as_often_as_its_file_says() {
    let pipeline = r#"
stages:
  shaky:
    kind: command
    retry: 2
    run: [sh, -c, 'echo x >> DIR/shaky.runs; test "$(wc -l < DIR/shaky.runs)" -ge 3 && echo done > out']
    out: {text: out}
"#;
    let project = Project::new(pipeline);
    let ran = project.run(&[]);
    ran.exit(0).did(&["shaky"]);
    assert_eq!(ran.members("retried"), ["shaky", "shaky"]);
    assert_eq!(project.lines("shaky.runs"), 3);
    // How often it is tried is no part of what it makes.
    project.pipeline(&pipeline.replace("retry: 2", "retry: 7"));
    project.run(&[]).exit(0).did(&[]);
    project.pipeline(&pipeline.replace("-ge 3", "-ge 30").replace("retry: 2", "retry: 1"));
    project.run(&[]).exit(1).failed(&["shaky"]);
    assert_eq!(project.lines("shaky.runs"), 5, "two attempts more");
}

#[test]
fn a_stage_that_takes_too_long_is_ended_with_all_it_started() {
    let project = Project::new(
        r#"
stages:
  slow:
    kind: command
    timeout: 1s
    run: [sh, -c, 'sleep 600 & echo $! > DIR/sleeper; wait']
    out: {text: out}
"#,
    );
    project.run(&[]).fails_with(&["it was ended when its `timeout` of 1s was over", "raise `timeout`"]);
    let sleeper = project.text("sleeper");
    let state = std::fs::read_to_string(format!("/proc/{}/stat", sleeper.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "it sleeps on: {state}");
}

/// Each notes when it begins and ends; both ends of both notes tell whether two ran at once.
fn pair(resources: &str) -> String {
    let stage = |name: &str| {
        format!(
            "  {name}:\n    kind: command\n    resources: {resources}\n    run: [sh, -c, 'echo + >> DIR/times; sleep 0.5; echo - >> DIR/times; echo {name} > out']\n    out: {{text: out}}\n"
        )
    };
    format!("stages:\n{}{}", stage("left"), stage("right"))
}

#[test]
fn stages_run_side_by_side_only_as_far_as_they_fit() {
    for (resources, jobs, together) in [
        ("{cpu: 1}", "2", true),
        ("{cpu: 1}", "1", false),
        ("{cpu: 2}", "2", false),
        ("{cpu: 1, memory: 900TiB}", "2", false),
        ("{cpu: 1, memory: 1MiB}", "2", true),
    ] {
        let project = Project::new(&pair(resources));
        project.run(&["--jobs", jobs]).exit(0).did(&["left", "right"]);
        let times = project.text("times").replace('\n', "");
        assert_eq!(times == "++--", together, "{resources} with --jobs {jobs}: {times}");
    }
}

#[test]
fn a_cuda_device_that_is_not_there_is_said_before_anything_is_tried() {
    let project = Project::new(&pair("{gpu: 64}"));
    let ran = project.run(&["--keep-going"]);
    ran.exit(1);
    assert_eq!(ran.members("failed"), ["left", "right"]);
    assert!(ran.said.out.contains("`left` asks for 64 CUDA devices; this run has"), "{}", ran.said.out);
    project.run(&["--device", "cpu"]).exit(0).did(&["left", "right"]);
}

#[test]
fn one_stage_alone_is_made_only_when_what_it_reads_is_there() {
    let project = Project::new(
        r#"
stages:
  first:
    kind: command
    run: [sh, -c, 'echo first > out']
    out: {text: out}
  second:
    kind: command
    run: [cp, "${in.text}", out]
    in: {text: first/text}
    out: {text: out}
  third:
    kind: command
    run: [cp, "${in.text}", out]
    in: {text: second/text}
    out: {text: out}
"#,
    );
    let ran = project.run(&["--only", "second"]);
    ran.fails_with(&["`first` is not made, and `--only` lets nothing else be made", "--until"]);
    project.run(&["--until", "first"]).exit(0).did(&["first"]);
    project.run(&["--only", "second"]).exit(0).did(&["second"]);
    project.run(&["--only", "second"]).exit(0).did(&[]);
    project.run(&["--only", "second", "--force", "second"]).exit(0).did(&["second"]);
    project.engine(&["run", FILE, "--only", "second", "--until", "third"]).exit(2).warns(&["cannot be used with"]);
}
