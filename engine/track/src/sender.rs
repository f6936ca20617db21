//! One thread a tracker, which tells it what happens and keeps what it does not take. Knows no particular tracker. Nothing
//! here can fail or hold up a run.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    curve::Curve,
    http::Trouble,
    ledger::{Entry, Ledger},
    run::Run,
    tracker::{Ended, Tracker},
};

/// Looks at a run that ended: what it was, and how it ended. Asked only where a tracker has not had it yet.
pub type Look = Box<dyn FnOnce() -> (Run, Ended) + Send>;

/// What a sender is told.
pub enum Told {
    /// A run begins; the file to which it writes figures by step.
    Began(Run, PathBuf),
    /// The run of a key ended, now or long ago.
    Ended(String, Look),
}

/// How often files of figures are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How long a tracker that is away is left alone, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(120));
/// The lines that are sent at once.
const LINES: usize = 100;

/// How far a sender is, for whoever waits for it.
#[derive(Debug, Default)]
pub struct Standing {
    /// Runs that are not wholly told.
    pub left: AtomicUsize,
    /// Requests that went well: a sign of life.
    pub answers: AtomicUsize,
    /// Whether it is over.
    pub over: AtomicBool,
}

/// A run that is not wholly told.
#[derive(Default)]
struct Open {
    /// Its turn.
    turn: u64,
    /// What it is, where that was told or looked at.
    run: Option<Run>,
    /// How it ended, as soon as somebody looks.
    look: Option<Look>,
    ended: Option<Ended>,
    id: Option<String>,
    curve: Option<Curve>,
    begun: f64,
    /// Whether it is followed while it goes on.
    is_live: bool,
}

impl Open {
    fn has_ended(&self) -> bool {
        self.look.is_some() || self.ended.is_some()
    }

    /// Looks at how it ended, if it did and nobody has looked yet.
    fn look(&mut self) {
        let Some((run, ended)) = self.look.take().map(|look| look()) else { return };
        if let Ended::Done(left) = &ended {
            let sent = self.curve.as_ref().map_or(0, Curve::sent);
            self.curve = left.history.as_deref().map(|history| Curve::new(history, sent));
            if self.id.is_none() {
                self.begun = left.span.0;
            }
        }
        (self.run, self.ended) = (Some(run), Some(ended));
    }
}

/// What is told to one tracker.
pub struct Sender {
    tracker: Box<dyn Tracker>,
    /// Where its ledger is.
    path: PathBuf,
    ledger: Option<Ledger>,
    /// Runs by key.
    open: HashMap<String, Open>,
    turns: u64,
    say: Arc<dyn Fn(&str) + Send + Sync>,
    standing: Arc<Standing>,
    said: Vec<String>,
    /// Until when the tracker is left alone, and for how long the next time.
    pause: Option<(Instant, Duration)>,
}

impl Sender {
    /// A sender to a tracker that keeps its ledger at `path`; `say` shows a line to people.
    pub fn new(
        tracker: Box<dyn Tracker>,
        path: PathBuf,
        say: Arc<dyn Fn(&str) + Send + Sync>,
        standing: Arc<Standing>,
    ) -> Self {
        Self {
            tracker,
            path,
            ledger: None,
            open: HashMap::new(),
            turns: 0,
            say,
            standing,
            said: Vec::new(),
            pause: None,
        }
    }

    /// Tells the tracker what comes in until nothing more does, and then what is left, unless it is away.
    pub fn work(mut self, told: &Receiver<Told>) {
        loop {
            let over = match told.recv_timeout(LOOK) {
                Ok(first) => {
                    self.note(first);
                    while let Ok(more) = told.try_recv() {
                        self.note(more);
                    }
                    false
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            self.standing.left.store(self.unsent(), Ordering::SeqCst);
            let is_due = self.pause.is_none_or(|(until, _)| Instant::now() >= until);
            if is_due {
                self.round();
            }
            self.standing.left.store(self.unsent(), Ordering::SeqCst);
            if over {
                break;
            }
        }
        self.standing.over.store(true, Ordering::SeqCst);
    }

    /// The runs that ended and are not wholly told.
    fn unsent(&self) -> usize {
        self.open.values().filter(|open| open.has_ended()).count()
    }

    fn note(&mut self, told: Told) {
        let key = match &told {
            Told::Began(run, _) => run.key.clone(),
            Told::Ended(key, _) => key.clone(),
        };
        self.turns += 1;
        let turn = self.turns;
        let open = self.open.entry(key).or_insert_with(|| Open { turn, begun: now(), ..Open::default() });
        match told {
            Told::Began(run, history) => {
                let sent = open.curve.as_ref().map_or(0, Curve::sent);
                open.curve = Some(Curve::new(&history, sent));
                (open.run, open.look, open.ended, open.is_live) = (Some(run), None, None, true);
            }
            Told::Ended(_, look) => open.look = Some(look),
        }
    }

    /// Tells all there is to tell, once through.
    fn round(&mut self) {
        if self.open.is_empty() {
            return;
        }
        if self.ledger.is_none() {
            match Ledger::open(&self.path) {
                Ok(Some(ledger)) => self.ledger = Some(ledger),
                Ok(None) => return self.leave_alone("another engine is telling it"),
                Err(error) => return self.leave_alone(&format!("{}: {error}", self.path.display())),
            }
        }
        if let Some(ledger) = &self.ledger {
            self.open.retain(|key, _| !ledger.get(key).is_some_and(|entry| entry.done));
        }
        let mut turns: Vec<(u64, String)> = self.open.iter().map(|(key, open)| (open.turn, key.clone())).collect();
        turns.sort();
        for (_, key) in turns {
            match self.tell(&key) {
                Ok(false) => {}
                Ok(true) => drop(self.open.remove(&key)),
                Err(Trouble::Away(why)) => return self.leave_alone(&why),
                Err(Trouble::Refused(why)) => {
                    let run = self.open.remove(&key).and_then(|open| open.run);
                    let name = run.map_or_else(|| "a run".to_owned(), |run| run.name);
                    self.say_once(format!("{}: {name} is not shown there: {why}", self.tracker.name()));
                }
            }
            self.standing.left.store(self.unsent(), Ordering::SeqCst);
        }
        self.pause = None;
    }

    /// Tells what is new of one run; whether it is wholly told.
    fn tell(&mut self, key: &str) -> Result<bool, Trouble> {
        let (Some(open), Some(ledger)) = (self.open.get_mut(key), self.ledger.as_mut()) else { return Ok(true) };
        open.look();
        let Some(run) = &open.run else { return Ok(true) };
        let known = ledger.get(key).cloned();
        let mut entry = match (&open.id, known) {
            (Some(_), Some(known)) => known,
            (_, known) => {
                let before = known.as_ref().map(|known| known.id.as_str());
                let id = match self.tracker.begin(run, before, open.begun) {
                    // It was deleted there.
                    Err(Trouble::Refused(_)) if before.is_some() => self.tracker.begin(run, None, open.begun)?,
                    begun => begun?,
                };
                let lines = known.filter(|known| known.id == id).map_or(0, |known| known.lines);
                if let Some(curve) = open.curve.as_mut() {
                    curve.pass_over(lines);
                }
                open.id = Some(id.clone());
                let entry = Entry { key: key.to_owned(), id, lines, done: false };
                ledger.note(entry.clone())?;
                self.standing.answers.fetch_add(1, Ordering::SeqCst);
                entry
            }
        };
        let at = moments(open.ended.as_ref().filter(|_| !open.is_live));
        while let Some(curve) = open.curve.as_mut() {
            let before = curve.clone();
            let points = curve.more(LINES, &at)?;
            if points.is_empty() && curve.sent() <= entry.lines {
                break;
            }
            if let Err(trouble) = self.tracker.add(&entry.id, &points) {
                *curve = before;
                return Err(trouble);
            }
            entry.lines = curve.sent();
            ledger.note(entry.clone())?;
            self.standing.answers.fetch_add(1, Ordering::SeqCst);
        }
        let Some(ended) = &open.ended else { return Ok(false) };
        let missing = self.tracker.end(&entry.id, run, ended)?;
        self.standing.answers.fetch_add(1, Ordering::SeqCst);
        entry.done = matches!(ended, Ended::Done(_));
        ledger.note(entry)?;
        for what in missing {
            self.say_once(format!("{}: {what}", self.tracker.name()));
        }
        Ok(true)
    }

    /// Lets a tracker that is away alone for a while.
    fn leave_alone(&mut self, why: &str) {
        let length = self.pause.map_or(PAUSES.0, |(_, before)| (before * 2).min(PAUSES.1));
        self.pause = Some((Instant::now() + length, length));
        self.say_once(format!("{}: {why}; the run goes on, and what it misses is kept", self.tracker.name()));
    }

    fn say_once(&mut self, line: String) {
        if !self.said.contains(&line) {
            (self.say)(&line);
            self.said.push(line);
        }
    }
}

/// Now, in seconds since 1970.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// When a step was: now while a run goes on; of one that ended before, its steps are spread over its time.
fn moments(ended: Option<&Ended>) -> Box<dyn Fn(u64) -> f64> {
    match ended {
        Some(Ended::Done(left)) => {
            let ((begun, ended), steps) = (left.span, left.steps.max(1) as f64);
            Box::new(move |step| begun + (ended - begun) * (step as f64 / steps).min(1.0))
        }
        _ => {
            let now = now();
            Box::new(move |_| now)
        }
    }
}
