//! Commands that fail: what is said, and that nothing of them is stored.

use crate::project::{FILE, Project};

#[test]
fn a_failing_program_is_named_with_its_log() {
    let project = Project::new(
        r#"
stages:
  good:
    kind: command
    run: [sh, -c, 'echo fine > "$1"', sh, "${out.text}"]
    out: {text: text}
  bad:
    kind: command
    run: [sh, -c, 'cat "$1" > "$2"; echo "out of cheese" >&2; exit 3', sh, "${in.text}", "${out.text}"]
    in: {text: good/text}
    out: {text: text}
  after:
    kind: command
    run: [cp, "${in.text}", "${out.text}"]
    in: {text: bad/text}
    out: {text: text}
"#,
    );
    let ran = project.run(&[]);
    ran.did(&["good"]).failed(&["bad"]).fails_with(&["exit status 3"]);
    assert_eq!(ran.members("skipped"), ["after"]);
    assert!(!project.path("outputs/p/bad").exists());
    project.engine(&["run", FILE]).exit(1).warns(&["bad", "exit status 3", "│ out of cheese"]);
    project.engine(&["status", FILE]).exit(0).says(&["failed", "stale    depends on bad"]);
    project.engine(&["show", FILE, "bad"]).exit(0).says(&["out of cheese"]);
    project.run(&[]).did(&[]).failed(&["bad"]);
}

#[test]
fn what_does_not_depend_on_a_failure_goes_on_where_asked() {
    let project = Project::new(
        r#"
stages:
  bad: {kind: command, run: ["false"], out: {text: text}}
  after: {kind: command, run: [cp, "${in.text}", "${out.text}"], in: {text: bad/text}, out: {text: text}}
  first: {kind: command, run: [touch, "${out.text}"], out: {text: text}}
  second: {kind: command, run: [cp, "${in.text}", "${out.text}"], in: {text: first/text}, out: {text: text}}
"#,
    );
    let ran = project.run(&["--jobs", "1", "--keep-going"]);
    ran.exit(1).did(&["first", "second"]).failed(&["bad"]);
    assert_eq!(ran.members("skipped"), ["after"]);
    project.engine(&["run", FILE, "--keep-going"]).exit(1).says(&["0 done, 2 up to date, 1 failed, 1 not tried"]);
    project.engine(&["history", FILE]).exit(0).says(&["2 up to date, 1 failed, 1 not tried"]);
}

#[test]
fn without_keep_going_nothing_starts_after_a_failure() {
    let project = Project::new(
        r#"
stages:
  bad: {kind: command, run: ["false"], out: {text: text}}
  after: {kind: command, run: [cp, "${in.text}", "${out.text}"], in: {text: bad/text}, out: {text: text}}
  other: {kind: command, run: [touch, "${out.text}"], out: {text: text}}
"#,
    );
    project.run(&["--jobs", "1"]).exit(1).did(&[]).failed(&["bad"]);
}

#[test]
fn a_declared_output_that_is_not_written() {
    let project = Project::new("stages:\n  idle: {kind: command, run: ['true'], out: {text: text.txt}}\n");
    project.run(&[]).fails_with(&["did not write `text.txt`", "`text`", "${out.text}"]);
    assert!(!project.path("outputs/p/idle").exists());
    project.run(&[]).did(&[]).failed(&["idle"]);
}

#[test]
fn a_program_that_does_not_exist() {
    let project = Project::new("stages:\n  gone: {kind: command, run: [no-such-program], out: {text: text.txt}}\n");
    project.run(&[]).fails_with(&["no-such-program"]);
}

#[test]
fn an_input_that_changes_while_it_is_read() {
    let text = r#"
stages:
  copy:
    kind: command
    run: [sh, -c, 'cat "$1" > "$2"; [ -e DIR/rewrite ] && echo later > DIR/words.txt; true', sh, "${in.text}", "${out.text}"]
    in: {text: {path: words.txt}}
    out: {text: text}
"#;
    let project = Project::new(text);
    project.file("words.txt", "early\n").file("rewrite", "");
    project.run(&[]).fails_with(&["words.txt", "changed while"]);
    assert!(!project.path("outputs/p/copy").exists());
    std::fs::remove_file(project.path("rewrite")).unwrap();
    // Neither under what it was nor under what it is.
    project.file("words.txt", "early\n");
    project.run(&[]).exit(0).did(&["copy"]);
    assert_eq!(project.text("outputs/p/copy/text"), "early\n");
    project.file("words.txt", "later\n");
    project.run(&[]).exit(0).did(&["copy"]);
    assert_eq!(project.text("outputs/p/copy/text"), "later\n");
}

#[test]
fn a_file_in_the_place_of_outputs() {
    let project = Project::new("stages:\n  one: {kind: command, run: [touch, '${out.text}'], out: {text: text}}\n");
    project.file("outputs", "mine");
    project.run(&[]).fails_with(&["outputs"]);
    assert_eq!(project.text("outputs"), "mine");
}

#[test]
fn a_file_in_the_place_of_a_stages_folder_is_a_warning() {
    let project = Project::new("stages:\n  one: {kind: command, run: [touch, '${out.text}'], out: {text: text}}\n");
    project.file("outputs/p/one/notes.txt", "mine");
    project.run(&[]).exit(0).did(&["one"]);
    let again = project.engine(&["run", FILE]);
    again.exit(0).says(&["0 done, 1 up to date"]).warns(&[
        "notes.txt is in the way",
        "its files are in",
        "move it elsewhere",
    ]);
    assert_eq!(project.text("outputs/p/one/notes.txt"), "mine");
}
