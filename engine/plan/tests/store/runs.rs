//! Real programs: how they end, what is left of them, and attempts that several runs want at once.

use std::{
    collections::BTreeMap,
    fs,
    ops::ControlFlow,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use plan::{
    process::{self, Environment, Output, Program},
    store::{Begun, Durability, Store},
};
use spec::job::Event;

use crate::help::{Space, key, made, wait};

fn shell(folder: &Path, script: &str, output: Output) -> Program {
    Program {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        environment: Environment::Only(BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())])),
        folder: folder.to_owned(),
        log: folder.join("log.txt"),
        output,
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what} does not happen");
        thread::sleep(Duration::from_millis(5));
    }
}

fn is_alive(id: &str) -> bool {
    fs::read_to_string(format!("/proc/{}/stat", id.trim()))
        .is_ok_and(|text| !text.rsplit_once(')').unwrap().1.trim_start().starts_with(['Z', 'X']))
}

#[test]
fn a_program_sees_what_was_declared_and_its_streams_go_to_the_log() {
    let space = Space::new();
    let program = shell(space.folder.path(), "env; echo oops >&2; read x; echo \"read: $?\"; exit 3", Output::Log);
    let ended = program.start(Stdio::null()).unwrap().wait(|_| {}).unwrap();
    assert_eq!(ended.describe(), "exit status 3");
    let log = fs::read_to_string(&program.log).unwrap();
    assert!(log.contains("PATH=/usr/bin:/bin") && !log.contains("HOME="), "{log}");
    assert_eq!(process::tail(&program.log, 2).unwrap(), ["oops", "read: 1"]);
    assert!(ended.peak_memory > 500_000 && ended.peak_memory < 100_000_000, "{}", ended.peak_memory);
}

#[test]
fn events_are_handed_on_and_other_lines_are_log() {
    let space = Space::new();
    let script = r#"echo '{"event":"warning","message":"odd"}'; echo plain; echo '{"event":"unheard-of"}'
        echo '{"event":"progress","done":1,"total":2,"unit":"rows","note":""}'; echo '{"event":"finished"}'"#;
    let program = shell(space.folder.path(), script, Output::Events);
    let mut events = Vec::new();
    let ended = program.start(Stdio::null()).unwrap().wait(|event| events.push(event)).unwrap();
    assert_eq!(ended.verdict, Some(Event::Finished));
    assert!(matches!(&events[..], [Event::Warning { .. }, Event::Progress { done: 1, .. }, Event::Finished]));
    assert_eq!(fs::read_to_string(&program.log).unwrap(), "plain\n{\"event\":\"unheard-of\"}\n");
}

#[test]
fn nothing_of_a_program_is_left_when_it_is_over() {
    for output in [Output::Log, Output::Events] {
        let space = Space::new();
        let program = shell(space.folder.path(), "sleep 60 & echo $! > id; exit 0", output);
        let begun = Instant::now();
        program.start(Stdio::null()).unwrap().wait(|_| {}).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert!(!is_alive(&fs::read_to_string(space.folder.path().join("id")).unwrap()));
    }
}

#[test]
fn a_group_is_ended_from_another_thread() {
    let space = Space::new();
    let program =
        shell(space.folder.path(), "trap 'echo stopping; exit 7' TERM; echo up; sleep 60 & wait", Output::Log);
    let running = program.start(Stdio::null()).unwrap();
    let group = running.group();
    let ended = thread::scope(|scope| {
        scope.spawn(|| {
            until("start", || process::tail(&program.log, 1).unwrap() == ["up"]);
            group.terminate();
        });
        running.wait(|_| {}).unwrap()
    });
    assert_eq!(ended.status.code(), Some(7));
    assert_eq!(process::tail(&program.log, 1).unwrap(), ["stopping"]);
    group.kill();
}

#[test]
fn a_program_that_is_not_there_is_said() {
    let space = Space::new();
    let mut program = shell(space.folder.path(), "", Output::Log);
    program.program = "no-such-program".into();
    let Err(error) = program.start(Stdio::null()) else { panic!("started") };
    assert!(error.to_string().starts_with("cannot start `no-such-program`: "), "{error}");
    assert!(error.hint().contains("install `no-such-program`"));
}

/// Not a test of its own: the engine that another test kills. It begins a stage and runs its program.
#[test]
fn engine_to_be_killed() {
    let Some(outputs) = std::env::var_os("STORE_TEST_OUTPUTS") else { return };
    let script = std::env::var("STORE_TEST_SCRIPT").unwrap();
    let store = Store::open(Path::new(&outputs));
    let Begun::Attempt(mut attempt) = store.begin(&key("k"), "stage", wait).unwrap() else { panic!() };
    fs::write(attempt.state().join("checkpoint"), "step 1").unwrap();
    let mut program = shell(&attempt.result(), &script, Output::Log);
    program.log = attempt.observed().join("log.txt");
    let running = program.start(attempt.stdin().unwrap()).unwrap();
    attempt.note_program(running.id()).unwrap();
    running.wait(|_| {}).unwrap();
    attempt.commit(made(), Durability::Grouped).unwrap();
}

/// Runs `script` as a stage in an engine of its own, kills that engine as soon as the stage wrote `a`, and returns
/// when it is dead.
fn killed_engine(space: &Space, script: &str) -> std::path::PathBuf {
    let mut engine = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "runs::engine_to_be_killed"])
        .env("STORE_TEST_OUTPUTS", space.folder.path().join("outputs"))
        .env("STORE_TEST_SCRIPT", script)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let a = space.store.root().join("work").join(key("k").hex()).join("result/a");
    until("the stage's first line", || fs::read_to_string(&a).is_ok_and(|text| !text.is_empty()));
    engine.kill().unwrap();
    engine.wait().unwrap();
    a
}

#[test]
fn an_orphan_is_ended_before_its_stage_is_done_again() {
    for script in [
        "echo part > a; echo $$ > ../state/id; sleep 8; echo full >> a; touch ../state/full",
        // In the background, with no standard stream left.
        "(echo part > a; sh -c 'echo $PPID' > ../state/id; sleep 8; echo full >> a; touch ../state/full) </dev/null >/dev/null 2>&1 & wait",
        // In a session of its own.
        "setsid sh -c 'echo part > a; echo $$ > ../state/id; sleep 8; echo full >> a; touch ../state/full' & wait",
    ] {
        let space = Space::new();
        killed_engine(&space, script);
        let state = space.store.root().join("work").join(key("k").hex()).join("state");
        until("its number", || fs::read_to_string(state.join("id")).is_ok_and(|text| text.ends_with('\n')));
        let id = fs::read_to_string(state.join("id")).unwrap();
        assert!(is_alive(&id), "the orphan works on: {script}");
        assert_eq!(space.store.lookup(&key("k")).unwrap(), None);
        let Begun::Attempt(attempt) = space.store.begin(&key("k"), "stage", wait).unwrap() else { panic!() };
        until("its end", || !is_alive(&id));
        assert!(!state.join("full").exists(), "it was ended, not waited for");
        assert!(fs::read_dir(attempt.result()).unwrap().next().is_none());
        assert_eq!(fs::read_to_string(attempt.state().join("checkpoint")).unwrap(), "step 1");
        fs::write(attempt.result().join("a"), "part\nfull\n").unwrap();
        let record = attempt.commit(made(), Durability::Grouped).unwrap();
        assert_eq!(space.read(&record, "a"), "part\nfull\n");
    }
}

#[test]
fn somebody_who_only_looks_at_the_log_is_left_alone() {
    let space = Space::new();
    let a = killed_engine(&space, "echo part > a; exec sleep 8");
    let log = a.parent().unwrap().parent().unwrap().join("observed/log.txt");
    let mut reader = Command::new("tail").arg("-f").arg(log).stdout(Stdio::null()).spawn().unwrap();
    let Begun::Attempt(_attempt) = space.store.begin(&key("k"), "stage", wait).unwrap() else { panic!() };
    assert!(is_alive(&reader.id().to_string()));
    reader.kill().unwrap();
    reader.wait().unwrap();
}

#[test]
fn of_two_runs_one_does_the_stage_and_the_other_waits_and_shares() {
    let space = Space::new();
    let (done, waited) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let records: Vec<_> = thread::scope(|scope| {
        let run = || {
            let store = Store::open(&space.folder.path().join("outputs"));
            let waiting = |_: Option<&plan::store::Owner>| {
                waited.fetch_add(1, Ordering::Relaxed);
                ControlFlow::Continue(())
            };
            match store.begin(&key("k"), "stage", waiting).unwrap() {
                Begun::Attempt(attempt) => {
                    done.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(200));
                    fs::write(attempt.result().join("a"), "text").unwrap();
                    attempt.commit(made(), Durability::Grouped).unwrap()
                }
                Begun::Done(record) => *record,
                Begun::Busy(_) => panic!("begin waits"),
            }
        };
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(done.into_inner(), 1);
    assert!(waited.into_inner() > 0);
    assert!(records.iter().all(|record| *record == records[0]));
}

#[test]
fn two_processes_share_a_stage() {
    let space = Space::new();
    let engine = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "runs::engine_to_be_killed"])
            .env("STORE_TEST_OUTPUTS", space.folder.path().join("outputs"))
            .env("STORE_TEST_SCRIPT", "echo x > a; sleep 1")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut first = engine();
    until("the first engine", || space.store.root().join("work").join(key("k").hex()).join("result/a").exists());
    let mut owners = Vec::new();
    let begun = space.store.begin(&key("k"), "stage", |owner| {
        owners.extend(owner.map(|owner| owner.engine.id));
        ControlFlow::Continue(())
    });
    let Begun::Done(record) = begun.unwrap() else { panic!("it was done twice") };
    assert_eq!(space.read(&record, "a"), "x\n");
    assert!(owners.contains(&first.id()));
    assert!(first.wait().unwrap().success());
}

#[test]
fn waiting_can_be_broken_off() {
    let space = Space::new();
    let _attempt = space.attempt(&key("k"));
    let Err(error) = space.store.begin(&key("k"), "stage", |_| ControlFlow::Break(())) else { panic!() };
    assert_eq!(error.to_string(), "stopped while another run was doing `stage`");
}

#[test]
fn a_program_that_outlives_its_commit_does_not_keep_the_right() {
    let space = Space::new();
    let attempt = space.attempt(&key("k"));
    let mut other = Command::new("sleep").arg("30").stdin(attempt.stdin().unwrap()).spawn().unwrap();
    drop(attempt);
    assert!(matches!(space.store.try_begin(&key("k"), "stage").unwrap(), Begun::Attempt(_)));
    other.kill().unwrap();
    other.wait().unwrap();
}
