//! Kills at random instants: of the engine, the worker, or both, over commands with an axis and a training.

use std::{
    thread,
    time::{Duration, Instant},
};

use rand::{Rng, seq::IndexedRandom};
use rustix::process::{Pid, Signal, kill_process};

use super::{draws, is_full};
use crate::{
    project::{Project, Started, users, worker},
    tiny::{self, DATA},
};

const STAGES: &str = r#"
  word:
    kind: command
    matrix: {x: [a, b, c]}
    run: [sh, -ec, 'echo x >> "DIR/runs/word[x=$1]"; echo part > "$2"; sleep 0.1; echo "$1" >> "$2"', sh, "${matrix.x}", "${out.text}"]
    out: {text: text}
  base:
    kind: train
    resources: {cpu: 1}
    model: {random: {llama: {hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2, max_position_embeddings: 96}}}
    data: tokens
    adapter: full
    steps: 30
    checkpoint: {steps: 5}
    batch: {size: 8}
  last:
    kind: command
    run: [sh, -ec, 'echo x >> DIR/runs/last; cat "$1/model.safetensors" "$2" > "$3"', sh, "${in.model}", "${in.word}", "${out.all}"]
    in: {model: base, word: "word[x=b]/text"}
    out: {all: all}
"#;

/// What is killed.
#[derive(Debug, Clone, Copy)]
enum Target {
    Engine,
    Worker,
    Both,
}

impl Target {
    /// Kills it. Returns whether there was anything to be killed.
    fn kill(self, project: &Project, run: &Started) -> bool {
        let workers = || {
            let is_worker = |id: &u32| {
                std::fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|program| program.ends_with("engine-worker"))
            };
            users(&project.path("")).into_iter().filter(is_worker).collect::<Vec<_>>()
        };
        let ids = match self {
            Self::Engine => vec![run.id()],
            Self::Worker => workers(),
            Self::Both => workers().into_iter().chain([run.id()]).collect(),
        };
        let kill = |id: &u32| {
            let id = Pid::from_raw(i32::try_from(*id).unwrap()).unwrap();
            kill_process(id, Signal::KILL).is_ok()
        };
        ids.iter().filter(|id| kill(id)).count() > 0
    }
}

#[test]
fn kills_at_random_instants() {
    worker();
    let mut draws = draws("kills");
    let times = if is_full() { 300 } else { 8 };
    let project = tiny::with_rows(&format!("{DATA}{STAGES}"));
    let whole = project.undisturbed();
    let (mut kills, mut cut, mut tries) = (0, 0, 0);
    while kills < times {
        tries += 1;
        assert!(tries < times * 10, "{kills} kills in {tries} tries");
        project.start_over();
        let target = *[Target::Engine, Target::Worker, Target::Both].choose(&mut draws).unwrap();
        let instant = whole.took.mul_f64(draws.random_range(0.0..1.05));
        let run = project.start(&[]);
        let begun = Instant::now();
        thread::sleep(instant);
        // A worker may not be there yet: then as soon as it is.
        while !target.kill(&project, &run) && begun.elapsed() < whole.took {
            thread::sleep(Duration::from_millis(3));
        }
        let missed = begun.elapsed() >= whole.took && !matches!(target, Target::Engine | Target::Both);
        run.gone();
        if missed {
            continue;
        }
        kills += 1;
        let before = project.recorded().len();
        cut += usize::from(before < whole.members.len());
        project.recovers(&whole, &format!("kill {kills}: {target:?} after {instant:.3?}, {before} members recorded"));
    }
    println!("{kills} kills, {cut} of them before the last member was done");
    assert!(cut * 2 > times, "most kills came too late: {cut} of {times}");
}
