//! Calls that fail: each call by which the engine or the worker changes a file, refused once, as by a bad or full disk.
//! The run ends with the right result or with an error that says what, and the next one is right.

use rand::seq::IndexedRandom;

use super::{
    draws, is_full,
    shim::{self, Fate, Watched},
};
use crate::{
    project::{Project, Ran, worker},
    tiny::{self, DATA},
};

const NO_SPACE: i32 = 28;
const BAD_DISK: i32 = 5;

fn fail_at_each(project: &Project, watched: Watched, sample: usize, test: &str) {
    let whole = project.undisturbed();
    let command = || {
        project.start_over();
        let mut command = project.run_command(&["--jobs", "1"]);
        shim::watch(&mut command, watched, &project.path(""));
        command
    };
    let all = shim::calls(&mut command());
    let mut draws = draws(test);
    let chosen: Vec<_> =
        if is_full() { all.iter().collect() } else { all.choose_multiple(&mut draws, sample).collect() };
    let mut failures = 0;
    for call in chosen {
        let mut command = command();
        let errno = *[NO_SPACE, BAD_DISK].choose(&mut draws).unwrap();
        shim::disturb(&mut command, call.number, Fate::Fails(errno));
        let fault = format!("errno {errno} at {} {} {}", call.number, call.name, call.path);
        let ran = Ran::from(command.output().unwrap());
        let said = format!("{}{}", ran.said.out, ran.said.err);
        assert!(!said.contains("panicked"), "{fault}: {said}");
        match ran.said.code {
            // A link that cannot be made is a warning: the results are stored.
            Some(0) if said.contains("its files are in") => {}
            Some(0) => assert_eq!(project.all_left(), whole.left, "{fault}: {said}"),
            Some(1) => {
                failures += 1;
                let words = ["No space left", "nput/output error", "os error"];
                assert!(words.iter().any(|word| said.contains(word)), "{fault} is not told: {said}");
            }
            other => panic!("{fault} ended the engine with {other:?}: {said}"),
        }
        project.recovers(&whole, &fault);
    }
    println!("{test}: {failures} of the refused calls ended the run");
}

#[test]
fn an_engine_whose_calls_fail() {
    let commands = tiny::with_rows(super::points::STAGES);
    fail_at_each(&commands, Watched::Engine, 20, "errors of the engine");
}

#[test]
fn a_worker_whose_calls_fail() {
    worker();
    let project = tiny::with_rows(&format!("{DATA}{}", super::points::TRAIN));
    fail_at_each(&project, Watched::Worker, 4, "errors of the worker");
}
