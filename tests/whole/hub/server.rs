//! A small hub: answers as the Hugging Face Hub does, over two ports. One knows repositories, revisions, conditions and
//! tokens, and sends on to the other for large files, which knows contents alone. Notes all that it is asked.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use plan::digest::Digest as Blake3;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::project::{Project, Ran, Said};

/// The token that opens everything.
pub const TOKEN: &str = "hf_aVerySecretTokenOfTheTests";
/// A token of an account that has accepted nothing.
pub const STRANGER: &str = "hf_anotherSecretOfAStranger";
/// What stands behind a blob's address and opens it.
pub const SIGNATURE: &str = "X-Signature=tellNobody";

/// A running hub and a home for its cache; both end with the value.
pub struct Hub {
    /// Where it is.
    pub endpoint: String,
    home: TempDir,
    state: Arc<Mutex<State>>,
}

/// What the hub knows.
#[derive(Default)]
pub struct State {
    /// By `models/owner/name` or `datasets/owner/name`.
    pub repositories: BTreeMap<String, Repository>,
    /// Names that lead to others.
    pub renamed: HashMap<String, String>,
    /// What is answered at a path instead: status, headers, body.
    pub odd: HashMap<String, Odd>,
    /// All that was asked, oldest first.
    pub asked: Vec<Asked>,
    /// What happens to the next requests for contents, by their digest.
    pub mishaps: HashMap<String, VecDeque<Mishap>>,
    blobs: HashMap<String, Vec<u8>>,
    store: String,
}

/// A status, headers and a body that no hub would answer.
pub type Odd = (u16, Vec<(&'static str, String)>, &'static str);

/// What may go wrong on the way.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// Only so many bytes, then the connection ends.
    Cut(usize),
    /// The whole file, whatever is asked for.
    NoRanges,
    /// One byte is another.
    Flipped,
    /// Half of the bytes, the rest a second later.
    Slow,
    /// Half of the bytes, the rest when nobody waits any more.
    Stuck,
    /// More bytes than there are.
    Longer,
    /// A status.
    Status(u16),
}

/// One request.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Whether of the server of contents.
    pub of_blobs: bool,
    /// The path, without what is behind `?`.
    pub path: String,
    /// The header `Authorization`.
    pub token: Option<String>,
    /// The header `Range`.
    pub range: Option<String>,
}

/// A repository with all its commits.
#[derive(Default, Clone)]
pub struct Repository {
    commits: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    refs: BTreeMap<String, String>,
    /// Whether conditions must be accepted.
    pub is_gated: bool,
    /// Whether nobody but the owner sees it.
    pub is_private: bool,
}

/// Files above this size are kept by the other server.
const LARGE: usize = 1000;

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Hub {
    /// A hub that knows nothing yet.
    pub fn new() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (hub, blobs) = (listen(), listen());
        let endpoint = format!("http://{}", hub.local_addr().unwrap());
        state.lock().unwrap().store = format!("http://{}", blobs.local_addr().unwrap());
        for (listener, of_blobs) in [(hub, false), (blobs, true)] {
            let state = Arc::clone(&state);
            thread::spawn(move || {
                for stream in listener.incoming() {
                    let (stream, state) = (stream.unwrap(), Arc::clone(&state));
                    thread::spawn(move || serve(stream, &state, of_blobs));
                }
            });
        }
        Self { endpoint, home: TempDir::with_prefix("hub").unwrap(), state }
    }

    /// What the hub knows, to be changed.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Makes these files the newest commit of a branch of `models/…` or `datasets/…`; gives the commit.
    pub fn commit(&self, name: &str, branch: &str, files: &[(&str, &[u8])]) -> String {
        let files: BTreeMap<String, Vec<u8>> =
            files.iter().map(|(path, bytes)| ((*path).to_owned(), bytes.to_vec())).collect();
        let all =
            files.iter().map(|(path, bytes)| format!("{name}{branch}{path}{}", sha256(bytes))).collect::<String>();
        let commit = Blake3::of(all.as_bytes()).hex()[..40].to_owned();
        let mut state = self.state();
        for bytes in files.values() {
            state.blobs.insert(sha256(bytes), bytes.clone());
        }
        let repository = state.repositories.entry(name.to_owned()).or_default();
        repository.refs.insert(branch.to_owned(), commit.clone());
        repository.commits.insert(commit.clone(), files);
        commit
    }

    /// As if `commit` had never been: its history was rewritten.
    pub fn forget(&self, name: &str, commit: &str) {
        self.state().repositories.get_mut(name).unwrap().commits.remove(commit);
    }

    /// Changes a repository.
    pub fn change(&self, name: &str, how: impl Fn(&mut Repository)) {
        how(self.state().repositories.get_mut(name).unwrap());
    }

    /// What goes wrong when these contents are asked for next.
    pub fn next(&self, contents: &[u8], mishaps: &[Mishap]) {
        self.state().mishaps.insert(sha256(contents), mishaps.iter().copied().collect());
    }

    /// All that was asked since the last time, as `hub /path` or `blobs /path bytes=…`.
    pub fn asked(&self) -> Vec<String> {
        let asked = std::mem::take(&mut self.state().asked);
        for one in &asked {
            assert!(!(one.of_blobs && one.token.is_some()), "the token went to another server: {one:?}");
        }
        let shown = |one: &Asked| {
            let whom = if one.of_blobs { "blobs" } else { "hub" };
            let range = one.range.as_ref().map(|range| format!(" {range}")).unwrap_or_default();
            format!("{whom} {}{range}", one.path)
        };
        asked.iter().map(shown).collect()
    }

    /// The folder of the cache.
    pub fn cache(&self, below: &str) -> std::path::PathBuf {
        self.home.path().join("hub").join(below)
    }

    /// The folder that `HF_HOME` is set to.
    pub fn home(&self) -> &std::path::Path {
        self.home.path()
    }

    /// Lets a command see this hub, and no other.
    pub fn seen_by<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        for name in ["HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE"] {
            command.env_remove(name);
        }
        command.env("HF_ENDPOINT", &self.endpoint).env("HF_HOME", self.home.path())
    }

    /// `engine run` in a project that sees this hub, with these variables.
    pub fn run_with(&self, project: &Project, words: &[&str], variables: &[(&str, &str)]) -> Ran {
        let mut command = project.run_command(words);
        let ran = Ran::from(self.seen_by(&mut command).envs(variables.iter().copied()).output().unwrap());
        self.keeps_secrets(&ran.said);
        ran
    }

    /// `engine run` in a project that sees this hub.
    pub fn run(&self, project: &Project, words: &[&str]) -> Ran {
        self.run_with(project, words, &[])
    }

    /// `engine` with these words in a project that sees this hub, with these variables.
    pub fn engine(&self, project: &Project, words: &[&str], variables: &[(&str, &str)]) -> Said {
        let mut command = project.command(words);
        let said = Said::from(self.seen_by(&mut command).envs(variables.iter().copied()).output().unwrap());
        self.keeps_secrets(&said);
        said
    }

    /// What was said holds no secret.
    pub fn keeps_secrets(&self, said: &Said) {
        for secret in [TOKEN, STRANGER, SIGNATURE] {
            assert!(!said.out.contains(secret) && !said.err.contains(secret), "{}\n{}", said.out, said.err);
        }
    }
}

/// One request, read.
struct Request {
    path: String,
    query: String,
    token: Option<String>,
    range: Option<String>,
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let first = lines.next()?.ok()?;
    let target = first.split(' ').nth(1)?.to_owned();
    let (mut token, mut range) = (None, None);
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        match name.to_lowercase().as_str() {
            "authorization" => token = Some(value.trim().to_owned()),
            "range" => range = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    Some(Request { path: path.to_owned(), query: query.to_owned(), token, range })
}

/// An answer.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn of(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn json(value: &serde_json::Value) -> Self {
        Self { body: value.to_string().into_bytes(), ..Self::of(200) }
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>, of_blobs: bool) {
    let Some(request) = read(&stream) else { return };
    let (answer, mishap) = {
        let mut state = state.lock().unwrap();
        state.asked.push(Asked {
            of_blobs,
            path: request.path.clone(),
            token: request.token.clone(),
            range: request.range.clone(),
        });
        let answer = if of_blobs { state.blob(&request) } else { state.answer(&request) };
        let mishap = state.mishaps.get_mut(&sha256(&answer.body)).and_then(VecDeque::pop_front);
        (answer, mishap)
    };
    let _ = send(&mut stream, answer, &request, mishap);
}

fn send(stream: &mut TcpStream, mut answer: Answer, request: &Request, mishap: Option<Mishap>) -> std::io::Result<()> {
    if let Some(Mishap::Status(status)) = mishap {
        answer = Answer::of(status);
    }
    let whole = answer.body.len();
    let start: Option<usize> = request
        .range
        .as_ref()
        .filter(|_| answer.status == 200 && mishap != Some(Mishap::NoRanges))
        .and_then(|range| range.strip_prefix("bytes=")?.trim_end_matches('-').parse().ok());
    if let Some(start) = start {
        if start >= whole {
            answer = Answer::of(416);
        } else {
            answer.status = 206;
            answer.body.drain(..start);
            answer = answer.with("Content-Range", format!("bytes {start}-{}/{whole}", whole - 1));
        }
    }
    match mishap {
        Some(Mishap::Flipped) => answer.body[0] ^= 1,
        Some(Mishap::Longer) => answer.body.extend([0; 10]),
        _ => {}
    }
    write!(stream, "HTTP/1.1 {} X\r\nConnection: close\r\nContent-Length: {}\r\n", answer.status, answer.body.len())?;
    for (name, value) in &answer.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    let sent = match mishap {
        Some(Mishap::Cut(bytes)) => bytes.min(answer.body.len()),
        _ => answer.body.len(),
    };
    let half = sent / 2;
    stream.write_all(&answer.body[..half])?;
    match mishap {
        Some(Mishap::Slow) => thread::sleep(Duration::from_secs(1)),
        Some(Mishap::Stuck) => thread::sleep(Duration::from_secs(100)),
        _ => {}
    }
    stream.write_all(&answer.body[half..sent])
}

impl State {
    fn blob(&self, request: &Request) -> Answer {
        if request.token.is_some() || request.query != SIGNATURE {
            return Answer::of(400);
        }
        match self.blobs.get(request.path.trim_start_matches("/contents/")) {
            Some(bytes) => Answer { body: bytes.clone(), ..Answer::of(200) },
            None => Answer::of(404),
        }
    }

    fn answer(&self, request: &Request) -> Answer {
        let token = request.token.as_deref().and_then(|token| token.strip_prefix("Bearer "));
        let refused = |status: u16, code: &str| Answer::of(status).with("X-Error-Code", code);
        if token.is_some_and(|token| token != TOKEN && token != STRANGER) {
            return Answer::of(401)
                .with("X-Error-Message", format!("Invalid credentials: {}", token.unwrap_or_default()));
        }
        let path = decoded(&request.path);
        if let Some((status, headers, body)) = self.odd.get(&path) {
            return Answer { status: *status, headers: headers.clone(), body: body.as_bytes().to_vec() };
        }
        if path == "/api/whoami-v2" {
            return if token.is_some() { Answer::json(&json!({"name": "me"})) } else { Answer::of(401) };
        }
        if path == "/api/models" {
            return Answer::json(&json!([]));
        }
        for (old, new) in &self.renamed {
            if path.contains(old.as_str()) {
                return Answer::of(307).with("Location", request.path.replace(old, new));
            }
        }
        let (is_list, rest) = match path.strip_prefix("/api/") {
            Some(rest) => (true, rest.to_owned()),
            None if path.starts_with("/datasets/") => (false, path[1..].to_owned()),
            None => (false, format!("models{path}")),
        };
        let word = if is_list { "/revision/" } else { "/resolve/" };
        let Some((name, behind)) = rest.split_once(word) else { return Answer::of(404) };
        let known = self.repositories.get(name).filter(|known| !known.is_private || token == Some(TOKEN));
        let Some(repository) = known else {
            return refused(if token.is_some() { 404 } else { 401 }, "RepoNotFound");
        };
        let is_known = |revision: &str| repository.commits.contains_key(revision);
        let (commit, file) = if is_list {
            (repository.refs.get(behind).cloned().unwrap_or(behind.to_owned()), None)
        } else {
            let (revision, file) = behind.split_once('/').unwrap_or((behind, ""));
            (revision.to_owned(), Some(file.to_owned()))
        };
        let Some(files) = repository.commits.get(&commit).filter(|_| is_known(&commit)) else {
            return refused(404, "RevisionNotFound");
        };
        let Some(file) = file else {
            assert_eq!(request.query, "blobs=true");
            return Answer::json(&listed(&commit, files));
        };
        if repository.is_gated && token != Some(TOKEN) {
            return refused(if token.is_some() { 403 } else { 401 }, "GatedRepo");
        }
        let Some(bytes) = files.get(&file) else { return refused(404, "EntryNotFound") };
        let digest = sha256(bytes);
        if bytes.len() <= LARGE {
            let answer = Answer::of(200).with("ETag", format!("\"{}\"", &digest[..40])).with("X-Repo-Commit", commit);
            return Answer { body: bytes.clone(), ..answer };
        }
        Answer::of(302)
            .with("Location", format!("{}/contents/{digest}?{SIGNATURE}", self.store))
            .with("X-Repo-Commit", commit)
            .with("X-Linked-Etag", format!("\"{digest}\""))
            .with("X-Linked-Size", bytes.len().to_string())
    }
}

/// A path without its escapes.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        if *first == b'%' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&behind[..2]).unwrap(), 16).unwrap());
            rest = &behind[2..];
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// What the hub says of a commit.
fn listed(commit: &str, files: &BTreeMap<String, Vec<u8>>) -> serde_json::Value {
    let siblings: Vec<serde_json::Value> = files
        .iter()
        .map(|(path, bytes)| {
            let digest = sha256(bytes);
            let mut sibling = json!({"rfilename": path, "size": bytes.len(), "blobId": &digest[..40]});
            if bytes.len() > LARGE {
                sibling["lfs"] = json!({"sha256": digest, "size": bytes.len(), "pointerSize": 134});
            }
            sibling
        })
        .collect();
    json!({"_id": "0", "id": "x", "sha": commit, "private": false, "gated": false, "siblings": siblings, "tags": []})
}
