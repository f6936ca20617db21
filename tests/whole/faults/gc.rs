//! `engine gc`, killed before and after each change that it makes: what is needed stays, and what is there is whole.

use rand::seq::IndexedRandom;

use super::{
    LOCK, draws, is_full,
    shim::{self, Fate, Watched},
};
use crate::project::{FILE, Project, Said};

/// Stages whose results another `word` makes useless.
fn stages(word: &str) -> String {
    format!(
        "stages:\n  first:\n    kind: command\n    matrix: {{x: [a, b]}}\n    run: [sh, -c, 'echo \"$1\" {word} > \"$2\"', sh, \
         '${{matrix.x}}', '${{out.text}}']\n    out: {{text: text}}\n  second:\n    kind: command\n    run: [sh, -c, 'cat \"$1\" > \
         \"$2\"; echo same > \"$3\"', sh, '${{in.text}}', '${{out.text}}', '${{out.same}}']\n    in: {{text: 'first[x=a]/text'}}\n    \
         out: {{text: text, same: same}}\n"
    )
}

/// It comes a minute after the runs: what was used in this second is recent, and stays.
const LATER: i64 = 60;

/// A project with results that are needed and results that are not; the latter were made before.
fn begin_again(project: &Project) {
    for old in ["outputs", LOCK] {
        let old = project.path(old);
        if old.is_dir() {
            std::fs::remove_dir_all(old).unwrap()
        } else if old.exists() {
            std::fs::remove_file(old).unwrap()
        }
    }
    for word in ["old", "new"] {
        project.pipeline(&stages(word));
        project.run(&[]).exit(0);
    }
}

/// Kills it at each change, or a sample; `stays` says whether the needed results must still be there.
fn kill_at_each(words: &[&str], stays: bool, sample: usize) {
    let project = Project::new("");
    begin_again(&project);
    let (left, lock) = (project.all_left(), project.text(LOCK));
    let command = || {
        begin_again(&project);
        let mut command = project.command(words);
        shim::watch(&mut command, Watched::Gc, &project.path(""));
        shim::shift_clock(&mut command, LATER, 1);
        command
    };
    let calls = shim::calls(&mut command());
    assert!(calls.len() > 5, "{calls:#?}");
    let mut draws = draws("gc");
    let chosen: Vec<_> =
        if is_full() { calls.iter().collect() } else { calls.choose_multiple(&mut draws, sample).collect() };
    for call in chosen {
        for fate in [Fate::KilledBefore, Fate::KilledAfter] {
            let mut command = command();
            shim::disturb(&mut command, call.number, fate);
            command.output().unwrap();
            let fault = format!("{fate:?} {} {} {}", call.number, call.name, call.path);
            project.is_undamaged(&fault);
            let ran = project.run(&[]);
            ran.exit(0);
            assert!(!stays || ran.members("finished").is_empty(), "{fault}: {}", ran.said.out);
            assert_eq!((project.all_left(), project.text(LOCK)), (left.clone(), lock.clone()), "{fault}");
            let mut again = project.command(&["gc", "--days", "0"]);
            shim::shift_clock(&mut again, LATER, 1);
            Said::from(again.output().unwrap()).exit(0).says(&["3 results stay"]);
            project.run(&[]).exit(0).did(&[]);
            project.is_undamaged(&fault);
        }
    }
    project.engine(&["plan", FILE]).exit(0).says(&["3 up to date"]);
}

#[test]
fn killed_while_it_drops_what_nobody_needs() {
    kill_at_each(&["gc", "--days", "0"], true, 5);
}

#[test]
fn killed_while_it_drops_everything() {
    kill_at_each(&["gc", "--days", "0", "--max-size", "0B"], false, 5);
}
