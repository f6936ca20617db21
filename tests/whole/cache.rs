//! What runs again and what does not, seen with small commands.

use crate::project::{FILE, Project};

/// Three commands one after the other; each counts its runs.
pub const CHAIN: &str = r#"
# three steps
stages:
  lower:
    kind: command
    run: [sh, -c, 'echo x >> DIR/lower.runs; tr A-Z a-z < "$1" > "$2"', sh, "${in.text}", "${out.text}"]
    in: {text: {path: words.txt}}
    out: {text: text}
  sorted:
    kind: command
    run: [sh, -c, 'echo x >> DIR/sorted.runs; sort "$1" > "$2"', sh, "${in.text}", "${out.text}"]
    in: {text: lower/text}
    out: {text: text}
  joined:
    kind: command
    run: [sh, -c, 'echo x >> DIR/joined.runs; cat "$1" "$2" > "$3"', sh, "${in.a}", "${in.b}", "${out.text}"]
    in: {a: sorted/text, b: lower/text}
    out: {text: text}
"#;

/// The three, done.
pub fn chain() -> Project {
    let project = Project::new(CHAIN);
    project.file("words.txt", "Pear\nApple\n");
    project.run(&[]).exit(0).did(&["joined", "lower", "sorted"]);
    project
}

impl Project {
    /// How often each of the three was run.
    pub fn runs(&self) -> [usize; 3] {
        ["lower.runs", "sorted.runs", "joined.runs"].map(|name| self.lines(name))
    }
}

#[test]
fn a_second_run_does_nothing() {
    let project = chain();
    assert_eq!(project.text("outputs/p/joined/text"), "apple\npear\npear\napple\n");
    let lock = project.text("pipelines/p.lock.yaml");
    let again = project.run(&[]);
    again.exit(0).did(&[]);
    assert_eq!(again.members("cached"), ["joined", "lower", "sorted"]);
    assert_eq!(project.runs(), [1, 1, 1]);
    assert_eq!(project.text("pipelines/p.lock.yaml"), lock);
}

#[test]
fn what_does_not_decide_the_result_runs_nothing() {
    let project = chain();
    project.pipeline(&CHAIN.replace("# three steps", "# the same, told otherwise"));
    project.run(&[]).exit(0).did(&[]);
    // The last stage first.
    let (head, stages) = CHAIN.split_once("stages:\n").unwrap();
    let (first, last) = stages.split_at(stages.find("  joined:").unwrap());
    project.pipeline(&format!("{head}stages:\n{last}{first}"));
    project.run(&[]).exit(0).did(&[]);
    // Another stage's name, and how much of the machine it takes.
    let renamed = CHAIN.replace("lower", "small").replace("small.runs", "lower.runs");
    let execution = "    resources: {cpu: 2, memory: 64MiB}\n    timeout: 1h\n    retry: 1\n";
    project.pipeline(&renamed.replace("  sorted:\n", &format!("  sorted:\n{execution}")));
    project.run(&[]).exit(0).did(&[]);
    // The file that it stands in.
    let (first, last) = stages.split_at(stages.find("  sorted:").unwrap());
    let first = first.replace("DIR", &project.path("").display().to_string());
    project.file("common/lower.yaml", &format!("stages:\n{first}"));
    project.pipeline(&format!("include: ../common/lower.yaml\nstages:\n{last}"));
    project.run(&[]).exit(0).did(&[]);
    assert_eq!(project.runs(), [1, 1, 1]);
    // A file that is touched, and one that nobody reads.
    project.file("words.txt", "Pear\nApple\n").file("other.txt", "new");
    project.run(&[]).exit(0).did(&[]);
}

#[test]
fn what_with_sets_runs_the_members_it_is_for() {
    let stage = r#"stages:
  made:
    kind: command
    matrix:
      size: [1, 2, 3]
      step: [1, 2]
      exclude: [{size: 3}]
WITH
    run: [sh, -c, 'seq "$1" "$2" 9 > "$3"', sh, "${matrix.size}", "${matrix.step}", "${out.text}"]
    out: {text: text}
"#;
    let with = |entries: &str| stage.replace("WITH", &format!("      with: [{entries}]"));
    let project = Project::new(&with("{size: 1, set: {retry: 1}}"));
    let all = ["made[size=1,step=1]", "made[size=1,step=2]", "made[size=2,step=1]", "made[size=2,step=2]"];
    project.run(&[]).exit(0).did(&all);
    // How a member runs is no part of its key.
    project.pipeline(&with("{size: 2, set: {timeout: 1h, resources: {cpu: 1}}}"));
    project.run(&[]).exit(0).did(&[]);
    project.pipeline(&with("{size: 1, set: {env: {LANG: C}}}, {size: 1, step: 2, set: {env.LANG: C.UTF-8}}"));
    project.run(&[]).exit(0).did(&all[..2]);
    project.pipeline(&with("{size: 1, set: {env: {LANG: C}}}"));
    project.run(&[]).exit(0).did(&all[1..2]);
    project.run(&["--set", "stages.made.matrix.with=[]"]).exit(0).did(&[]);
}

#[test]
fn a_changed_argument_runs_its_stage_and_what_follows() {
    let project = chain();
    project.pipeline(&CHAIN.replace("sort \"$1\"", "sort -r \"$1\""));
    let ran = project.run(&[]);
    ran.exit(0).did(&["joined", "sorted"]);
    assert_eq!(ran.why("sorted"), ["run.2"]);
    assert_eq!(project.text("outputs/p/joined/text"), "pear\napple\npear\napple\n");
    // And back: both are still known.
    project.pipeline(CHAIN);
    project.run(&[]).exit(0).did(&[]);
    assert_eq!(project.text("outputs/p/joined/text"), "apple\npear\npear\napple\n");
}

#[test]
fn a_changed_file_runs_what_reads_it() {
    let project = chain();
    project.file("words.txt", "Pear\nPlum\n");
    project.run(&[]).exit(0).did(&["joined", "lower", "sorted"]);
    assert_eq!(project.text("outputs/p/joined/text"), "pear\nplum\npear\nplum\n");
    // Of the same length, in the same second.
    project.file("words.txt", "Pear\nPlug\n");
    project.run(&[]).exit(0).did(&["joined", "lower", "sorted"]);
}

#[test]
fn force_until_and_set() {
    let project = chain();
    project.run(&["--force", "sorted"]).exit(0).did(&["sorted"]);
    assert_eq!(project.runs(), [1, 2, 1]);
    project.file("words.txt", "Fig\n");
    project.run(&["--until", "sorted"]).exit(0).did(&["lower", "sorted"]);
    project.engine(&["plan", FILE]).exit(0).says(&["runs     joined", "1 to run, 0 that depend on them, 2 up to date"]);
    project.run(&[]).exit(0).did(&["joined"]);
    project.engine(&["run", FILE, "--until", "sortde"]).exit(2).warns(&["no stage is named `sortde`", "sorted"]);

    let lock = project.text("pipelines/p.lock.yaml");
    project.run(&["--set", "stages.sorted.run.2=sort -r \"$1\" > \"$2\""]).exit(0).did(&["sorted"]);
    assert_eq!(project.text("pipelines/p.lock.yaml"), lock, "a run with --set leaves the lock alone");
    let named = ["--set", "stages.joined.run.2=cat \"$2\" > \"$3\"", "--variant", "quick"];
    project.run(&named).exit(0).did(&["joined"]);
    assert_eq!(project.text("pipelines/p.lock.yaml"), lock);
    assert!(project.text("pipelines/p.quick.lock.yaml").contains("joined"));
    assert_eq!(project.text("outputs/p.quick/joined/text"), "fig\n");
}

#[test]
fn a_profile_keeps_its_results_and_lock_apart() {
    let project = Project::new(&format!("profiles:\n  short: {{stages.lower.in.text.path: few.txt}}\n{CHAIN}"));
    project.file("words.txt", "B\nA\n").file("few.txt", "Z\n");
    project.run(&[]).exit(0).did(&["joined", "lower", "sorted"]);
    let (lock, left) = (project.text("pipelines/p.lock.yaml"), project.left("joined"));
    project.run(&["--profile", "short"]).exit(0).did(&["joined", "lower", "sorted"]);
    assert_eq!(project.text("outputs/p.short/joined/text"), "z\nz\n");
    assert_ne!(project.left_in("p.short", "joined"), left);
    assert_eq!(project.left("joined"), left);
    assert_eq!(project.text("pipelines/p.lock.yaml"), lock);
    assert!(project.path("pipelines/p.short.lock.yaml").exists());
    project.run(&[]).exit(0).did(&[]);
}

#[test]
fn a_pipeline_that_is_not_named_as_its_file_has_its_own_lock() {
    let project = chain();
    let other = project.text(FILE).replace("name: p", "name: other");
    project.file("pipelines/p.yaml", &other);
    // This belongs to nobody, though it is named as the file is.
    project.file("pipelines/p.lock.yaml", "<<<<<<< ours\n");
    project.run(&["--force", "lower"]).exit(0).did(&["lower"]);
    assert_eq!(project.text("pipelines/p.lock.yaml"), "<<<<<<< ours\n");
    assert!(project.text("pipelines/other.lock.yaml").contains("joined"));
    let again = project.engine(&["run", FILE]);
    again.exit(0).says(&["other: 0 done, 3 up to date"]);
    assert_eq!(again.err, "", "the damaged lock of another is not spoken of");
}

#[test]
fn members_of_a_matrix_are_each_their_own() {
    let text = |words: &str| {
        format!(
            "stages:\n  word:\n    kind: command\n    matrix: {{x: [{words}]}}\n    run: [sh, -c, 'echo \"$1\" > \
             \"$2\"', sh, '${{matrix.x}}', '${{out.text}}']\n    out: {{text: text}}\n  twice:\n    kind: command\n    run: [sh, \
             -c, 'cat \"$1\" \"$1\" > \"$2\"', sh, '${{in.word}}', '${{out.text}}']\n    in: {{word: word/text}}\n    out: \
             {{text: text}}\n"
        )
    };
    let project = Project::new(&text("one, two"));
    project.run(&[]).exit(0).did(&["twice[x=one]", "twice[x=two]", "word[x=one]", "word[x=two]"]);
    assert_eq!(project.text("outputs/p/twice/x=one/text"), "one\none\n");
    assert_eq!(project.text("outputs/p/twice/x=two/text"), "two\ntwo\n");
    project.pipeline(&text("three, two, one"));
    project.run(&[]).exit(0).did(&["twice[x=three]", "word[x=three]"]);
    assert_eq!(project.text("outputs/p/twice/x=one/text"), "one\none\n");
    // What is no member any more is no longer shown.
    project.pipeline(&text("two"));
    project.run(&[]).exit(0).did(&[]);
    assert!(!project.path("outputs/p/word/x=one").exists());
    project.run(&["--force", "word[x=two]"]).exit(0).did(&["word[x=two]"]);
}
