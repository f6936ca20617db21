//! Kills at named points: before and after each call by which the engine, an engine that does a stage, or the worker
//! changes a file or a folder.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::process::ExitStatusExt,
};

use rand::seq::{IndexedRandom, SliceRandom};

use super::{
    draws, is_full,
    shim::{self, Call, Fate, Watched},
};
use crate::{
    project::{Project, worker},
    tiny::{self, DATA},
};

/// Commands with axes, several files, a folder and an executable; and stages that the engine does itself.
pub const STAGES: &str = r#"
stages:
  raw: {kind: download, from: {path: data}}
  rows:
    kind: preprocess
    input: raw
    template: ask.jinja
    splits: {train: {from: train}}
  word:
    kind: command
    matrix: {x: [a, b]}
    run: [sh, -ec, 'echo x >> "DIR/runs/word[x=$1]"; mkdir -p "$2/deep"; echo "$1" > "$2/deep/text"; echo same > "$2/same"; chmod +x "$2/same"', sh, "${matrix.x}", "${out.all}"]
    out: {all: all}
  joined:
    kind: command
    run: [sh, -ec, 'echo x >> DIR/runs/joined; cat "$1/deep/text" "$2/all/deep/text" > "$3"', sh, "${in.a}", "${in.b}", "${out.text}"]
    in: {a: "word[x=a]/all", b: "word[x=b]"}
    out: {text: text}
"#;

/// A stage that trains and writes a checkpoint after each step.
pub const TRAIN: &str = r#"
  base:
    kind: train
    resources: {cpu: 1}
    model: {random: {llama: {hidden_size: 16, intermediate_size: 32, num_hidden_layers: 1, num_attention_heads: 2, max_position_embeddings: 96}}}
    data: tokens
    adapter: full
    steps: 3
    checkpoint: {steps: 1}
    batch: {size: 8}
"#;

/// What a path is to the store; nothing for folders on the way there.
fn class(path: &str) -> Option<&'static str> {
    let (_, below) = path.split_once("/outputs/").unwrap_or(("", path));
    let Some(stored) = below.strip_prefix(".store/v1/") else {
        return match below {
            "outputs" | ".store" => None,
            _ if below.contains("lock.yaml") => Some("lock file"),
            _ => below.starts_with("p/").then_some("link"),
        };
    };
    let depth = stored.split('/').count();
    Some(match stored.split('/').next()? {
        "blobs" if depth == 3 => "blob",
        "trees" if depth == 3 => "tree",
        "records" if depth == 3 => "record",
        "observed" if depth == 3 => "observed",
        "work" if stored.ends_with(".lock") => "stage lock",
        "work" if stored.ends_with(".owner") => "owner",
        "work" if stored.contains("/state/") => "checkpoint",
        "work" if stored.contains("/result/") => "result",
        "work" if depth > 1 => "attempt",
        mark if mark.starts_with("unsynced-") => "mark",
        memory if memory.starts_with("remembered") => "memory",
        _ => return None,
    })
}

/// Every call, before and after it, where all is to be done; else at most so many: one of each kind and some more, drawn,
/// on one side of it.
fn chosen(calls: &[Call], most: usize, test: &str) -> Vec<(Call, Fate)> {
    const SIDES: [Fate; 2] = [Fate::KilledBefore, Fate::KilledAfter];
    if is_full() {
        return calls.iter().flat_map(|call| SIDES.map(|side| (call.clone(), side))).collect();
    }
    let mut draws = draws(test);
    let mut kinds: BTreeMap<(&str, &str), Vec<&Call>> = BTreeMap::new();
    for call in calls {
        if let Some(class) = class(&call.path) {
            kinds.entry((class, call.name.as_str())).or_default().push(call);
        }
    }
    let mut chosen: Vec<&Call> = kinds.values().filter_map(|calls| calls.choose(&mut draws).copied()).collect();
    chosen.extend(calls.choose_multiple(&mut draws, 4));
    chosen.shuffle(&mut draws);
    chosen.truncate(most);
    chosen.into_iter().map(|call| (call.clone(), *SIDES.choose(&mut draws).unwrap())).collect()
}

/// Kills the program at every chosen call, and lets the project recover each time.
fn kill_at_each(project: &Project, watched: Watched, needed: &[&str], most: usize, test: &str) {
    let whole = project.undisturbed();
    let command = || {
        project.start_over();
        let mut command = project.run_command(&["--jobs", "1"]);
        shim::watch(&mut command, watched, &project.path(""));
        command
    };
    let calls = shim::calls(&mut command());
    let classes: BTreeSet<&str> = calls.iter().filter_map(|call| class(&call.path)).collect();
    needed.iter().for_each(|class| assert!(classes.contains(class), "no {class} among the calls: {calls:#?}"));
    let chosen = chosen(&calls, most, test);
    let mut killed = 0;
    for (call, fate) in &chosen {
        let mut command = command();
        shim::disturb(&mut command, call.number, *fate);
        let output = command.output().unwrap();
        killed += usize::from(match watched {
            Watched::Engine => output.status.signal() == Some(9),
            Watched::Job | Watched::Worker => output.status.code() == Some(1),
        });
        project.recovers(&whole, &format!("{fate:?} {} {} {}", call.number, call.name, call.path));
    }
    println!("{test}: {} calls in all, {killed} kills in {} runs", calls.len(), chosen.len());
    // The number of calls may differ by one or two from run to run: a group is synced when a second is over.
    assert!(killed * 10 >= chosen.len() * 9, "{killed} kills in {} runs", chosen.len());
}

#[test]
fn an_engine_killed_at_each_change_it_makes() {
    let project = tiny::with_rows(STAGES);
    let needed = [
        "blob",
        "tree",
        "record",
        "observed",
        "stage lock",
        "owner",
        "attempt",
        "result",
        "mark",
        "memory",
        "link",
        "lock file",
    ];
    kill_at_each(&project, Watched::Engine, &needed, 99, "engine");
}

#[test]
fn a_stage_killed_at_each_change_it_makes() {
    let project = tiny::with_rows(&STAGES[..STAGES.find("  word:").unwrap()]);
    kill_at_each(&project, Watched::Job, &["result"], 8, "job");
}

#[test]
fn a_worker_killed_at_each_change_it_makes() {
    worker();
    let project = tiny::with_rows(&format!("{DATA}{TRAIN}"));
    kill_at_each(&project, Watched::Worker, &["checkpoint", "result"], 8, "worker");
}
