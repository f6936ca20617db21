//! Running what changed: which member may start, how many at once, and what became of each. Knows members and slots; what
//! doing one member means is in `member`.

mod member;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    path::PathBuf,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use spec::{
    job::{Device, Event, Failure},
    stage::Program,
};

use crate::{
    digest::Digest,
    graph::{Graph, NodeId},
    key::{Difference, Key},
    process::Group,
    state::{Keyed, Records, State, failure_of},
    store::Record,
    views::Views,
};

type FindWorker = Box<dyn FnOnce() -> Result<PathBuf, Failure> + Send>;

/// The programs that do stages.
pub struct Programs {
    /// `engine` itself; it is called with `job FILE`.
    engine: PathBuf,
    /// `engine-worker`; it is called with `FILE`. Looked for when a stage needs it: loading libtorch takes its time.
    worker: LazyLock<Result<PathBuf, Failure>, FindWorker>,
}

impl Programs {
    /// `engine` by its path, and how `engine-worker` is found when a stage needs it.
    pub fn new(engine: PathBuf, worker: impl FnOnce() -> Result<PathBuf, Failure> + Send + 'static) -> Self {
        Self { engine, worker: LazyLock::new(Box::new(worker)) }
    }

    /// `engine-worker` by its path.
    ///
    /// # Errors
    /// When there is none that fits.
    pub fn worker(&self) -> Result<PathBuf, Failure> {
        self.worker.clone()
    }
}

/// How a run is done; nothing here changes what is made.
#[derive(Debug, Clone)]
pub struct Options {
    /// The members that are wanted; what they read is done, too.
    pub wanted: Vec<NodeId>,
    /// The members that are done though they are there.
    pub forced: Vec<NodeId>,
    /// Whether members that do not depend on a failed one still run.
    pub keep_going: bool,
    /// Processor cores to be shared out.
    pub cores: usize,
    /// The device to compute on.
    pub device: Device,
    /// The engine's version, for records.
    pub version: String,
}

/// What happens during a run.
#[derive(Debug)]
pub enum Happened<'a> {
    /// A member was there already.
    Cached(NodeId, &'a Record),
    /// A member starts, and why: what differs from the key that the lock names.
    Started(NodeId, &'a [Difference]),
    /// Another run is doing a member; this one waits for it.
    Waiting(NodeId),
    /// A stage says something.
    Said(NodeId, &'a Event),
    /// A member is done.
    Finished(NodeId, &'a Record),
    /// A member failed; its log, where it has one.
    Failed(NodeId, &'a Failure, Option<&'a std::path::Path>),
    /// A member was not tried, because one that it reads failed.
    Skipped(NodeId),
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// What each member left, as far as it is there.
    pub records: Records,
    /// Members that failed.
    pub failed: Vec<NodeId>,
    /// Members that were done now.
    pub done: usize,
    /// Members that were there already.
    pub cached: usize,
    /// Whether the user stopped it.
    pub interrupted: bool,
}

/// The user's wish to stop, set by a signal handler.
#[derive(Debug, Default)]
pub struct Stop(AtomicUsize);

impl Stop {
    /// Notes one more wish: the first lets stages end cleanly, the second ends them at once.
    pub fn ask(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn asked(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// What the threads of one run share.
struct Shared<'a> {
    state: &'a State<'a>,
    programs: &'a Programs,
    options: &'a Options,
    views: &'a Views,
    stop: &'a Stop,
    observe: &'a (dyn Fn(Happened<'_>) + Sync),
    running: Mutex<HashMap<NodeId, Group>>,
    verified: Mutex<HashSet<Digest>>,
}

/// Runs what is wanted and not there.
///
/// `last` holds the keys that the lock names, to say why a member runs. Everything that happens is told to `observe`, also
/// from other threads.
pub fn run(
    state: &State<'_>,
    programs: &Programs,
    options: &Options,
    views: &Views,
    last: &HashMap<String, Key>,
    stop: &Stop,
    observe: &(dyn Fn(Happened<'_>) + Sync),
) -> Outcome {
    let graph = state.graph;
    let shared = Shared {
        state,
        programs,
        options,
        views,
        stop,
        observe,
        running: Mutex::default(),
        verified: Mutex::default(),
    };
    let mut queue = Queue::new(graph, &options.wanted);
    let mut outcome =
        Outcome { records: vec![None; graph.nodes.len()], failed: Vec::new(), done: 0, cached: 0, interrupted: false };
    let (told, tell) = mpsc::channel::<(NodeId, usize, Result<Arc<Record>, Failed>)>();
    thread::scope(|scope| {
        let mut free = options.cores.max(1);
        let mut active = 0_usize;
        let mut synced = Instant::now();
        let mut deferred: Vec<(NodeId, Keyed)> = Vec::new();
        loop {
            while stop.asked() == 0 && (options.keep_going || outcome.failed.is_empty()) {
                let next = match deferred.iter().position(|(id, _)| cores_of(graph, *id, options.cores) <= free) {
                    Some(place) => deferred.remove(place),
                    None => match queue.pop() {
                        None => break,
                        Some(id) => match look_up(&shared, id, &outcome.records) {
                            Err(failed) => {
                                fail(&shared, &mut queue, &mut outcome, id, &failed);
                                continue;
                            }
                            Ok(Looked::There(record)) => {
                                observe(Happened::Cached(id, &record));
                                outcome.cached += 1;
                                outcome.records[id.0] = Some(record);
                                queue.finished(id);
                                continue;
                            }
                            Ok(Looked::Absent(keyed)) => (id, keyed),
                        },
                    },
                };
                let (id, keyed) = next;
                let cores = cores_of(graph, id, options.cores);
                if cores > free {
                    deferred.push((id, keyed));
                    continue;
                }
                free -= cores;
                active += 1;
                let why = last.get(&graph.node(id).name()).map(|old| keyed.key.differences(old)).unwrap_or_default();
                observe(Happened::Started(id, &why));
                let records = outcome.records.clone();
                let (told, shared) = (told.clone(), &shared);
                scope.spawn(move || {
                    let result = member::make(shared, id, &keyed, &records, cores);
                    // The receiver lives as long as any stage runs.
                    let _ = told.send((id, cores, result));
                });
            }
            if active == 0 {
                break;
            }
            match tell.recv_timeout(Duration::from_millis(100)) {
                Err(_) => shared.pass_on_stop(),
                Ok((id, cores, result)) => {
                    free += cores;
                    active -= 1;
                    match result {
                        Ok(record) => {
                            observe(Happened::Finished(id, &record));
                            outcome.done += 1;
                            outcome.records[id.0] = Some(record);
                            queue.finished(id);
                        }
                        Err(failed) => fail(&shared, &mut queue, &mut outcome, id, &failed),
                    }
                    if synced.elapsed() > Duration::from_secs(1) {
                        // Grouped durability: losing it costs at most a second of work, never a wrong hit.
                        let _ = state.store.sync();
                        synced = Instant::now();
                    }
                }
            }
        }
    });
    if outcome.done > 0 {
        let _ = state.store.sync();
    }
    let _ = state.remembered.save();
    outcome.interrupted = stop.asked() > 0;
    outcome
}

/// A member that could not be done.
struct Failed {
    failure: Failure,
    log: Option<PathBuf>,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self { failure, log: None }
    }
}

fn fail(shared: &Shared<'_>, queue: &mut Queue, outcome: &mut Outcome, id: NodeId, failed: &Failed) {
    if shared.stop.asked() == 0 {
        (shared.observe)(Happened::Failed(id, &failed.failure, failed.log.as_deref()));
    }
    outcome.failed.push(id);
    for skipped in queue.failed(id) {
        if shared.stop.asked() == 0 {
            (shared.observe)(Happened::Skipped(skipped));
        }
    }
}

enum Looked {
    There(Arc<Record>),
    Absent(Keyed),
}

fn look_up(shared: &Shared<'_>, id: NodeId, records: &Records) -> Result<Looked, Failed> {
    let keyed = shared.state.key(id, records)?;
    match shared.state.store.lookup(&keyed.digest) {
        Err(error) => Err(failure_of(&error).into()),
        Ok(None) => Ok(Looked::Absent(keyed)),
        Ok(Some(_)) if shared.options.forced.contains(&id) => Ok(Looked::Absent(keyed)),
        Ok(Some(record)) => {
            shared.show(id, &record);
            Ok(Looked::There(Arc::new(record)))
        }
    }
}

impl Shared<'_> {
    /// Lets a person find what a member left. Where links cannot be made, says where the files are: they are stored, and
    /// the run goes on.
    fn show(&self, id: NodeId, record: &Record) {
        let node = self.state.graph.node(id);
        let tree = self.state.store.tree_folder(record);
        let observed = self.state.store.observed_folder(&record.key);
        if let Err(error) = self.views.show(&node.stage, &node.labels(), &tree, &observed) {
            let message = format!("{error}; its files are in {} ({})", tree.display(), error.hint());
            (self.observe)(Happened::Said(id, &Event::Warning { message }));
        }
    }

    fn pass_on_stop(&self) {
        let asked = self.stop.asked();
        if asked == 0 {
            return;
        }
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        for group in running.values() {
            if asked == 1 { group.terminate() } else { group.kill() }
        }
    }
}

/// Cores that a member takes: what its file says, else all of them for tensors and one for the rest.
fn cores_of(graph: &Graph, id: NodeId, all: usize) -> usize {
    let node = graph.node(id);
    let default = match node.settings.program() {
        Program::Worker => all,
        Program::Engine | Program::Named => 1,
    };
    let wanted = node.execution.resources.cpu.and_then(|cores| usize::try_from(cores).ok()).unwrap_or(default);
    wanted.clamp(1, all.max(1))
}

/// The members that wait, are ready, or will never be: ready ones with the longest path behind them come first.
struct Queue {
    readers: Vec<Vec<usize>>,
    missing: Vec<usize>,
    height: Vec<usize>,
    ready: BinaryHeap<(usize, Reverse<usize>)>,
    over: Vec<bool>,
}

impl Queue {
    fn new(graph: &Graph, wanted: &[NodeId]) -> Self {
        let needed = graph.with_inputs(wanted.iter().copied());
        let count = graph.nodes.len();
        let mut readers = vec![Vec::new(); count];
        let mut missing = vec![0; count];
        for (reader, node) in graph.nodes.iter().enumerate().filter(|(place, _)| needed[*place]) {
            let read: HashSet<usize> = node.inputs.iter().flat_map(|input| &input.members).map(|id| id.0).collect();
            missing[reader] = read.len();
            for input in read {
                readers[input].push(reader);
            }
        }
        let mut height = vec![0; count];
        for place in (0..count).rev() {
            height[place] = readers[place].iter().map(|reader: &usize| height[*reader] + 1).max().unwrap_or(0);
        }
        let over: Vec<bool> = needed.iter().map(|needed| !needed).collect();
        let mut queue = Self { readers, missing, height, ready: BinaryHeap::new(), over };
        for place in 0..count {
            queue.offer(place);
        }
        queue
    }

    fn offer(&mut self, place: usize) {
        if self.missing[place] == 0 && !self.over[place] {
            self.ready.push((self.height[place], Reverse(place)));
        }
    }

    fn pop(&mut self) -> Option<NodeId> {
        let (_, Reverse(place)) = self.ready.pop()?;
        self.over[place] = true;
        Some(NodeId(place))
    }

    fn finished(&mut self, id: NodeId) {
        for reader in self.readers[id.0].clone() {
            self.missing[reader] -= 1;
            self.offer(reader);
        }
    }

    /// Members that will never be ready because this one failed.
    fn failed(&mut self, id: NodeId) -> Vec<NodeId> {
        let mut open = vec![id.0];
        let mut lost = Vec::new();
        while let Some(place) = open.pop() {
            for reader in self.readers[place].clone() {
                if !std::mem::replace(&mut self.over[reader], true) {
                    lost.push(NodeId(reader));
                    open.push(reader);
                }
            }
        }
        lost.sort_unstable();
        lost
    }
}
