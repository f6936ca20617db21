//! Writing one run down while it goes on. Knows what happens to members; does not know when or why.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Instant, SystemTime},
};

use serde::{Deserialize, Serialize};

use super::{FORMAT, Machine, Member, MemberState, Outcome, Revision, Run, folder, secrets, time};
use crate::{
    digest::{Digest, Framed},
    file_error::{FileError, at},
    graph::{Graph, NodeId},
    key::Difference,
    run::{self, Happened},
    store::{Owner, Store},
};

/// The ending of the file that names a variant's last run.
pub(super) const LAST: &str = "last";

/// What was asked of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The pipeline file, relative to the project's root.
    pub file: String,
    /// The profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Settings that were changed, as `PATH=VALUE`; values that look like secrets are hidden.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub set: Vec<String>,
    /// Further options, as they were written: `--until tuned`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Asked {
    /// The command that asks it; values that look like secrets are hidden.
    pub fn command(&self) -> String {
        let mut words = vec!["engine run".to_owned(), for_shell(&self.file)];
        words.extend(self.profile.iter().map(|name| format!("--profile {name}")));
        words.extend(self.set.iter().map(|set| format!("--set {}", for_shell(&secrets::shown_set(set)))));
        words.extend(self.options.iter().cloned());
        words.join(" ")
    }
}

/// A word as a shell reads it.
fn for_shell(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,@%+".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// How git is asked for the project's revision.
type AskGit = Box<dyn FnOnce() -> Option<Revision> + Send>;

/// A run that is being written down.
pub struct Journal<'a> {
    graph: &'a Graph,
    folder: PathBuf,
    begun: Instant,
    notes: Mutex<Notes>,
    run: Arc<Mutex<Run>>,
}

struct Notes {
    /// What became of each member, by its place in the graph.
    members: Vec<Option<Note>>,
    /// Set once, when the run begins to do something.
    ask_git: Option<AskGit>,
    git: Option<JoinHandle<Option<Revision>>>,
    /// Whether the run's file is there.
    written: bool,
}

struct Note {
    state: MemberState,
    key: Option<Digest>,
    seconds: Option<f64>,
    why: Vec<Difference>,
    failure: Option<String>,
}

impl Note {
    fn new(state: MemberState) -> Self {
        Self { state, key: None, seconds: None, why: Vec::new(), failure: None }
    }
}

impl<'a> Journal<'a> {
    /// A run of these members. Nothing is written, and git is not asked, before it does something.
    pub fn new(
        store: &Store,
        graph: &'a Graph,
        variant: &str,
        mut asked: Asked,
        build: &str,
        git: impl FnOnce() -> Option<Revision> + Send + 'static,
    ) -> Self {
        let begun = time::now();
        asked.set = asked.set.iter().map(|set| secrets::shown_set(set)).collect();
        let run = Run {
            format: FORMAT,
            id: format!("{}-{}", time::compact(begun), crate::store::unique()),
            variant: variant.to_owned(),
            asked,
            begun: begun.as_secs(),
            seconds: None,
            outcome: Outcome::Open,
            process: Owner::me(variant),
            engine: env!("CARGO_PKG_VERSION").to_owned(),
            build: build.to_owned(),
            machine: Machine::default(),
            git: None,
            members: Vec::new(),
            untried: None,
        };
        let members = graph.nodes.iter().map(|_| None).collect();
        let notes = Notes { members, ask_git: Some(Box::new(git)), git: None, written: false };
        Self {
            graph,
            folder: folder(store),
            begun: Instant::now(),
            notes: Mutex::new(notes),
            run: Arc::new(Mutex::new(run)),
        }
    }

    /// Notes something that happened. The first thing that is done brings the run's file.
    pub fn note(&self, happened: &Happened<'_>) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let notes = &mut *notes;
        let mut put = |id: &NodeId, note: Note| {
            if let Some(place) = notes.members.get_mut(id.0) {
                *place = Some(note);
            }
        };
        match happened {
            Happened::Cached(id, record) => {
                put(id, Note { key: Some(record.key), ..Note::new(MemberState::Cached) });
            }
            Happened::Started(id, why) => {
                put(id, Note { why: why.to_vec(), ..Note::new(MemberState::Started) });
                self.begin(notes);
            }
            Happened::Finished(id, record) => {
                let why = notes.members.get_mut(id.0).and_then(Option::take).map(|note| note.why).unwrap_or_default();
                let (key, seconds) = (Some(record.key), Some(record.seconds));
                let note = Note { key, seconds, why, ..Note::new(MemberState::Done) };
                if let Some(place) = notes.members.get_mut(id.0) {
                    *place = Some(note);
                }
                let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
                run.machine.classes.insert(record.machine.clone());
            }
            Happened::Failed(id, failure, _) => {
                let why = notes.members.get_mut(id.0).and_then(Option::take).map(|note| note.why).unwrap_or_default();
                let failure = Some(secrets::shown(&failure.message));
                let note = Note { why, failure, ..Note::new(MemberState::Failed) };
                if let Some(place) = notes.members.get_mut(id.0) {
                    *place = Some(note);
                }
                self.begin(notes);
            }
            Happened::Skipped(id) => put(id, Note::new(MemberState::Skipped)),
            _ => {}
        }
    }

    /// Writes down how the run ended, or that the last one's results were found as they were.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end(self, outcome: &run::Outcome) -> Result<(), FileError> {
        let mut notes = self.notes.into_inner().unwrap_or_else(PoisonError::into_inner);
        let git = notes.git.take().map(|git| git.join());
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner).clone();
        run.seconds = Some(self.begun.elapsed().as_secs_f64());
        run.untried = Some(outcome.untried);
        run.outcome = match outcome {
            run::Outcome { interrupted: true, .. } => Outcome::Interrupted,
            run::Outcome { failed, .. } if failed.is_empty() => Outcome::Done,
            _ => Outcome::Failed,
        };
        let found = digest_of(&notes.members);
        let last = self.folder.join(format!("{}.{LAST}", run.variant));
        if !notes.written && run.outcome == Outcome::Done && marks_as_used(&self.folder, &last, &found) {
            return Ok(());
        }
        if let Some(Ok(git)) = git {
            run.git = git;
        }
        if run.machine.system.is_empty() {
            run.machine = Machine { classes: std::mem::take(&mut run.machine.classes), ..Machine::here() };
        }
        run.members =
            self.graph.ids().zip(notes.members).filter_map(|(id, note)| member(self.graph, id, note)).collect();
        write(&self.folder, &run)?;
        replace(&last, format!("{} {found}\n", run.id).as_bytes())
    }

    /// Writes the run's file and asks git, when the first member is begun.
    fn begin(&self, notes: &mut Notes) {
        let Some(ask) = notes.ask_git.take() else { return };
        let mut run = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        run.machine = Machine::here();
        // What cannot be written now is said at the end.
        notes.written = write(&self.folder, &run).is_ok();
        notes.git = Some(std::thread::spawn(ask));
    }
}

fn member(graph: &Graph, id: NodeId, note: Option<Note>) -> Option<Member> {
    let Note { state, key, seconds, mut why, failure } = note?;
    for Difference { what, old, new, .. } in &mut why {
        for value in [old, new].into_iter().flatten() {
            *value = secrets::shown_value(what, value);
        }
    }
    Some(Member { name: graph.node(id).name(), state, key, seconds, why, failure })
}

/// A digest of the keys that were found or made.
fn digest_of(members: &[Option<Note>]) -> Digest {
    let mut framed = Framed::new("keys of a run", 1);
    for (place, key) in members.iter().enumerate().filter_map(|(place, note)| Some((place, note.as_ref()?.key?))) {
        framed.number("member", place as u64).digest("key", &key);
    }
    framed.finish()
}

/// Marks the last run as used just now, if it found or made the same.
fn marks_as_used(folder: &Path, last: &Path, found: &Digest) -> bool {
    let Ok(text) = fs::read_to_string(last) else { return false };
    let Some((id, digest)) = text.trim_end().split_once(' ') else { return false };
    let is_same = digest.parse() == Ok(*found);
    let touch = || -> io::Result<()> {
        fs::File::options().append(true).open(folder.join(format!("{id}.json")))?.set_modified(SystemTime::now())
    };
    is_same && touch().is_ok()
}

fn write(folder: &Path, run: &Run) -> Result<(), FileError> {
    let path = folder.join(format!("{}.json", run.id));
    let text = serde_json::to_vec(run).map_err(|error| at("write", &path)(error.into()))?;
    replace(&path, &text)
}

/// Writes a file, whole or not at all.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let new = path.with_extension(format!("{}.new", crate::store::unique()));
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(at("make", folder))?;
    fs::write(&new, bytes).map_err(at("write", &new))?;
    fs::rename(&new, path).map_err(at("write", path))
}
