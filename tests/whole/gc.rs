//! What `engine gc` takes out, and that nothing which is needed has to be done again.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use crate::project::{FILE, Project, until};

/// Two stages, one after the other; each counts its runs.
const TWO: &str = r#"
profiles:
  short: {stages.one.run.3: brief}
stages:
  one:
    kind: command
    run: [sh, -c, 'echo x >> DIR/one.runs; echo "$0" > "$1"', long, "${out.text}"]
    out: {text: text}
  two:
    kind: command
    run: [sh, -c, 'echo x >> DIR/two.runs; cat "$1" "$1" > "$2"', sh, "${in.text}", "${out.text}"]
    in: {text: one/text}
    out: {text: text}
"#;

impl Project {
    /// How many results are in the store.
    fn results(&self) -> usize {
        let shards = fs::read_dir(self.path("outputs/.store/v1/records")).into_iter().flatten().flatten();
        shards.map(|shard| fs::read_dir(shard.path()).unwrap().count()).sum()
    }

    /// Everything below `outputs/`, with the time of modification of files.
    fn snapshot(&self) -> Vec<(String, SystemTime)> {
        let mut found = Vec::new();
        let mut open = vec![self.path("outputs")];
        while let Some(folder) = open.pop() {
            for item in fs::read_dir(folder).unwrap() {
                let path = item.unwrap().path();
                let metadata = fs::symlink_metadata(&path).unwrap();
                if metadata.is_dir() {
                    open.push(path);
                } else if !path.ends_with("remembered") {
                    found.push((path.display().to_string(), metadata.modified().unwrap()));
                }
            }
        }
        found.sort();
        found
    }
}

fn two() -> Project {
    let project = Project::new(TWO);
    project.run(&[]).exit(0).did(&["one", "two"]);
    project
}

#[test]
fn what_files_and_locks_name_stays_and_the_rest_goes() {
    let project = two();
    project.run(&["--profile", "short"]).exit(0).did(&["one", "two"]);
    // A try without a lock: nothing names it but the run.
    project.run(&["--set", "stages.one.run.3=other"]).exit(0).did(&["one", "two"]);
    assert_eq!(project.results(), 6);
    project.engine(&["gc"]).exit(0).says(&["0 B free; 6 results stay"]);
    // The clock counts in seconds: what was used in this one is recent.
    std::thread::sleep(Duration::from_millis(1100));
    let before = project.snapshot();
    let dry = project.engine(&["gc", "--days", "0", "--dry-run"]);
    dry.exit(0).says(&["2 results, needed by no pipeline, lock or recent run", "would be free; 4 results stay"]);
    dry.says(&["    one  last used 20", " links in outputs/ that lead to what goes"]);
    assert_eq!(project.snapshot(), before, "a dry run removes nothing");
    project.engine(&["gc", "--days", "0"]).exit(0).says(&["2 results, needed by no", "4 results stay"]);
    assert_eq!(project.results(), 4);
    for profile in [&[][..], &["--profile", "short"]] {
        project.run(profile).exit(0).did(&[]);
    }
    assert_eq!(project.text("outputs/p.short/two/text"), "brief\nbrief\n");
    project.engine(&["doctor"]).says(&["4 results", "0 damaged"]);
}

#[test]
fn a_lock_alone_keeps_results_and_a_file_alone_does() {
    let project = two();
    fs::remove_file(project.path("pipelines/p.lock.yaml")).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    project.engine(&["gc", "--days", "0"]).exit(0).says(&["2 results stay"]);
    project.run(&[]).exit(0).did(&[]);
    project.pipeline(&TWO.replace("long", "longer"));
    std::thread::sleep(Duration::from_millis(1100));
    project.engine(&["gc", "--days", "0"]).exit(0).says(&["2 results stay"]);
    project.pipeline(TWO);
    project.run(&[]).exit(0).did(&[]);
    // Neither of them: it goes, and its links with it.
    fs::remove_file(project.path("pipelines/p.lock.yaml")).unwrap();
    fs::remove_file(project.path(FILE)).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    project.engine(&["gc", "--days", "0"]).exit(0).says(&["0 results stay", "4 links in outputs/"]);
    assert_eq!(project.results(), 0);
    assert!(!project.path("outputs/p").exists());
}

#[test]
fn a_file_that_cannot_be_read_stops_it() {
    let project = two();
    project.file("pipelines/broken.yaml", "stages:\n  one: {kind: comand}\n");
    project.file("pipelines/q.lock.yaml", "format: 1\n<<<<<<< ours\n");
    std::thread::sleep(Duration::from_millis(1100));
    let said = project.engine(&["gc", "--days", "0"]);
    said.exit(2).warns(&["no kind is named `comand`", "command", "q.lock.yaml:2", "nothing was removed"]);
    assert_eq!(project.results(), 2);
    let said = project.engine(&["gc", "--days", "0", "--skip-broken"]);
    said.exit(0).warns(&["skipped:", "broken.yaml"]).says(&["2 results stay"]);
    project.engine(&["gc", "--max-size", "20"]).exit(2).warns(&["write a number and a unit"]);
}

#[test]
fn for_want_of_space_the_longest_unused_goes_and_is_done_again() {
    let large = |name: &str| {
        format!(
            "  {name}:\n    kind: command\n    run: [sh, -c, 'echo x >> DIR/{name}.runs; yes {name} | head -c 200000 > \
             \"$1\"', sh, '${{out.text}}']\n    out: {{text: text}}\n"
        )
    };
    let project = Project::new(&format!("stages:\n{}{}", large("first"), large("second")));
    project.run(&["--until", "second"]).exit(0);
    std::thread::sleep(Duration::from_millis(1100));
    project.run(&["--until", "first"]).exit(0);
    let said = project.engine(&["gc", "--max-size", "300kB"]);
    said.exit(0).says(&["1 result, longest unused", "    second  last used", "1 result stay"]);
    assert!(!project.path("outputs/p/second").exists());
    project.run(&[]).exit(0).did(&["second"]);
    assert_eq!((project.lines("first.runs"), project.lines("second.runs")), (1, 2));
    // A run that finds everything marks it as used: now the second is the one that was used before.
    std::thread::sleep(Duration::from_millis(1100));
    project.run(&["--until", "first"]).exit(0).did(&[]);
    project.engine(&["gc", "--max-size", "300kB"]).exit(0).says(&["    second  last used"]);
}

#[test]
fn a_run_that_goes_on_is_named_and_loses_nothing() {
    let project = two();
    project.pipeline(&TWO.replace("long", "other").replace("cat ", "touch DIR/begun; sleep 3; cat "));
    let run = project.start(&[]);
    project.wait_for("begun");
    let said = project.engine(&["gc", "--days", "0", "--max-size", "0B"]);
    said.exit(1).warns(&["the store is in use: `p` since 20", "--wait"]);
    let waiting = project.command(&["gc", "--days", "0", "--max-size", "0B", "--wait"]).output().unwrap();
    assert!(waiting.status.success());
    let said = String::from_utf8(waiting.stderr).unwrap();
    assert!(said.contains("waiting: the store is in use by `p`"), "{said}");
    run.wait().exit(0).did(&["one", "two"]);
    assert_eq!(project.results(), 0);
    project.run(&[]).exit(0).did(&["one", "two"]);
}

#[test]
fn a_killed_sweep_is_no_harm() {
    let project = two();
    for round in 0..6_u64 {
        project.pipeline(&TWO.replace("long", &format!("round {round}")));
        project.run(&[]).exit(0);
        project.pipeline(TWO);
        let mut gc = project.command(&["gc", "--days", "0", "--max-size", "0B"]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(round));
        gc.kill().unwrap();
        gc.wait().unwrap();
        project.run(&[]).exit(0);
        assert_eq!(project.text("outputs/p/two/text"), "long\nlong\n");
        project.engine(&["doctor"]).says(&["0 damaged"]);
    }
}

#[test]
fn an_orphan_of_a_killed_run_is_left_alone() {
    let project = Project::new(&TWO.replace("cat ", "touch DIR/begun; sleep 30; cat "));
    let run = project.start(&[]);
    project.wait_for("begun");
    run.signal("KILL");
    run.gone();
    let work = || fs::read_dir(project.path("outputs/.store/v1/work")).unwrap().count();
    until("the engine's end", || project.engine(&["gc", "--days", "0"]).code == Some(0));
    assert!(work() > 0, "its lock is held by the program that goes on");
    project.pipeline(TWO);
    project.run(&[]).exit(0);
    assert!(Path::new(&project.path("outputs/p/two/text")).exists());
    for id in crate::project::users(&project.path("outputs")) {
        let _ = Command::new("kill").args(["-KILL", &id.to_string()]).output();
    }
}
