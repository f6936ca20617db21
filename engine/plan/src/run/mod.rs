//! Running what changed: which member may start, how many at once, and what became of each. Knows members and slots; what
//! doing one member means is in `member`.

mod member;
mod queue;
mod slots;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    path::PathBuf,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use rayon::prelude::*;
use spec::{
    job::{Device, Event, Failure, Origin},
    stage::Program,
};

pub use self::slots::Machine;
use self::{
    queue::Queue,
    slots::{Demand, Share, Slots},
};
use crate::{
    digest::Digest,
    graph::NodeId,
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
pub struct Options {
    /// The members that are wanted; what they read is done, too.
    pub wanted: Vec<NodeId>,
    /// The members that may be done; all where empty. Others must be there already.
    pub only: HashSet<NodeId>,
    /// The members that are done though they are there.
    pub forced: HashSet<NodeId>,
    /// What was looked up of probable keys just before the run, by [`Store::look_ahead`](crate::store::Store::look_ahead).
    pub found: Mutex<HashMap<Digest, Record>>,
    /// Whether members that do not depend on a failed one still run.
    pub keep_going: bool,
    /// What is shared out among members that run at once.
    pub machine: Machine,
    /// The device to compute on.
    pub device: Device,
    /// The engine's version, for records.
    pub version: String,
    /// Where the run comes from, for stages that show it; asked when one begins.
    pub origin: Box<dyn Fn() -> Origin + Send + Sync>,
}

/// What happens during a run.
#[derive(Debug)]
pub enum Happened<'a> {
    /// A member was there already.
    Cached(NodeId, &'a Record),
    /// A member starts, and why: what differs from the key that the lock names.
    Started(NodeId, &'a [Difference]),
    /// A member's program is about to start: its key, and the folder that it keeps between attempts.
    Attempted(NodeId, Digest, &'a std::path::Path),
    /// Another run is doing a member; this one waits for it.
    Waiting(NodeId),
    /// A stage says something.
    Said(NodeId, &'a Event),
    /// A member failed and is tried again: why, and how many attempts are left after this one.
    Retried(NodeId, &'a Failure, u32),
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
    /// Members that were needed and never begun.
    pub untried: usize,
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

    /// How often it was asked to stop.
    pub fn asked(&self) -> usize {
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
    records: &'a Records,
    running: Mutex<HashMap<NodeId, Running>>,
    verified: Mutex<HashSet<Digest>>,
}

/// A member's program that runs.
struct Running {
    group: Group,
    /// When it has had its time.
    deadline: Option<Instant>,
}

/// How long a program that has had its time may take to end by itself: a train stage writes a checkpoint.
const GRACE: Duration = Duration::from_secs(30);

/// How often it is looked whether programs must be ended.
const LOOK: Duration = Duration::from_millis(100);

/// Records reach the disk in groups: losing one costs at most this much work, never a wrong hit.
const GROUP: Duration = Duration::from_secs(1);

/// How often a member may be passed over by others that fit beside what runs, before nothing else is begun.
const PATIENCE: usize = 16;

/// Runs what is wanted and not there.
///
/// `last` holds the keys that the lock names, to say why a member runs. Everything that happens is told to `observe`, also
/// from other threads.
///
/// # Errors
/// When what a `select` stage left cannot be read.
pub fn run(
    state: &State<'_>,
    programs: &Programs,
    options: &Options,
    views: &Views,
    last: &dyn Fn(&str) -> Option<Key>,
    stop: &Stop,
    observe: &(dyn Fn(Happened<'_>) + Sync),
) -> Result<Outcome, Failure> {
    let records = Records::new(state.graph.nodes.len());
    let (running, verified) = (Mutex::default(), Mutex::default());
    let records_of = &records;
    let shared = Shared { state, programs, options, views, stop, observe, records: records_of, running, verified };
    let queue = Queue::new(state, &options.wanted, &records)?;
    let (failed, done, cached) = (Vec::new(), 0, 0);
    let mut work = Work {
        shared: &shared,
        queue,
        last,
        waiting: VecDeque::new(),
        passed: 0,
        failed,
        done,
        cached,
        unshown: Vec::new(),
    };
    work.all()?;
    let begun = work.done + work.cached + work.failed.len();
    let needed = work.queue.needed().filter(|id| !records.is_dropped(*id)).map(|id| state.graph.node(id).name());
    let untried = needed.collect::<HashSet<String>>().len().saturating_sub(begun);
    let (failed, done, cached) = (work.failed, work.done, work.cached);
    if done > 0 {
        let _ = state.store.sync();
    }
    let _ = state.remembered.save();
    Ok(Outcome { records, failed, done, cached, untried, interrupted: stop.asked() > 0 })
}

/// A run under way, as its one scheduling thread sees it.
struct Work<'a> {
    shared: &'a Shared<'a>,
    queue: Queue<'a>,
    last: &'a dyn Fn(&str) -> Option<Key>,
    /// Ready members that did not fit when their turn came, and their keys.
    waiting: VecDeque<(NodeId, Keyed)>,
    /// How often the first that waits was passed over.
    passed: usize,
    failed: Vec<NodeId>,
    done: usize,
    cached: usize,
    /// Members that were there already, and are to be shown to people.
    unshown: Vec<NodeId>,
}

impl Work<'_> {
    fn all(&mut self) -> Result<(), Failure> {
        let shared = self.shared;
        let (told, tell) = mpsc::channel::<(NodeId, Share, Result<Arc<Record>, Failed>)>();
        thread::scope(|scope| {
            let mut slots = shared.options.machine.slots();
            let mut active = 0_usize;
            let mut synced = Instant::now();
            loop {
                while let Some((id, keyed, share)) = self.next(&mut slots)? {
                    self.show_cached();
                    active += 1;
                    // From now on time passes: what was looked up before is looked up again.
                    shared.options.found.lock().unwrap_or_else(PoisonError::into_inner).clear();
                    let last = (self.last)(&shared.state.graph.node(id).name());
                    let why = last.map(|last| keyed.key.differences(&last)).unwrap_or_default();
                    (shared.observe)(Happened::Started(id, &why));
                    let told = told.clone();
                    scope.spawn(move || {
                        let result = member::make(shared, id, &keyed, &share);
                        // The receiver lives as long as any stage runs.
                        let _ = told.send((id, share, result));
                    });
                }
                self.show_cached();
                if active == 0 {
                    return Ok(());
                }
                let told = tell.recv_timeout(LOOK);
                shared.end_what_must_end();
                if let Ok((id, share, result)) = told {
                    slots.give(share);
                    active -= 1;
                    match result {
                        Ok(record) => {
                            (shared.observe)(Happened::Finished(id, &record));
                            self.done += 1;
                            shared.records.left(id, record);
                            self.queue.finished(id, shared.records)?;
                        }
                        Err(failed) => self.fail(id, &failed),
                    }
                    if synced.elapsed() > GROUP {
                        let _ = shared.state.store.sync();
                        synced = Instant::now();
                    }
                }
            }
        })
    }

    /// The next member to be done, and its share of the machine; nothing while none can begin.
    fn next(&mut self, slots: &mut Slots) -> Result<Option<(NodeId, Keyed, Share)>, Failure> {
        let shared = self.shared;
        loop {
            let goes_on = shared.stop.asked() == 0 && (shared.options.keep_going || self.failed.is_empty());
            if !goes_on || slots.are_full() {
                return Ok(None);
            }
            for place in 0..self.waiting.len() {
                let demand = shared.demand(self.waiting[place].0);
                if let Some(share) = slots.take(demand) {
                    self.passed = if place == 0 { 0 } else { self.passed + 1 };
                    return Ok(self.waiting.remove(place).map(|(id, keyed)| (id, keyed, share)));
                }
                if self.passed >= PATIENCE {
                    return Ok(None);
                }
            }
            let Some(id) = self.queue.pop() else { return Ok(None) };
            if !shared.state.is_chosen(id, shared.records)? {
                shared.records.drop(id);
                self.queue.finished(id, shared.records)?;
                continue;
            }
            match shared.look_up(id) {
                Err(failed) => self.fail(id, &failed),
                Ok(Looked::There(record)) => {
                    (shared.observe)(Happened::Cached(id, &record));
                    self.cached += 1;
                    self.unshown.push(id);
                    shared.records.left(id, record);
                    self.queue.finished(id, shared.records)?;
                }
                Ok(Looked::Absent(keyed)) => match slots.take(shared.demand(id)) {
                    Some(share) => {
                        self.passed += usize::from(!self.waiting.is_empty());
                        return Ok(Some((id, *keyed, share)));
                    }
                    None => self.waiting.push_back((id, *keyed)),
                },
            }
        }
    }

    /// Lets people find what was there already, on all cores: most of it was shown by an earlier run.
    fn show_cached(&mut self) {
        let shared = self.shared;
        self.unshown.par_drain(..).with_min_len(32).for_each(|id| {
            if let Some(record) = shared.records.get(id) {
                shared.show(id, record);
            }
        });
    }

    fn fail(&mut self, id: NodeId, failed: &Failed) {
        let shared = self.shared;
        let is_told = shared.stop.asked() == 0;
        if is_told {
            (shared.observe)(Happened::Failed(id, &failed.failure, failed.log.as_deref()));
        }
        self.failed.push(id);
        for skipped in self.queue.failed(id) {
            if is_told {
                (shared.observe)(Happened::Skipped(skipped));
            }
        }
    }
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

enum Looked {
    There(Arc<Record>),
    Absent(Box<Keyed>),
}

impl Shared<'_> {
    fn look_up(&self, id: NodeId) -> Result<Looked, Failed> {
        let keyed = self.state.key(id, self.records)?;
        let ahead = self.options.found.lock().unwrap_or_else(PoisonError::into_inner).remove(&keyed.digest);
        let found = match ahead {
            Some(record) => Some(record),
            None => self.state.store.lookup(&keyed.digest).map_err(|error| failure_of(&error))?,
        };
        match found.filter(|_| !self.options.forced.contains(&id)) {
            Some(record) => Ok(Looked::There(Arc::new(record))),
            None if !self.options.only.is_empty() && !self.options.only.contains(&id) => {
                Err(not_to_be_made(&self.state.graph.node(id).name()).into())
            }
            None => {
                self.fits(id)?;
                Ok(Looked::Absent(Box::new(keyed)))
            }
        }
    }

    /// What a member takes: what its file says; else all cores for tensors and one for the rest, and one CUDA device for
    /// tensors where there is any. More cores or memory than there are mean all of them.
    fn demand(&self, id: NodeId) -> Demand {
        let node = self.state.graph.node(id);
        let Machine { cores, memory, gpus } = &self.options.machine;
        let resources = &node.execution.resources;
        let (all_cores, one_gpu) = match node.settings.program() {
            Program::Worker => (*cores, gpus.len().min(1)),
            Program::Engine | Program::Named => (1, 0),
        };
        let count =
            |wanted: Option<u64>, default: usize| wanted.and_then(|n| usize::try_from(n).ok()).unwrap_or(default);
        Demand {
            cores: count(resources.cpu, all_cores).clamp(1, *cores),
            memory: resources.memory.map_or(0, |bytes| bytes.0).min(*memory),
            gpus: if self.options.device == Device::Cpu { 0 } else { count(resources.gpu, one_gpu) },
        }
    }

    /// Whether there are as many CUDA devices as a member asks for.
    fn fits(&self, id: NodeId) -> Result<(), Failure> {
        let (wanted, here) = (self.demand(id).gpus, self.options.machine.gpus.len());
        if wanted <= here {
            return Ok(());
        }
        let name = self.state.graph.node(id).name();
        let hint = match here {
            0 => "compute on the processor with `--device cpu`, or run where there is a device (`engine doctor` tells)",
            _ => "ask for fewer in `resources: {gpu: …}`, or run where there are more",
        };
        Err(Failure {
            message: format!("`{name}` asks for {wanted} CUDA devices; this run has {here}"),
            place: None,
            hint: Some(hint.into()),
        })
    }
}

fn not_to_be_made(name: &str) -> Failure {
    Failure {
        message: format!("`{name}` is not made, and `--only` lets nothing else be made"),
        place: None,
        hint: Some("leave `--only` out, or use `--until`, which also makes what is read".into()),
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

    /// Ends the programs that have had their time, and all when the user wants to stop.
    fn end_what_must_end(&self) {
        let asked = self.stop.asked();
        let now = Instant::now();
        for program in self.running.lock().unwrap_or_else(PoisonError::into_inner).values() {
            let overdue = program.deadline.and_then(|deadline| now.checked_duration_since(deadline));
            if asked > 1 || overdue.is_some_and(|overdue| overdue > GRACE) {
                program.group.kill();
            } else if asked == 1 || overdue.is_some() {
                program.group.terminate();
            }
        }
    }
}
