//! Events as JSON lines on standard output, progress about twice a second. Knows no stage.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use spec::job::Event;

use crate::observer::Observer;

const INTERVAL: Duration = Duration::from_millis(500);

/// Standard output, and whether the process was asked to end.
#[derive(Debug)]
pub struct Events {
    interrupted: Arc<AtomicBool>,
    last: Option<Instant>,
}

impl Events {
    /// Events of a process that is to end once `interrupted` is set.
    pub fn new(interrupted: Arc<AtomicBool>) -> Self {
        Self { interrupted, last: None }
    }

    /// Writes one event. When nobody reads any more, there is nobody to tell.
    pub fn emit(&mut self, event: &Event) {
        if let Ok(line) = serde_json::to_string(event) {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        }
    }
}

impl Observer for Events {
    fn progress(&mut self, done: u64, total: u64, unit: &str, note: &dyn Fn() -> String) {
        if self.due() {
            self.last = Some(Instant::now());
            self.emit(&Event::Progress { done, total, unit: unit.to_owned(), note: note() });
        }
    }

    fn due(&self) -> bool {
        self.last.is_none_or(|last| last.elapsed() >= INTERVAL)
    }

    fn warning(&mut self, message: String) {
        self.emit(&Event::Warning { message });
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}
