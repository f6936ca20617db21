//! Machines that are strange: no hard links, a clock that jumps, no right to write.

use super::{RUNS, points::STAGES, shim};
use crate::{
    project::{Project, Ran},
    tiny,
};

const YEAR: i64 = 365 * 24 * 3600;

#[test]
fn a_file_system_without_hard_links() {
    let project = tiny::with_rows(STAGES);
    let whole = project.undisturbed();
    const NOT_PERMITTED: i32 = 1;
    const TOO_MANY: i32 = 31;
    const NOT_SUPPORTED: i32 = 95;
    for errno in [NOT_PERMITTED, TOO_MANY, NOT_SUPPORTED] {
        project.start_over();
        let run = || {
            let mut command = project.run_command(&[]);
            shim::refuse_links(&mut command, errno);
            Ran::from(command.output().unwrap())
        };
        run().exit(0);
        assert_eq!(project.all_left(), whole.left);
        run().exit(0).did(&[]);
        project.recovers(&whole, &format!("links that fail with {errno}"));
    }
}

/// Runs with a clock that is ahead from a certain reading on; the project's data have changed before.
fn run_with_clock(project: &Project, seconds: i64, from: usize) -> Ran {
    let mut command = project.run_command(&[]);
    shim::shift_clock(&mut command, seconds, from);
    Ran::from(command.output().unwrap())
}

#[test]
fn a_clock_that_jumps_between_runs() {
    let project = tiny::with_rows(STAGES);
    let whole = project.undisturbed();
    for seconds in [YEAR, -YEAR] {
        run_with_clock(&project, seconds, 1).exit(0).did(&[]);
        project.start_over();
        run_with_clock(&project, seconds, 1).exit(0);
        project.recovers(&whole, &format!("a clock that was {seconds} s ahead"));
    }
}

#[test]
fn a_clock_that_jumps_during_a_run() {
    let project = tiny::with_rows(STAGES);
    let whole = project.undisturbed();
    for (seconds, from) in [(YEAR, 5), (-YEAR, 5), (YEAR, 40), (-YEAR, 40)] {
        project.start_over();
        run_with_clock(&project, seconds, from).exit(0);
        project.recovers(&whole, &format!("a clock that jumped by {seconds} s at its reading {from}"));
    }
}

#[test]
fn whatever_the_clock_says_a_changed_file_is_seen() {
    let project = tiny::with_rows(STAGES);
    project.undisturbed();
    for (number, seconds) in [YEAR, -YEAR, 0].into_iter().enumerate() {
        // As long as the last one, and often within the same second.
        let row = format!("{{\"id\": \"row\", \"thing\": \"thing {number}\", \"colour\": \"red\"}}\n");
        project.file("data/train.jsonl", &row);
        let ran = run_with_clock(&project, seconds, 1);
        ran.exit(0).did(&["raw", "rows"]);
        assert_eq!(project.text("outputs/p/raw/train.jsonl"), row);
    }
    assert_eq!(project.lines(&format!("{RUNS}/joined")), 1);
}
