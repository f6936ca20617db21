//! What is fresh and what is stale: the key of each member as far as its inputs are known, and the job it becomes. Knows
//! the store and the graph; starts nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use spec::{
    job::{Device, Failure, Job, JobInput, Made},
    stage::{Read, Stage},
};

use crate::{
    digest::{Digest, Framed},
    file_error::FileError,
    graph::{Graph, NodeId, NodeInput},
    history::Machine,
    key::Key,
    pins::{self, Pins},
    remembered::Remembered,
    selected,
    store::{Attempt, Record, Store, Tree},
};

/// Finds the templates that a template names, itself first.
pub type TemplateFiles<'a> = dyn Fn(&Path, &str) -> Result<Vec<PathBuf>, Failure> + Sync + 'a;

/// The graph of a pipeline beside what the store holds of it.
pub struct State<'a> {
    /// The members and their edges.
    pub graph: &'a Graph,
    /// What was made so far.
    pub store: &'a Store,
    /// Digests of the project's files.
    pub remembered: &'a Remembered,
    /// What the lock pins of moving sources.
    pub pins: &'a Pins,
    /// The folder that local paths are relative to.
    pub root: &'a Path,
    /// How a template's own templates are found.
    pub templates: &'a TemplateFiles<'a>,
}

/// What became of each member so far: each is told once, from any thread.
#[derive(Debug)]
pub struct Records(Vec<OnceLock<Option<Arc<Record>>>>);

impl Records {
    /// Nothing is known of any of so many members.
    pub fn new(count: usize) -> Self {
        Self((0..count).map(|_| OnceLock::new()).collect())
    }

    /// What a member left, if it is there.
    pub fn get(&self, id: NodeId) -> Option<&Arc<Record>> {
        self.0[id.0].get()?.as_ref()
    }

    /// Whether a member is not done because something else was chosen.
    pub fn is_dropped(&self, id: NodeId) -> bool {
        matches!(self.0[id.0].get(), Some(None))
    }

    /// Whether a member is there, or not done because something else was chosen.
    pub fn is_over(&self, id: NodeId) -> bool {
        self.0[id.0].get().is_some()
    }

    /// Notes what a member left; what was noted before stays.
    pub fn left(&self, id: NodeId, record: Arc<Record>) {
        let _ = self.0[id.0].set(Some(record));
    }

    /// Notes that a member is not done because something else was chosen.
    pub fn drop(&self, id: NodeId) {
        let _ = self.0[id.0].set(None);
    }

    /// What each member left, in the order of the graph.
    pub fn iter(&self) -> impl Iterator<Item = Option<&Arc<Record>>> {
        self.0.iter().map(|record| record.get()?.as_ref())
    }
}

/// A member's key, and the files of the project that went into it.
#[derive(Debug, Clone)]
pub struct Keyed {
    /// The key.
    pub key: Key,
    /// Its digest.
    pub digest: Digest,
    /// For each role the path that is read, and what it held.
    pub files: Vec<LocalFile>,
}

/// A file or folder of the project as it was when the key was made.
#[derive(Debug, Clone)]
pub struct LocalFile {
    /// The setting that names it.
    pub role: String,
    /// Where it is.
    pub path: PathBuf,
    /// Everything that is read there, with what it held.
    pub contents: Vec<(PathBuf, Tree)>,
}

/// What `plan` and `status` say of a member.
#[derive(Debug, Clone)]
pub enum Freshness {
    /// It is made.
    Fresh(Arc<Record>),
    /// Its inputs are made, it is not.
    Stale(Box<Keyed>),
    /// Something that it reads, or that chooses its settings, is not made: its key is not known yet.
    Waits(Vec<NodeId>),
    /// Something else was chosen: it is not done.
    NotChosen,
    /// Its key cannot be made.
    Broken(Failure),
}

impl State<'_> {
    /// What every member is, without running anything.
    pub fn survey(&self) -> Vec<Freshness> {
        let records = Records::new(self.graph.nodes.len());
        self.graph.ids().map(|id| self.freshness(id, &records)).collect()
    }

    /// What one member is; what it needs must have been looked at before.
    fn freshness(&self, id: NodeId, records: &Records) -> Freshness {
        match self.is_chosen(id, records) {
            Err(failure) => return Freshness::Broken(failure),
            Ok(false) => {
                records.drop(id);
                return Freshness::NotChosen;
            }
            Ok(true) => {}
        }
        let waits: Vec<NodeId> = self.graph.node(id).needs().filter(|member| !records.is_over(*member)).collect();
        if !waits.is_empty() {
            return Freshness::Waits(waits);
        }
        let keyed = match self.key(id, records) {
            Ok(keyed) => keyed,
            Err(failure) => return Freshness::Broken(failure),
        };
        match self.store.lookup(&keyed.digest) {
            Err(error) => Freshness::Broken(failure_of(&error)),
            Ok(None) => Freshness::Stale(Box::new(keyed)),
            Ok(Some(record)) => {
                let record = Arc::new(record);
                records.left(id, record.clone());
                Freshness::Fresh(record)
            }
        }
    }

    /// The members that must be there so that these can be: what they read, and what chooses it. What only a choice yet
    /// to be made would ask for is not among them.
    ///
    /// # Errors
    /// What a `select` stage left cannot be read.
    pub fn needed(&self, wanted: &[NodeId], records: &Records) -> Result<Vec<bool>, Failure> {
        let nodes = &self.graph.nodes;
        let mut is_open = vec![false; nodes.len()];
        let mut needed = vec![false; nodes.len()];
        for (place, node) in nodes.iter().enumerate() {
            let followed = node.inputs.iter().filter(|input| !input.gathers).flat_map(|input| &input.members);
            is_open[place] = node.conditions.iter().any(|condition| !records.is_over(condition.select))
                || followed.into_iter().any(|member| is_open[member.0])
                || !self.is_chosen(NodeId(place), records)?;
        }
        for id in wanted {
            needed[id.0] = true;
        }
        for place in (0..nodes.len()).rev() {
            if needed[place] {
                for id in nodes[place].needs().filter(|id| !is_open[place] || is_open[id.0]) {
                    needed[id.0] = true;
                }
                nodes[place].conditions.iter().for_each(|condition| needed[condition.select.0] = true);
            }
        }
        Ok(needed)
    }

    /// Whether a member is to be done, as far as what chooses is known: false when something else was chosen for it or
    /// for one that it follows.
    ///
    /// # Errors
    /// What a `select` stage left cannot be read.
    pub fn is_chosen(&self, id: NodeId, records: &Records) -> Result<bool, Failure> {
        let node = self.graph.node(id);
        let followed = node.inputs.iter().filter(|input| !input.gathers).flat_map(|input| &input.members);
        let selects = node.conditions.iter().map(|condition| &condition.select);
        if followed.chain(selects).any(|member| records.is_dropped(*member)) {
            return Ok(false);
        }
        for condition in &node.conditions {
            let Some(record) = records.get(condition.select) else { continue };
            let winner = selected::winner(&self.store.tree_folder(record))?;
            if winner.get(&condition.axis) != Some(&condition.label) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The key of a member whose inputs are all made.
    ///
    /// # Errors
    /// A file of the project that cannot be read, or a part that an input did not leave.
    pub fn key(&self, id: NodeId, records: &Records) -> Result<Keyed, Failure> {
        let node = self.graph.node(id);
        let mut key = Key::of(&node.settings).map_err(|error| Failure {
            message: format!("a setting has no JSON form: {error}"),
            place: None,
            hint: Some("numbers must be finite".into()),
        })?;
        let choosers = self.choosers(node.settings.shows_settings());
        for input in &node.inputs {
            for member in input.members.iter().filter(|member| !records.is_dropped(**member)) {
                let role = if input.gathers {
                    format!("{}[{}]", input.role, self.graph.node(*member).name())
                } else {
                    input.role.clone()
                };
                self.key_input(&mut key, &role, *member, input, records)?;
                if node.settings.shows_settings() {
                    key.inputs.insert(format!("{role}.settings"), self.made(*member, &choosers)?.digest);
                }
                if node.settings.shows_measured() && self.graph.node(*member).settings.measures() {
                    key.inputs.insert(format!("{role}.measured"), self.record(*member, records)?.key);
                }
            }
        }
        let mut files = Vec::new();
        for local in &node.local_paths {
            let path = self.root.join(&local.path);
            let read = match local.read {
                Read::Whole => vec![path.clone()],
                Read::Template => (self.templates)(self.root, &local.path)?,
            };
            let mut contents = Vec::with_capacity(read.len());
            for path in read {
                let tree = self.remembered.digest_path(&path).map_err(|error| failure_of(&error))?;
                contents.push((path, tree));
            }
            let name = path.file_name().filter(|_| local.read == Read::Whole);
            let mut framed = Framed::new("files of the project", 1);
            framed.field("name", name.map(std::ffi::OsStr::as_encoded_bytes).unwrap_or_default());
            for (_, tree) in &contents {
                framed.digest("contents", &tree.digest());
            }
            key.files.insert(local.role.clone(), framed.finish());
            files.push(LocalFile { role: local.role.clone(), path, contents });
        }
        if let Some(pin) = pins::pin(node, self.pins) {
            key.files.insert(pins::ROLE.to_owned(), pin.digest);
        }
        if node.settings.measures() {
            key.machine = Machine::of_key();
        }
        let digest = key.digest();
        Ok(Keyed { key, digest, files })
    }

    fn key_input(
        &self,
        key: &mut Key,
        role: &str,
        member: NodeId,
        input: &NodeInput,
        records: &Records,
    ) -> Result<(), Failure> {
        let record = self.record(member, records)?;
        let files = self.files_of(member, input, &record)?;
        key.inputs.insert(role.to_owned(), record.tree.digest_of(&files));
        if let Some(carried) = self.carried(member) {
            let whole = NodeInput { part: None, files: Vec::new(), ..carried.clone() };
            for base in &carried.members {
                self.key_input(key, &format!("{role}.{}", carried.role), *base, &whole, records)?;
            }
        }
        Ok(())
    }

    /// The files of a member that an input reads; everything where empty.
    fn files_of(&self, member: NodeId, input: &NodeInput, record: &Record) -> Result<Vec<String>, Failure> {
        let Some(part) = input.part.as_ref().filter(|_| input.files.is_empty()) else { return Ok(input.files.clone()) };
        let producer = self.graph.node(member);
        let path = producer.settings.part_path(part);
        let below = format!("{path}/");
        if record.tree.entries().iter().any(|entry| entry.path == path || entry.path.starts_with(&below)) {
            return Ok(vec![path]);
        }
        let left: Vec<&str> = record.tree.entries().iter().map(|entry| entry.path.as_str()).take(12).collect();
        Err(Failure {
            message: format!("`{}` left no `{part}`", producer.name()),
            place: None,
            hint: Some(spec::suggest::did_you_mean(part, left)),
        })
    }

    /// The `select` stages that choose by what each member left; nothing where nobody wants to know.
    fn choosers(&self, wanted: bool) -> HashMap<NodeId, BTreeSet<&str>> {
        let mut choosers: HashMap<NodeId, BTreeSet<&str>> = HashMap::new();
        let selects = self.graph.nodes.iter().filter(|node| wanted && matches!(*node.settings, Stage::Select(_)));
        for select in selects {
            for member in select.inputs.iter().flat_map(|input| &input.members) {
                choosers.entry(*member).or_default().insert(&select.stage);
            }
        }
        choosers
    }

    /// How a member is made, for a stage that shows it.
    fn made(&self, member: NodeId, choosers: &HashMap<NodeId, BTreeSet<&str>>) -> Result<Shown, Failure> {
        let node = self.graph.node(member);
        let without_form = |error: serde_json::Error| Failure {
            message: format!("a setting of `{}` has no JSON form: {error}", node.name()),
            place: None,
            hint: Some("numbers must be finite".into()),
        };
        let chosen_by: Vec<String> =
            choosers.get(&member).into_iter().flatten().map(|name| (*name).to_owned()).collect();
        let settings = node.settings.settings().map_err(without_form)?;
        let mut framed = Framed::new("how a member is made", 1);
        framed.field("settings", settings.to_string()).field("chosen by", chosen_by.join(" "));
        Ok(Shown { digest: framed.finish(), made: Made { settings, chosen_by } })
    }

    /// The input that whoever reads a member reads too.
    fn carried(&self, member: NodeId) -> Option<&NodeInput> {
        let node = self.graph.node(member);
        let role = node.settings.carries()?;
        node.inputs.iter().find(|input| input.role == role)
    }

    fn record(&self, member: NodeId, records: &Records) -> Result<Arc<Record>, Failure> {
        records.get(member).cloned().ok_or_else(|| Failure {
            message: format!("`{}` is not made yet", self.graph.node(member).name()),
            place: None,
            hint: Some("run the stages it reads first".into()),
        })
    }

    /// The records of everything that a member reads, carried ones included.
    pub fn read_by(&self, id: NodeId, records: &Records) -> Vec<Arc<Record>> {
        let mut open: Vec<NodeId> =
            self.graph.node(id).inputs.iter().flat_map(|input| input.members.iter().copied()).collect();
        let mut read = Vec::new();
        while let Some(member) = open.pop() {
            read.extend(records.get(member).cloned());
            open.extend(self.carried(member).into_iter().flat_map(|input| input.members.iter().copied()));
        }
        read
    }

    /// The job of a member, to be done in an attempt's folders.
    ///
    /// # Errors
    /// A setting that has no JSON form, or an input that is not made.
    pub fn job(
        &self,
        id: NodeId,
        keyed: &Keyed,
        records: &Records,
        attempt: &Attempt,
        threads: usize,
        device: Device,
    ) -> Result<Job, Failure> {
        let node = self.graph.node(id);
        let mut inputs = BTreeMap::new();
        let choosers = self.choosers(node.settings.shows_settings());
        for input in &node.inputs {
            let read = input.members.iter().filter(|member| !records.is_dropped(**member));
            let members: Result<Vec<JobInput>, Failure> = read
                .map(|member| {
                    let input = self.job_input(*member, input.part.clone(), records)?;
                    let made = node.settings.shows_settings().then(|| self.made(*member, &choosers)).transpose()?;
                    Ok(JobInput { made: made.map(|shown| shown.made), ..input })
                })
                .collect();
            inputs.insert(input.role.clone(), members?);
        }
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        Ok(Job {
            kind: node.settings.kind().to_owned(),
            name: node.name(),
            settings: node.settings.settings().map_err(|error| Failure {
                message: format!("a setting has no JSON form: {error}"),
                place: None,
                hint: None,
            })?,
            inputs,
            files: keyed.files.iter().map(|local| (local.role.clone(), absolute(local.path.clone()))).collect(),
            result: absolute(attempt.result()),
            observed: absolute(attempt.observed()),
            state: absolute(attempt.state()),
            threads,
            device,
            revision: pins::pin(node, self.pins).and_then(|pin| pin.revision.clone()),
            origin: None,
        })
    }

    fn job_input(&self, member: NodeId, part: Option<String>, records: &Records) -> Result<JobInput, Failure> {
        let node = self.graph.node(member);
        let record = self.record(member, records)?;
        let carried = match self.carried(member).and_then(|input| Some((input, input.members.first()?))) {
            Some((input, base)) => Some(Box::new(self.job_input(*base, input.part.clone(), records)?)),
            None => None,
        };
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        Ok(JobInput {
            stage: node.stage.clone(),
            kind: node.settings.kind().to_owned(),
            coordinates: node.labels(),
            part,
            result: absolute(self.store.tree_folder(&record)),
            observed: absolute(self.store.observed_folder(&record.key)),
            carried,
            made: None,
        })
    }
}

/// How a member is made, and the digest of that.
struct Shown {
    digest: Digest,
    made: Made,
}

/// A failure of the file system as a stage's failure.
pub fn failure_of(error: &FileError) -> Failure {
    Failure { message: error.to_string(), place: None, hint: Some(error.hint()) }
}
