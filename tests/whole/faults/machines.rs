//! Machines that are strange: no hard links, a clock that jumps, no right to write.

use std::{
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Command,
};

use rustix::process::geteuid;

use super::{RUNS, points::STAGES, shim};
use crate::{
    project::{FILE, Project, Ran, Said, engine},
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

/// One stage that copies a file, the same as `number`: each number has a key of its own.
fn copied(number: usize) -> String {
    format!(
        "stages:\n  copied:\n    kind: command\n    run: [sh, -c, 'cat \"$1\" > \"$2\"; echo {number} >> \"$2\"', sh, '${{in.text}}', \
         '${{out.text}}']\n    in: {{text: {{path: words.txt}}}}\n    out: {{text: text}}\n"
    )
}

/// A user who is not root, and whose project it is.
struct Somebody<'p>(&'p Project);

impl<'p> Somebody<'p> {
    const ID: u32 = 65534;

    fn new(project: &'p Project) -> Self {
        fs::create_dir(project.path("bin")).unwrap();
        fs::copy(engine(), project.path("bin/engine")).unwrap();
        let somebody = Self(project);
        somebody.own();
        somebody
    }

    /// Gives the whole project to this user, where the tests run as root.
    fn own(&self) {
        if geteuid().is_root() {
            each(&self.0.path(""), &|path| std::os::unix::fs::lchown(path, Some(Self::ID), Some(Self::ID)).unwrap());
        }
    }

    fn says(&self, words: &[&str]) -> Said {
        let mut command = Command::new(self.0.path("bin/engine"));
        command.args(words).current_dir(self.0.path(""));
        if geteuid().is_root() {
            command.uid(Self::ID).gid(Self::ID);
        }
        Said::from(command.output().unwrap())
    }

    fn runs(&self) -> Ran {
        Ran::from(self.says(&["run", FILE, "--json"]))
    }
}

/// Does something to a path and all below it.
fn each(path: &Path, act: &dyn Fn(&Path)) {
    if !path.is_symlink() && path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|item| each(&item.unwrap().path(), act));
    }
    act(path);
}

/// Forbids, or permits again, to change what is in a folder.
fn permit(folder: &Path, mode: u32) {
    let set = |path: &Path| {
        if !path.is_symlink() && path.is_dir() {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
    };
    each(folder, &set);
}

#[test]
fn a_user_who_may_not_write() {
    let project = Project::new(&copied(0));
    project.file("words.txt", "word\n");
    let somebody = Somebody::new(&project);
    somebody.runs().exit(0).did(&["copied"]);
    let folders = ["work", "blobs", "trees", "records", "observed"].map(|name| format!("outputs/.store/v1/{name}"));
    for (number, folder) in (1..).zip(&folders) {
        permit(&project.path(folder), 0o555);
        somebody.runs().exit(0).did(&[]);
        project.pipeline(&copied(number));
        somebody.own();
        somebody.runs().failed(&["copied"]).fails_with(&[folder, "ermission denied", "make it yours"]);
        somebody.says(&["plan", FILE]).exit(0).says(&["1 to run"]);
        permit(&project.path(folder), 0o755);
        somebody.runs().exit(0).did(&["copied"]);
        assert_eq!(project.text("outputs/p/copied/text"), format!("word\n{number}\n"));
    }
}

#[test]
fn a_user_who_may_not_leave_links_or_a_lock() {
    let project = Project::new(&copied(0));
    project.file("words.txt", "word\n");
    let somebody = Somebody::new(&project);
    somebody.runs().exit(0);
    project.pipeline(&copied(1));
    permit(&project.path("outputs/p"), 0o555);
    let ran = somebody.runs();
    ran.exit(0).did(&["copied"]);
    ran.said.says(&["cannot link", "ermission denied", "its files are in"]);
    permit(&project.path("outputs/p"), 0o755);
    somebody.runs().exit(0).did(&[]);
    assert_eq!(project.text("outputs/p/copied/text"), "word\n1\n");

    project.pipeline(&copied(2));
    permit(&project.path("pipelines"), 0o555);
    let ran = somebody.runs();
    ran.exit(1).did(&["copied"]);
    ran.said.warns(&["pipelines/p.lock.yaml", "ermission denied", "make it yours"]);
    permit(&project.path("pipelines"), 0o755);
    somebody.runs().exit(0).did(&[]);
    assert!(project.text("pipelines/p.lock.yaml").contains("copied"));
}

#[test]
fn a_user_who_may_not_read() {
    let project = Project::new(&copied(0));
    project.file("words.txt", "word\n");
    let somebody = Somebody::new(&project);
    let words = project.path("words.txt");
    fs::set_permissions(&words, Permissions::from_mode(0o000)).unwrap();
    let ran = somebody.runs();
    ran.failed(&["copied"]).fails_with(&["words.txt", "ermission denied"]);
    fs::set_permissions(&words, Permissions::from_mode(0o644)).unwrap();
    somebody.runs().exit(0).did(&["copied"]);
}
