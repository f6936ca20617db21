//! How a run looks while it goes on: bars on a terminal, plain lines elsewhere, one JSON object a line with `--json`.
//! Knows what happens, not why.

use std::{
    collections::HashMap,
    io::{IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use plan::{
    graph::{Graph, NodeId},
    key::{Difference, Part},
    run::Happened,
};
use serde_json::json;
use spec::job::{Event, Failure};

use crate::render;

/// Shows what happens during a run.
pub enum Progress<'a> {
    /// Bars that move.
    Terminal(Terminal<'a>),
    /// A line for what begins and ends, and for progress every few seconds.
    Plain(Plain<'a>),
    /// One JSON object a line on standard output.
    Json(&'a Graph),
}

/// Bars on a terminal.
pub struct Terminal<'a> {
    graph: &'a Graph,
    bars: MultiProgress,
    running: Mutex<HashMap<NodeId, ProgressBar>>,
    warned: Mutex<Vec<String>>,
}

/// Plain lines.
pub struct Plain<'a> {
    graph: &'a Graph,
    spoken: Mutex<HashMap<NodeId, Instant>>,
}

const PLAIN_EVERY: Duration = Duration::from_secs(15);

impl<'a> Progress<'a> {
    /// What suits standard error, or JSON.
    pub fn new(graph: &'a Graph, json: bool) -> Self {
        if json {
            Self::Json(graph)
        } else if std::io::stderr().is_terminal() {
            Self::Terminal(Terminal {
                graph,
                bars: MultiProgress::new(),
                running: Mutex::default(),
                warned: Mutex::default(),
            })
        } else {
            Self::Plain(Plain { graph, spoken: Mutex::default() })
        }
    }

    /// Shows one thing that happened.
    pub fn show(&self, happened: &Happened<'_>) {
        match self {
            Self::Terminal(terminal) => terminal.show(happened),
            Self::Plain(plain) => plain.show(happened),
            Self::Json(graph) => {
                if let Some(event) = as_json(graph, happened) {
                    event_line(&event);
                }
            }
        }
    }

    /// Shows a line that belongs to no member, from any thread.
    pub fn line(&self) -> Arc<dyn Fn(&str) + Send + Sync> {
        match self {
            Self::Terminal(terminal) => {
                let bars = terminal.bars.clone();
                Arc::new(move |line| {
                    let _ = bars.println(line);
                })
            }
            Self::Plain(_) => Arc::new(|line| eprintln!("{line}")),
            Self::Json(_) => Arc::new(|line| event_line(&json!({"event": "note", "message": line}))),
        }
    }
}

impl Terminal<'_> {
    fn show(&self, happened: &Happened<'_>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        match happened {
            Happened::Cached(..) | Happened::Attempted(..) | Happened::Skipped(_) => {}
            Happened::Started(id, why) => {
                let bar = self.bars.add(ProgressBar::new_spinner());
                bar.set_style(spinning());
                bar.set_prefix(self.graph.node(*id).name());
                bar.set_message(because(why));
                bar.enable_steady_tick(Duration::from_millis(200));
                running.insert(*id, bar);
            }
            Happened::Waiting(id) => {
                if let Some(bar) = running.get(id) {
                    bar.set_message("another run is doing it; waiting");
                }
            }
            Happened::Said(id, Event::Progress { done, total, unit, note }) => {
                if let Some(bar) = running.get(id) {
                    if *total > 0 && bar.length() != Some(*total) {
                        bar.set_length(*total);
                        bar.set_style(moving());
                    }
                    bar.set_position(*done);
                    bar.set_message(format!("{unit}  {note}"));
                }
            }
            Happened::Said(id, Event::Warning { message }) => {
                let line = format!("  {}: {message}", self.graph.node(*id).name());
                let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
                if !warned.contains(&line) {
                    let _ = self.bars.println(&line);
                    warned.push(line);
                }
            }
            Happened::Said(..) => {}
            Happened::Retried(id, failure, left) => {
                let _ = self.bars.println(retried(self.graph, *id, failure, *left));
            }
            Happened::Finished(id, record) => {
                if let Some(bar) = running.remove(id) {
                    bar.finish_and_clear();
                    self.bars.remove(&bar);
                }
                let _ = self.bars.println(finished(self.graph, *id, record));
            }
            Happened::Failed(id, failure, log) => {
                if let Some(bar) = running.remove(id) {
                    bar.finish_and_clear();
                    self.bars.remove(&bar);
                }
                self.bars.suspend(|| failed(self.graph, *id, failure, *log));
            }
        }
    }
}

impl Plain<'_> {
    fn show(&self, happened: &Happened<'_>) {
        let name = |id: &NodeId| self.graph.node(*id).name();
        match happened {
            Happened::Cached(..) | Happened::Attempted(..) | Happened::Skipped(_) => {}
            Happened::Started(id, why) => {
                self.spoken.lock().unwrap_or_else(PoisonError::into_inner).insert(*id, Instant::now());
                eprintln!("{}", format!("· {}  {}", name(id), because(why)).trim_end());
            }
            Happened::Waiting(id) => eprintln!("· {}  another run is doing it; waiting", name(id)),
            Happened::Said(id, Event::Progress { done, total, unit, note }) => {
                let mut spoken = self.spoken.lock().unwrap_or_else(PoisonError::into_inner);
                let last = spoken.entry(*id).or_insert_with(Instant::now);
                if last.elapsed() >= PLAIN_EVERY {
                    *last = Instant::now();
                    eprintln!("  {}  {done}/{total} {unit}  {note}", name(id));
                }
            }
            Happened::Said(id, Event::Warning { message }) => eprintln!("  {}: {message}", name(id)),
            Happened::Said(..) => {}
            Happened::Retried(id, failure, left) => eprintln!("{}", retried(self.graph, *id, failure, *left)),
            Happened::Finished(id, record) => eprintln!("{}", finished(self.graph, *id, record)),
            Happened::Failed(id, failure, log) => failed(self.graph, *id, failure, *log),
        }
    }
}

fn spinning() -> ProgressStyle {
    ProgressStyle::with_template("  {spinner} {prefix}  {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn moving() -> ProgressStyle {
    ProgressStyle::with_template("  {spinner} {prefix}  {bar:20} {pos}/{len}  {eta} left  {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn finished(graph: &Graph, id: NodeId, record: &plan::store::Record) -> String {
    let figures: Vec<String> =
        record.headline.iter().take(4).map(|(name, value)| format!("{name} {}", figure(*value))).collect();
    let line = format!("✓ {}  {}  {}", graph.node(id).name(), duration(record.seconds), figures.join(" · "));
    line.trim_end().to_owned()
}

fn retried(graph: &Graph, id: NodeId, failure: &Failure, left: u32) -> String {
    let after = if left == 0 { "for the last time".to_owned() } else { format!("{left} more after this") };
    format!("↻ {}  {}; tried again, {after}", graph.node(id).name(), failure.message)
}

fn failed(graph: &Graph, id: NodeId, failure: &Failure, log: Option<&std::path::Path>) {
    render::failure(Some(&graph.node(id).name()), failure);
    let Some(log) = log else { return };
    let lines = plan::process::tail(log, 12).unwrap_or_default();
    if !lines.is_empty() {
        eprintln!("  the end of its log, {}:", log.display());
        for line in lines {
            eprintln!("  │ {line}");
        }
    }
}

/// Why a member runs, in a line.
pub fn because(differences: &[Difference]) -> String {
    let mut parts: Vec<String> = differences.iter().take(3).map(difference).collect();
    if differences.len() > 3 {
        parts.push(format!("{} more", differences.len() - 3));
    }
    parts.join("; ")
}

/// One part in which two keys differ.
pub fn difference(difference: &Difference) -> String {
    let Difference { part, what, old, new } = difference;
    match (old, new) {
        (Some(old), Some(new)) => match part {
            Part::Code | Part::Setting | Part::Machine => format!("{what}: {old} → {new}"),
            Part::Input => format!("{what}: other contents ({old} → {new})"),
            Part::File => format!("{what}: file changed ({old} → {new})"),
        },
        (None, Some(new)) => format!("{what}: {new} is new"),
        (Some(old), None) => format!("{what}: {old} is gone"),
        (None, None) => what.clone(),
    }
}

/// A length of time for people.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 60.0 => format!("{s:.0} s"),
        s if s < 3600.0 => format!("{:.0} min {:02.0} s", (s / 60.0).floor(), s % 60.0),
        s => format!("{:.0} h {:02.0} min", (s / 3600.0).floor(), (s % 3600.0) / 60.0),
    }
}

/// A figure with as many digits as say something.
pub fn figure(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn event_line(event: &serde_json::Value) {
    let mut out = std::io::stdout().lock();
    // A reader that went away does not stop the run.
    let _ = writeln!(out, "{event}");
    let _ = out.flush();
}

fn as_json(graph: &Graph, happened: &Happened<'_>) -> Option<serde_json::Value> {
    let member = |id: &NodeId| graph.node(*id).name();
    Some(match happened {
        Happened::Attempted(..) => return None,
        Happened::Cached(id, record) => {
            json!({"event": "cached", "member": member(id), "key": record.key, "headline": record.headline})
        }
        Happened::Started(id, why) => json!({"event": "started", "member": member(id), "why": why}),
        Happened::Waiting(id) => json!({"event": "waiting", "member": member(id)}),
        Happened::Said(id, event) => json!({"event": "said", "member": member(id), "said": event}),
        Happened::Retried(id, failure, left) => {
            json!({"event": "retried", "member": member(id), "failure": failure, "attempts_left": left})
        }
        Happened::Finished(id, record) => {
            json!({"event": "finished", "member": member(id), "key": record.key, "seconds": record.seconds, "headline": record.headline})
        }
        Happened::Failed(id, failure, log) => {
            json!({"event": "failed", "member": member(id), "failure": failure, "log": log})
        }
        Happened::Skipped(id) => json!({"event": "skipped", "member": member(id)}),
    })
}
