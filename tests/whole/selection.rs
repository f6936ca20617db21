//! `kind: select`: what wins, what waits for it, and what is never made, seen with small commands.

use crate::project::{FILE, Project};

/// Four scored members; the best by `acc` is `plain, hot` unless told otherwise.
const STUDY: &str = r#"
vars: {favourite: plain-0.9}
stages:
  prompts:
    kind: command
    matrix: {prompt: [strict, plain], temperature: {cold: 0.1, hot: 0.9}}
    run:
      - sh
      - -c
      - 'if [ "$1-$2" = "$3" ]; then s=70; else s=50; fi; echo "{\"headline\": {\"acc\": $s}, \"metrics\": {\"acc\": $s}}" > metrics.json'
      - sh
      - ${matrix.prompt}
      - ${matrix.temperature}
      - ${vars.favourite}
    out: {scores: metrics.json}
  texts:
    kind: command
    matrix: {prompt: [strict, plain]}
    run: [sh, -c, 'echo "$1" > text; echo "$1" >> DIR/texts.runs', sh, "${matrix.prompt}"]
    out: {text: text}
  winner:
    kind: select
    from: prompts
    best: {metric: acc, mode: max}
  tuned:
    kind: command
    matrix: {seed: [0, 1]}
    run: [sh, -c, 'cat "$1" > out; echo "$2 $3" >> out', sh, "${in.text}", "${winner.temperature}", "${matrix.seed} ${winner.temperature}"]
    in: {text: "texts[prompt=${winner.prompt}]/text"}
    out: {text: out}
  scores:
    kind: command
    run: [cp, "${in.text}", "${out.text}"]
    in: {text: tuned/text}
    out: {text: out}
"#;

#[test]
fn what_is_chosen_is_used_and_nothing_else_is_made() {
    let project = Project::new(STUDY);
    project.engine(&["plan", FILE]).exit(0).says(&["depends  tuned[seed=0]  on texts, winner"]);
    let all = ["prompts[prompt=plain,temperature=cold]", "prompts[prompt=plain,temperature=hot]"];
    let all =
        [&all[..], &["prompts[prompt=strict,temperature=cold]", "prompts[prompt=strict,temperature=hot]"]].concat();
    let rest = ["scores[seed=0]", "scores[seed=1]", "tuned[seed=0]", "tuned[seed=1]", "winner"];
    // `--until scores`, so that `texts` is made for the winner alone.
    let ran = project.run(&["--until", "scores"]);
    ran.exit(0).did(&[&all[..], &["texts[prompt=plain]"], &rest[..]].concat());
    assert_eq!(project.text("outputs/p/scores/seed=1/out"), "plain\n0.9 1 hot\n");
    project.engine(&["status", FILE]).exit(0).says(&["prompt=plain, temperature=hot", "acc 70.00"]);
    project.engine(&["plan", FILE]).exit(0).says(&["runs     texts[prompt=strict]", "1 to run, 0 that depend"]);
    project.run(&[]).exit(0).did(&["texts[prompt=strict]"]);
    project.run(&[]).exit(0).did(&[]);
    let lock = project.text("pipelines/p.lock.yaml");
    assert_eq!(lock.matches("  tuned[seed=0]:").count(), 1, "{lock}");
}

#[test]
fn another_winner_changes_what_depends_on_it_and_the_same_winner_changes_nothing() {
    let project = Project::new(STUDY);
    project.run(&[]).exit(0);
    // Scores change, the winner does not: early cutoff.
    project.pipeline(&STUDY.replace("s=50", "s=60"));
    let ran = project.run(&[]);
    assert_eq!(ran.exit(0).members("finished").iter().filter(|name| !name.starts_with("prompts")).count(), 1, "winner");
    // Another winner: what used the label runs again, with the other text.
    project.pipeline(&STUDY.replace("plain-0.9", "strict-0.1"));
    project.run(&[]).exit(0);
    assert_eq!(project.text("outputs/p/scores/seed=0/out"), "strict\n0.1 0 cold\n");
    // And back: all of it is still there.
    project.pipeline(STUDY);
    project.run(&[]).exit(0).did(&[]);
    assert_eq!(project.text("outputs/p/scores/seed=0/out"), "plain\n0.9 0 hot\n");
}

#[test]
fn per_gives_one_winner_for_each_label_and_the_axis_is_followed() {
    let tail = r#"
  each:
    kind: select
    from: prompts
    best: {metric: acc, mode: min}
    per: [prompt]
  used:
    kind: command
    run: [sh, -c, 'cat "$1" > out; echo "$2" >> out', sh, "${in.text}", "${each.temperature}"]
    in: {text: texts/text}
    out: {text: out}
"#;
    // `texts` has an axis `prompt` of its own: it must be told apart from the one that `each` follows.
    let project = Project::new(&[STUDY, tail].concat());
    let refused = project.engine(&["check", FILE]);
    refused.exit(2).warns(&["two different axes are named `prompt`: one of `prompts`, one of `texts`"]);
    project.pipeline(&[STUDY, &tail.replace("texts/text", "\"texts[prompt=plain]/text\"")].concat());
    project.run(&[]).exit(0);
    assert_eq!(project.text("outputs/p/used/prompt=plain/out"), "plain\n0.1\n", "the lowest of 50 and 70");
    assert_eq!(project.text("outputs/p/used/prompt=strict/out"), "plain\n0.1\n", "of equals the first");
    project
        .engine(&["graph", FILE])
        .exit(0)
        .says(&["each     select ×2 ← prompts", "used     command ×2 ← texts, each"]);
}

#[test]
fn a_missing_figure_and_a_failed_candidate_end_in_a_clear_error() {
    let project = Project::new(&STUDY.replace("metric: acc", "metric: accuracy"));
    let ran = project.run(&["--until", "scores"]);
    ran.fails_with(&["`prompts[prompt=strict,temperature=cold]` has no figure `accuracy`", "acc"]);
    ran.failed(&["winner"]);
    let project = Project::new(&STUDY.replace("s=50", "exit 3"));
    let ran = project.run(&["--keep-going"]);
    ran.exit(1);
    assert_eq!(ran.members("failed").len(), 3);
    assert!(ran.members("skipped").contains(&"winner".to_owned()));
    assert_eq!(project.lines("texts.runs"), 2, "what does not depend on the winner is done");
}
