//! What a run leaves in the history, and what must not be in it.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use serde_json::Value;

use crate::project::{FILE, Project};

const STAGES: &str = r#"
vars: {hf_token: none, word: one}
stages:
  one:
    kind: command
    run: [sh, -c, 'echo "$1" > "$2"', sh, "${vars.word}", "${out.text}"]
    env: {API_TOKEN: "${vars.hf_token}"}
    out: {text: text}
  two:
    kind: command
    run: [sh, -c, '[ $(cat "$1") != bad ] && cat "$1" > "$2"', sh, "${in.text}", "${out.text}"]
    in: {text: one/text}
    out: {text: text}
"#;

impl Project {
    fn run_files(&self) -> Vec<PathBuf> {
        let items = fs::read_dir(self.path("outputs/.store/v1/runs")).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = items.map(|item| item.path()).collect();
        files.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
        files.sort_by_key(|path| fs::metadata(path).unwrap().modified().unwrap());
        files
    }

    /// The records of all runs, the latest last.
    fn history(&self) -> Vec<Value> {
        self.run_files().iter().map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap()).collect()
    }

    /// `git` in the project's folder.
    pub fn git(&self, words: &[&str]) {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=a", "-c", "user.email=a@example.org"]).args(words).current_dir(self.path(""));
        let output = git.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_run_is_written_down_and_one_that_does_nothing_is_folded_into_it() {
    let project = Project::new(STAGES);
    project.run(&[]).exit(0).did(&["one", "two"]);
    let history = project.history();
    let first = &history[0];
    assert_eq!((&first["outcome"], &first["variant"]), (&"done".into(), &"p".into()));
    assert_eq!(first["asked"]["file"], FILE);
    assert_eq!(first["members"][0]["name"], "one");
    assert_eq!(first["members"][0]["state"], "done");
    assert_eq!(first["members"][0]["key"].as_str().unwrap().len(), 64);
    assert!(first["machine"]["memory"].as_u64().unwrap() > 1 << 20);
    assert!(!first["machine"]["system"].as_str().unwrap().is_empty());
    assert!(first["seconds"].as_f64().unwrap() > 0.0);
    let used = fs::metadata(&project.run_files()[0]).unwrap().modified().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    project.run(&[]).exit(0).did(&[]);
    assert_eq!(project.history().len(), 1, "nothing was done");
    assert!(fs::metadata(&project.run_files()[0]).unwrap().modified().unwrap() > used);

    project.run(&["--set", "vars.word=other"]).exit(0).did(&["one", "two"]);
    project.run(&["--set", "vars.word=bad", "--keep-going"]).exit(1);
    let history = project.history();
    assert_eq!(history.len(), 3);
    let last = &history[2];
    assert_eq!((&last["outcome"], &last["asked"]["set"][0]), (&"failed".into(), &"vars.word=bad".into()));
    assert_eq!((&last["members"][1]["name"], &last["members"][1]["state"]), (&"two".into(), &"failed".into()));
    assert!(last["members"][1]["failure"].as_str().unwrap().contains("exit status 1"));
    // Back to what is there: other keys than the last run's, so it is an entry.
    project.run(&[]).exit(0).did(&[]);
    let history = project.history();
    assert_eq!(history.len(), 4);
    assert_eq!(history[3]["members"][0]["state"], "cached");

    project.engine(&["history", FILE]).exit(0).says(&[
        "  1  20",
        "done         2 up to date",
        "failed       1 done, 1 failed",
        "--set vars.word=bad",
        "done         2 done",
    ]);
    let detail = project.engine(&["history", FILE, "2"]);
    detail.exit(0).says(&["✓ one", "✗ two", "exit status 1", "asked        engine run pipelines/p.yaml --set", "GiB"]);
    project.engine(&["history", FILE, history[0]["id"].as_str().unwrap()]).exit(0).says(&["✓ two"]);
    project.engine(&["history", FILE, "9"]).exit(2).warns(&["no run is named `9`"]);
}

#[test]
fn why_a_member_ran_is_in_it_and_no_secret_is() {
    let project = Project::new(STAGES);
    project.run(&[]).exit(0);
    project.pipeline(&STAGES.replace("word: one", "word: two").replace("none", "hunter2"));
    let output = project.command(&["run", FILE]).env("SOME_VARIABLE", "sesame").output().unwrap();
    assert!(output.status.success());
    let why = &project.history()[1]["members"][0]["why"];
    assert_eq!(why[0]["what"], "env.API_TOKEN");
    assert_eq!((&why[0]["old"], &why[0]["new"]), (&"(hidden)".into(), &"(hidden)".into()));
    assert_eq!((&why[1]["what"], &why[1]["new"]), (&"run.4".into(), &"\"two\"".into()));
    project.run(&["--set", "vars.hf_token=hunter3"]).exit(0);
    for path in project.run_files() {
        let text = fs::read_to_string(path).unwrap();
        assert!(!["hunter2", "hunter3", "sesame"].iter().any(|secret| text.contains(secret)), "{text}");
    }
    assert_eq!(project.history()[2]["asked"]["set"][0], "vars.hf_token=(hidden)");
}

#[test]
fn a_killed_run_is_seen_as_such() {
    let project = Project::new(&STAGES.replace("cat \"$1\" > ", "touch DIR/begun; sleep 30; cat \"$1\" > "));
    let run = project.start(&[]);
    project.wait_for("begun");
    project.engine(&["history", FILE]).exit(0).says(&["running"]);
    run.signal("KILL");
    run.gone();
    project.engine(&["history", FILE]).exit(0).says(&["killed"]);
    project.pipeline(STAGES);
    project.run(&[]).exit(0);
    project.engine(&["history", FILE]).exit(0).says(&["  1  20", "done", "  2  20", "killed"]);
}

#[test]
fn the_revision_is_in_it_and_whether_files_differed() {
    let project = Project::new(STAGES);
    project.git(&["init", "-q"]);
    project.git(&["add", "pipelines"]);
    project.git(&["commit", "-q", "-m", "first"]);
    project.run(&[]).exit(0);
    let first = &project.history()[0]["git"];
    assert_eq!(first["commit"].as_str().unwrap().len(), 40);
    assert_eq!(first["dirty"], false, "outputs and locks are what runs write");
    project.pipeline(&STAGES.replace("word: one", "word: two"));
    project.run(&[]).exit(0);
    let second = &project.history()[1]["git"];
    assert_eq!((&second["commit"], &second["dirty"]), (&first["commit"], &true.into()));
    // A program that the repository names as its watcher is not started.
    project.git(&["config", "core.fsmonitor", "touch started; false"]);
    project.pipeline(&STAGES.replace("word: one", "word: three"));
    project.run(&[]).exit(0);
    assert_eq!(project.history()[2]["git"]["dirty"], true);
    assert!(!project.path("started").exists());
}
