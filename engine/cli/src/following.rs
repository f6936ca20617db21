//! What trackers are told of a run: which members they see, and what is read of what these left. Knows the graph and the
//! files of stages; not how a tracker is spoken to.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use plan::{
    digest::Digest,
    graph::{Graph, NodeId},
    run::Happened,
    store::{Record, Store},
    views::{Views, member_folder},
};
use serde_json::Value;
use spec::{diagnostic::Diagnostic, files, stage::Stage};
use track::{Ended, Kind, Left, Run, Surroundings, Told, Tracking};

use crate::project::Project;

/// The most bytes of a file that a tracker gets.
const LARGEST: u64 = 64 << 20;

/// A run that is followed.
pub struct Following<'a> {
    tracking: Tracking,
    graph: &'a Graph,
    store: &'a Store,
    views: &'a Views,
    pipeline: String,
    /// The keys of members that have begun.
    begun: Mutex<HashMap<NodeId, Digest>>,
}

impl<'a> Following<'a> {
    /// Begins to tell the trackers of a pipeline and of the environment; `say` shows a line to people.
    ///
    /// # Errors
    /// A tracker that cannot be used.
    pub fn begin(
        project: &'a Project,
        store: &'a Store,
        views: &'a Views,
        say: &Arc<dyn Fn(&str) + Send + Sync>,
    ) -> Result<Self, Diagnostic> {
        let surroundings = Surroundings {
            variable: &|name| std::env::var(name).ok(),
            root: &project.root,
            pipeline: &project.variant,
        };
        let ready =
            surroundings.trackers(&project.track).map_err(|error| Diagnostic::new(error.message, error.hint))?;
        let tracking = Tracking::begin(ready, &store.root().join("track"), say);
        let pipeline = project.variant.clone();
        Ok(Self { tracking, graph: &project.graph, store, views, pipeline, begun: Mutex::default() })
    }

    /// Tells trackers what happened, if it is for them.
    pub fn note(&self, happened: &Happened<'_>) {
        if self.tracking.is_off() {
            return;
        }
        match happened {
            Happened::Attempted(id, key, state) => {
                self.begun.lock().unwrap_or_else(PoisonError::into_inner).insert(*id, *key);
                let Some(seen) = self.seen(*id, *key) else { return };
                self.tracking.tell(|| Told::Began(seen.run(), state.join(files::HISTORY)));
            }
            Happened::Cached(id, record) | Happened::Finished(id, record) => {
                let Some(seen) = self.seen(*id, record.key) else { return };
                let result = self.store.tree_folder(record);
                let observed = self.store.observed_folder(&record.key);
                let place = self.views.place(&seen.stage, &seen.labels);
                let record = Arc::new((*record).clone());
                self.tracking.tell(|| {
                    let (seen, record) = (seen.clone(), record.clone());
                    let (result, observed, place) = (result.clone(), observed.clone(), place.clone());
                    let key = record.key.hex();
                    let look =
                        move || (seen.run(), Ended::Done(Box::new(left(&seen, &record, &result, &observed, &place))));
                    Told::Ended(key, Box::new(look))
                });
            }
            Happened::Failed(id, failure, _) => {
                let key = self.begun.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied();
                let Some(seen) = key.and_then(|key| self.seen(*id, key)) else { return };
                let why = failure.message.clone();
                self.tracking.tell(|| {
                    let (seen, why) = (seen.clone(), why.clone());
                    Told::Ended(seen.key.hex(), Box::new(move || (seen.run(), Ended::Failed(why))))
                });
            }
            _ => {}
        }
    }

    /// Waits until all is told, as long as trackers answer and `goes_on` says so; `say` shows a line to people.
    pub fn finish(self, goes_on: &dyn Fn() -> bool, say: &dyn Fn(&str)) {
        self.tracking.finish(goes_on, say);
    }

    /// A member as trackers see it, if they do.
    fn seen(&self, id: NodeId, key: Digest) -> Option<Seen> {
        let node = self.graph.node(id);
        let kind = match node.settings.as_ref() {
            Stage::Train(_) => Kind::Training,
            Stage::Evaluate(_) => Kind::Evaluation,
            Stage::Report(_) => Kind::Report,
            _ => return None,
        };
        Some(Seen {
            key,
            kind,
            name: node.name(),
            stage: node.stage.clone(),
            labels: node.labels(),
            settings: node.settings.clone(),
            pipeline: self.pipeline.clone(),
        })
    }
}

/// What is known of a member without reading anything.
#[derive(Clone)]
struct Seen {
    key: Digest,
    kind: Kind,
    name: String,
    stage: String,
    labels: Vec<(String, String)>,
    settings: Arc<Stage>,
    pipeline: String,
}

impl Seen {
    fn run(&self) -> Run {
        let folder = PathBuf::from(&self.stage);
        Run {
            key: self.key.hex(),
            name: self.name.clone(),
            folder: if self.labels.is_empty() { folder } else { folder.join(member_folder(&self.labels)) },
            kind: self.kind,
            pipeline: self.pipeline.clone(),
            coordinates: self.labels.clone(),
            parameters: track::parameters(&self.settings.settings().unwrap_or_default()),
        }
    }
}

/// What a member left, as far as trackers are told.
fn left(seen: &Seen, record: &Record, result: &Path, observed: &Path, place: &Path) -> Left {
    let read = |path: &Path| fs::read(path).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let counted = |path: &Path| read(path).map(|value| track::numbers(&value)).unwrap_or_default();
    let summary = counted(&result.join(files::SUMMARY));
    let steps = summary.get("steps").copied().unwrap_or_default();
    let named = |name: String| match seen.kind {
        // The curves of its history have the plain names.
        Kind::Training => format!("summary.{name}"),
        _ => name.strip_prefix("metrics.").map(str::to_owned).unwrap_or(name),
    };
    let counted_here = match seen.kind {
        Kind::Training => summary,
        Kind::Evaluation => counted(&result.join(files::METRICS)),
        Kind::Report => BTreeMap::new(),
    };
    let own = counted_here.into_iter().filter(|(name, _)| !name.starts_with("headline."));
    let mut figures: BTreeMap<String, f64> = own.map(|(name, value)| (named(name), value)).collect();
    let measured = counted(&observed.join(files::MEASURED)).into_iter();
    figures.extend(measured.map(|(name, value)| (format!("measured.{name}"), value)));
    let finished = record.finished as f64;
    let history = Some(result.join(files::HISTORY)).filter(|path| path.is_file());
    let mut files = Vec::new();
    gather(result, "", &mut files);
    let weights = [files::ADAPTER_WEIGHTS, files::MODEL_WEIGHTS].into_iter().find(|name| result.join(name).is_file());
    let model =
        (seen.kind == Kind::Training).then(|| weights.map_or_else(|| place.to_path_buf(), |name| place.join(name)));
    Left { history, steps: steps as u64, figures, files, model, span: (finished - record.seconds, finished) }
}

/// The files below a folder that are not too large, by their paths; without snapshots.
fn gather(folder: &Path, below: &str, found: &mut Vec<(String, PathBuf)>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        let Some(name) = path.file_name().and_then(|name| name.to_str()).map(|name| format!("{below}{name}")) else {
            continue;
        };
        match path.metadata() {
            Ok(kind) if kind.is_dir() && name != files::SNAPSHOTS => gather(&path, &format!("{name}/"), found),
            Ok(kind) if kind.is_file() && kind.len() <= LARGEST => found.push((name, path)),
            _ => {}
        }
    }
}
