//! What a command needs beside the project: the store, the memory of digests, the lock, the programs. Knows no output.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use plan::{
    digest::Digest,
    graph::{Graph, NodeId},
    key::Key,
    lockfile::{LockError, LockFile, Salvaged, salvage},
    pins::Pins,
    remembered::Remembered,
    run::Programs,
    state::{Freshness, State},
    store::Store,
    views::Views,
};
use spec::{diagnostic::Diagnostic, job::Failure, reference::Reference, suggest};

use crate::project::Project;

/// The store and what belongs to it, for one project.
pub struct Session {
    /// What was made so far.
    pub store: Store,
    /// Digests of the project's files.
    pub remembered: Remembered,
    /// What the lock says; empty where there is none.
    pub lock: Arc<LockFile>,
    /// Why the lock cannot be read, when it is damaged: it is written anew.
    pub damaged_lock: Option<Arc<LockError>>,
    /// What the locks pin of moving sources: the pipeline's own, then those of its variant, which come first.
    pub pins: Pins,
    /// Members whose pins differ between the sides of a half-merged lock.
    pub conflicts: BTreeMap<String, [Digest; 2]>,
    /// Where people find what stages left.
    pub views: Views,
}

impl Session {
    /// Opens the store of a project.
    ///
    /// # Errors
    /// A lock of a later format, or one that cannot be read at all.
    pub fn open(project: &Project) -> Result<Self, Failure> {
        Self::with_store(project, store_of(&project.root))
    }

    /// As [`Self::open`], with the project's store.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn with_store(project: &Project, store: Store) -> Result<Self, Failure> {
        let remembered = Remembered::open(&store);
        let (lock, damaged_lock) = match project.lock.as_ref().map(|lock| &lock.says) {
            None => (Arc::default(), None),
            Some(Ok(lock)) => (lock.clone(), None),
            Some(Err(error)) => match **error {
                LockError::Merged { .. } | LockError::Damaged { .. } => (Arc::default(), Some(error.clone())),
                LockError::Format { .. } | LockError::File(_) => {
                    return Err(Failure { message: error.to_string(), place: None, hint: Some(error.hint()) });
                }
            },
        };
        let Salvaged { pins, conflicts } = pins(project, &lock, damaged_lock.is_some())?;
        let views = Views::new(&project.root.join("outputs"), &project.variant);
        Ok(Self { store, remembered, lock, damaged_lock, pins, conflicts, views })
    }

    /// The graph beside what the store holds of it.
    pub fn state<'a>(&'a self, project: &'a Project) -> State<'a> {
        State {
            graph: &project.graph,
            store: &self.store,
            remembered: &self.remembered,
            pins: &self.pins,
            root: &project.root,
            templates: &template_files,
        }
    }

    /// The key that the lock names for a member, if the store still knows it.
    pub fn last_key(&self, member: &str) -> Option<Key> {
        self.key_of(&self.lock.results.get(member)?.key)
    }

    /// The key of a record, if the store knows it.
    pub fn key_of(&self, key: &Digest) -> Option<Key> {
        serde_json::from_value(self.store.key_parts(key).ok()??).ok()
    }
}

/// The store of the project with this root.
pub fn store_of(root: &Path) -> Store {
    Store::open(&root.join("outputs"))
}

/// The pins of a project's locks: `own` is the variant's, if it has one. A try that writes no lock of its own reads them,
/// too. Of a damaged lock the pins that are whole are used: no store can give them again.
fn pins(project: &Project, own: &LockFile, is_damaged: bool) -> Result<Salvaged, Failure> {
    let mut all = Salvaged::default();
    if !project.graph.nodes.iter().any(|node| node.settings.moving_source().is_some()) {
        return Ok(all);
    }
    let mut names = vec![&project.graph.pipeline];
    names.extend((project.variant != project.graph.pipeline).then_some(&project.variant));
    for name in names {
        let path = project.folder.join(format!("{name}.lock.yaml"));
        let is_own = project.lock.as_ref().is_some_and(|lock| lock.path == path);
        let read = if is_own && !is_damaged { Ok(own.clone()) } else { LockFile::read(&path) };
        let found = match read {
            Ok(lock) => Salvaged { pins: lock.pins, conflicts: BTreeMap::new() },
            Err(LockError::Merged { .. } | LockError::Damaged { .. }) => {
                salvage(&String::from_utf8_lossy(&std::fs::read(&path).unwrap_or_default()))
            }
            Err(error) => {
                return Err(Failure { message: error.to_string(), place: None, hint: Some(error.hint()) });
            }
        };
        for name in found.pins.keys() {
            all.conflicts.remove(name);
        }
        all.pins.extend(found.pins);
        all.conflicts.extend(found.conflicts);
    }
    Ok(all)
}

/// The templates that a template names, itself first; `path` is relative to the root and begins with `templates/`.
pub fn template_files(root: &Path, path: &str) -> Result<Vec<PathBuf>, Failure> {
    let name = path.strip_prefix("templates/").unwrap_or(path);
    data::template::template_files(&root.join("templates"), name).map_err(Failure::from)
}

/// The programs that do stages. The worker is found beside this program and must be built from the same sources.
///
/// # Errors
/// When this program cannot tell where it is.
pub fn programs() -> Result<Programs, Failure> {
    let engine = std::env::current_exe().map_err(|error| Failure {
        message: format!("cannot tell where this program is: {error}"),
        place: None,
        hint: Some("start it by its path".into()),
    })?;
    let beside = engine.with_file_name("engine-worker");
    Ok(Programs::new(engine, move || worker(&beside)))
}

fn worker(path: &Path) -> Result<PathBuf, Failure> {
    let unfit = |message: String| Failure {
        message,
        place: Some(path.display().to_string()),
        hint: Some("build both programs: `make build`, or `cargo build --release --workspace`".into()),
    };
    let output = Command::new(path)
        .arg("--build-id")
        .output()
        .map_err(|error| unfit(format!("`engine-worker`, which trains and evaluates, cannot be started: {error}")))?;
    let theirs = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if theirs == build_id::BUILD_ID {
        return Ok(path.to_path_buf());
    }
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.trim().lines().last().unwrap_or("it said nothing");
        return Err(unfit(format!("`engine-worker` does not start: {last}")));
    }
    Err(unfit(format!(
        "`engine-worker` was built from other sources ({theirs}) than `engine` ({})",
        build_id::BUILD_ID
    )))
}

/// The members that a command line's `STAGE` means: `tuned`, or `tuned[method=dora]`.
///
/// # Errors
/// Text that is no reference, or names what does not exist.
pub fn members(graph: &Graph, text: &str) -> Result<Vec<NodeId>, Diagnostic> {
    let reference = Reference::parse(text).map_err(|error| Diagnostic::new(error.to_string(), error.hint()))?;
    let Some(all) = graph.members(&reference.stage) else {
        let names = graph.stages.iter().map(|stage| stage.name.as_str());
        return Err(Diagnostic::new(
            format!("no stage is named `{}`", reference.stage),
            suggest::did_you_mean(&reference.stage, names),
        ));
    };
    let fits = |id: &NodeId| {
        let labels = graph.node(*id).labels();
        reference.selector.iter().all(|(axis, label)| labels.iter().any(|(a, l)| a == axis && l == label))
    };
    let members: Vec<NodeId> = all.iter().copied().filter(fits).collect();
    if members.is_empty() {
        let known: Vec<String> = all.iter().map(|id| graph.node(*id).name()).collect();
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        return Err(Diagnostic::new(
            format!("`{text}` is no member of `{}`", reference.stage),
            suggest::did_you_mean(text, known),
        ));
    }
    Ok(members)
}

/// Members to be shown to people: without those for which something else was chosen, and of those that differ only in a
/// choice that is yet to be made, one.
pub fn shown(graph: &Graph, survey: &[Freshness], ids: impl IntoIterator<Item = NodeId>) -> Vec<NodeId> {
    let mut seen = HashSet::new();
    let may_be = ids.into_iter().filter(|id| !matches!(survey[id.0], Freshness::NotChosen));
    may_be.filter(|id| seen.insert(graph.node(*id).name())).collect()
}
