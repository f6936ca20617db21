//! A project in a temporary folder, and what `engine` says and leaves there. Knows no subject.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// The pipeline file that every project has, relative to its folder.
pub const FILE: &str = "pipelines/p.yaml";

/// How long anything here may take before the test says that it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A project's folder; removed with the value.
pub struct Project {
    folder: TempDir,
}

impl Project {
    /// An empty project with this pipeline.
    pub fn new(pipeline: &str) -> Self {
        let project = Self { folder: TempDir::with_prefix("whole").unwrap() };
        project.pipeline(pipeline);
        project
    }

    /// Writes the pipeline; `DIR` in it stands for the project's folder, `name: p` is added.
    pub fn pipeline(&self, text: &str) -> &Self {
        let text = text.replace("DIR", &self.path("").display().to_string());
        self.file(FILE, &format!("name: p\n{text}"))
    }

    /// Writes a file of the project.
    pub fn file(&self, name: &str, text: &str) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// A path in the project.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The text of a file in the project.
    pub fn text(&self, name: &str) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// A JSON file in the project.
    pub fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_str(&self.text(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// How many lines a file in the project has; none where it is absent. Stages count themselves so.
    pub fn lines(&self, name: &str) -> usize {
        fs::read_to_string(self.path(name)).map_or(0, |text| text.lines().count())
    }

    /// `engine` with these words after the program's name, to be started in the project's folder.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(engine());
        command.args(words).current_dir(self.folder.path()).env("OMP_NUM_THREADS", "1").env("NO_COLOR", "1");
        // What a test does not bring itself it does not ask the Hub for.
        command.env("HF_HUB_OFFLINE", "1");
        command
    }

    /// What `engine` says to these words.
    pub fn engine(&self, words: &[&str]) -> Said {
        Said::from(self.command(words).output().unwrap())
    }

    /// `engine run` with these words behind the file's name.
    pub fn run(&self, words: &[&str]) -> Ran {
        Ran::from(self.run_command(words).output().unwrap())
    }

    /// `engine run` in the background.
    pub fn start(&self, words: &[&str]) -> Started {
        let mut command = self.run_command(words);
        Started(Some(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()))
    }

    /// `engine run`, to be started.
    pub fn run_command(&self, words: &[&str]) -> Command {
        self.command(&[&["run", FILE, "--json"], words].concat())
    }

    /// Waits until a file of the project is there.
    pub fn wait_for(&self, name: &str) {
        let path = self.path(name);
        until(&format!("{name} to appear"), || path.exists());
    }

    /// The digests of all that a stage (or `stage/member`) left, by path.
    pub fn left(&self, stage: &str) -> BTreeMap<String, String> {
        self.left_in("p", stage)
    }

    /// As [`Project::left`], of a variant: `p.short`.
    pub fn left_in(&self, variant: &str, stage: &str) -> BTreeMap<String, String> {
        let root = self.path(&format!("outputs/{variant}/{stage}"));
        let mut digests = BTreeMap::new();
        let mut open = vec![root.clone()];
        while let Some(folder) = open.pop() {
            let items = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            for item in items {
                let path = item.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let name = path.strip_prefix(&root).unwrap().display().to_string();
                    digests.insert(name, plan::digest::Digest::of(&fs::read(&path).unwrap()).hex());
                }
            }
        }
        assert!(!digests.is_empty(), "{stage} left nothing");
        digests
    }
}

/// The `engine` that cargo built for this test.
pub fn engine() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_engine"))
}

/// The `engine-worker` beside it. Cargo builds it with the rest of the workspace.
pub fn worker() -> PathBuf {
    let worker = engine().with_file_name("engine-worker");
    assert!(worker.exists(), "{} is missing: `cargo build --release --workspace`", worker.display());
    worker
}

/// Waits until something holds.
pub fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// What a program said.
#[derive(Debug)]
pub struct Said {
    /// Its exit code.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text is UTF-8");
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

impl Said {
    /// It ended with this code.
    #[track_caller]
    pub fn exit(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        self
    }

    /// Standard output holds each of these.
    #[track_caller]
    pub fn says(&self, texts: &[&str]) -> &Self {
        texts.iter().for_each(|text| assert!(self.out.contains(text), "no `{text}` in\n{}\n{}", self.out, self.err));
        self
    }

    /// Standard error holds each of these.
    #[track_caller]
    pub fn warns(&self, texts: &[&str]) -> &Self {
        texts.iter().for_each(|text| assert!(self.err.contains(text), "no `{text}` in\n{}\n{}", self.err, self.out));
        self
    }
}

/// What `engine run --json` told.
#[derive(Debug)]
pub struct Ran {
    /// What it said.
    pub said: Said,
    events: Vec<Value>,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self::from(Said::from(output))
    }
}

impl From<Said> for Ran {
    fn from(said: Said) -> Self {
        let parse =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("no event: {line}\n{}", said.err));
        let events = said.out.lines().map(parse).collect();
        Self { said, events }
    }
}

impl Ran {
    /// It ended with this code.
    #[track_caller]
    pub fn exit(&self, code: i32) -> &Self {
        self.said.exit(code);
        self
    }

    /// These members were done, no other; the order does not count.
    #[track_caller]
    pub fn did(&self, members: &[&str]) -> &Self {
        let mut members: Vec<String> = members.iter().map(|name| (*name).to_owned()).collect();
        members.sort_unstable();
        assert_eq!(self.members("finished"), members, "{}\n{}", self.said.out, self.said.err);
        self
    }

    /// These members were started and failed, no other.
    #[track_caller]
    pub fn failed(&self, members: &[&str]) -> &Self {
        assert_eq!(self.members("failed"), members, "{}\n{}", self.said.out, self.said.err);
        self
    }

    /// The members of an event, sorted.
    pub fn members(&self, event: &str) -> Vec<String> {
        let of = self.events.iter().filter(|told| told["event"] == event);
        let mut members: Vec<String> = of.map(|told| told["member"].as_str().unwrap().to_owned()).collect();
        members.sort_unstable();
        members
    }

    /// The failure of the one member that failed, as message, place and hint.
    #[track_caller]
    pub fn failure(&self) -> String {
        let failures: Vec<&Value> = self.events.iter().filter(|told| told["event"] == "failed").collect();
        assert_eq!(failures.len(), 1, "{}\n{}", self.said.out, self.said.err);
        let part = |name: &str| failures[0]["failure"][name].as_str().unwrap_or_default().to_owned();
        [part("message"), part("place"), part("hint")].join("\n")
    }

    /// The failure holds each of these.
    #[track_caller]
    pub fn fails_with(&self, texts: &[&str]) -> &Self {
        self.exit(1);
        let failure = self.failure();
        texts.iter().for_each(|text| assert!(failure.contains(text), "no `{text}` in\n{failure}"));
        self
    }

    /// Why a member ran: each part with its old and new value.
    pub fn why(&self, member: &str) -> Vec<String> {
        let started = self.events.iter().find(|told| told["event"] == "started" && told["member"] == member);
        let parts = started.unwrap_or_else(|| panic!("{member} did not start"))["why"].as_array().unwrap();
        parts.iter().map(|part| part["what"].as_str().unwrap().to_owned()).collect()
    }
}

/// A run in the background; killed with the value.
pub struct Started(Option<Child>);

impl Started {
    /// Sends a signal: `KILL`, `INT`.
    pub fn signal(&self, name: &str) {
        let id = self.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    /// What it told, when it is over.
    pub fn wait(mut self) -> Ran {
        Ran::from(self.0.take().unwrap().wait_with_output().unwrap())
    }

    /// Waits for the end of a run that was killed; what it told is dropped.
    pub fn gone(mut self) {
        self.0.take().unwrap().wait_with_output().unwrap();
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether any program works below a folder, or was started with it among its words.
pub fn is_used(folder: &Path) -> bool {
    !users(folder).is_empty()
}

/// The programs that work below a folder, or were started with it among their words.
pub fn users(folder: &Path) -> Vec<u32> {
    let name = folder.as_os_str().as_encoded_bytes();
    let uses = |id: &u32| {
        let process = PathBuf::from(format!("/proc/{id}"));
        let within = fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder));
        let words = fs::read(process.join("cmdline")).unwrap_or_default();
        within || words.windows(name.len()).any(|part| part == name)
    };
    let ids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = ids.filter_map(|process| process.file_name().to_str()?.parse().ok());
    ids.filter(|id| *id != std::process::id()).filter(uses).collect()
}
