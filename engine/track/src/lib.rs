//! Members of a pipeline, shown to trackers of experiments while they run and afterwards: what each tracker has had, what it
//! still lacks, and how it is spoken to. Knows files and numbers that it is handed; no graph, no store, no command.

mod clearml;
mod curve;
mod http;
mod ledger;
mod mlflow;
mod run;
mod sender;
mod surroundings;
mod tensorboard;
mod tracker;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Sender as Channel, channel},
    },
    thread,
    time::{Duration, Instant},
};

pub use self::{
    run::{Kind, Left, Run, numbers, parameters},
    sender::{Look, Told, now},
    surroundings::{Surroundings, Unusable},
    tracker::Ended,
};
use self::{
    sender::{Sender, Standing},
    tracker::Tracker,
};

/// How long a tracker may say nothing at the end of a run before it is left.
const SILENCE: Duration = Duration::from_secs(15);
/// How often it is said at the end of a run how much is still to be sent.
const LINES_APART: Duration = Duration::from_secs(10);

/// Trackers that are told what happens. All of it is done on threads of their own.
pub struct Tracking {
    senders: Vec<Handle>,
}

struct Handle {
    name: String,
    tell: Channel<Told>,
    standing: Arc<Standing>,
}

impl Tracking {
    /// Begins to tell `trackers`, as [`Surroundings::trackers`] makes them. What each has had is kept in `folder`, or beside
    /// what it writes; `say` shows a line to people.
    pub fn begin(trackers: Vec<surroundings::Ready>, folder: &Path, say: &Arc<dyn Fn(&str) + Send + Sync>) -> Self {
        let begin = |ready: surroundings::Ready| {
            let name = ready.tracker.name();
            let path = ready.ledger.unwrap_or_else(|| folder.join(ledger_name(ready.tracker.as_ref())));
            let standing = Arc::new(Standing::default());
            let sender = Sender::new(ready.tracker, path, say.clone(), standing.clone());
            let (tell, told) = channel();
            thread::spawn(move || sender.work(&told));
            Handle { name, tell, standing }
        };
        Self { senders: trackers.into_iter().map(begin).collect() }
    }

    /// Whether nobody is told anything.
    pub fn is_off(&self) -> bool {
        self.senders.is_empty()
    }

    /// Tells every tracker; `told` is made once for each.
    pub fn tell(&self, told: impl Fn() -> Told) {
        for handle in &self.senders {
            // Its thread lives as long as this does.
            let _ = handle.tell.send(told());
        }
    }

    /// Waits until all is told, as long as trackers answer and `goes_on` says so; `say` shows a line to people.
    pub fn finish(self, goes_on: &dyn Fn() -> bool, say: &dyn Fn(&str)) {
        for Handle { name, tell, standing } in self.senders {
            drop(tell);
            let (mut answers, mut since) = (standing.answers.load(Ordering::SeqCst), Instant::now());
            let mut next_line = Instant::now() + Duration::from_secs(1);
            while !standing.over.load(Ordering::SeqCst) && goes_on() && since.elapsed() < SILENCE {
                thread::sleep(Duration::from_millis(10));
                let now = standing.answers.load(Ordering::SeqCst);
                if now != answers {
                    (answers, since) = (now, Instant::now());
                }
                if Instant::now() >= next_line {
                    say(&format!("{name}: {} still to be sent", runs(standing.left.load(Ordering::SeqCst))));
                    next_line = Instant::now() + LINES_APART;
                }
            }
            let left = standing.left.load(Ordering::SeqCst);
            if left > 0 {
                say(&format!("{name}: {} not sent; the next `engine run` of this pipeline sends them", runs(left)));
            }
        }
    }
}

fn runs(count: usize) -> String {
    if count == 1 { "1 run".to_owned() } else { format!("{count} runs") }
}

/// The name of the file of what a tracker has had.
fn ledger_name(tracker: &dyn Tracker) -> String {
    let plain = |text: String| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' || c == '-' { c } else { '_' }).collect()
    };
    let whole = format!("{}\0{}", tracker.name(), tracker.place());
    let mark = crc32c::crc32c(whole.as_bytes());
    let name: String = plain(format!("{}_{}", tracker.name(), tracker.place())).chars().take(100).collect();
    format!("{name}.{mark:08x}.jsonl")
}
