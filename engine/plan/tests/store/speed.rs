//! The figures that the store keeps; bounds are wide, since machines are shared. `--nocapture` shows what was measured.

use std::{collections::BTreeMap, process::Stdio, time::Instant};

use plan::{
    digest::Digest,
    process::{Environment, Output, Program},
    store::Durability,
};

use crate::help::{Space, key, made};

#[test]
fn a_thousand_commits_and_lookups_are_cheap() {
    let space = Space::new();
    let keys: Vec<Digest> = (0..1000).map(|i| key(&i.to_string())).collect();
    let begun = Instant::now();
    for (i, key) in keys.iter().enumerate() {
        space.make(key, &[("out.txt", &i.to_string())]);
    }
    let commits = begun.elapsed();
    let begun = Instant::now();
    for key in &keys {
        assert!(space.store.lookup(key).unwrap().is_some());
    }
    let lookups = begun.elapsed();
    let begun = Instant::now();
    space.store.sync().unwrap();
    println!("1000 begin + commit: {commits:?}; 1000 lookups: {lookups:?}; sync: {:?}", begun.elapsed());
    assert!(commits.as_secs_f64() < 5.0, "{commits:?}");
    assert!(lookups.as_secs_f64() < 0.2, "{lookups:?}");
}

#[test]
fn starting_programs_is_cheap() {
    let space = Space::new();
    let program = Program {
        program: "/bin/true".into(),
        args: Vec::new(),
        environment: Environment::Only(BTreeMap::new()),
        folder: space.folder.path().to_owned(),
        log: space.folder.path().join("log.txt"),
        output: Output::Log,
    };
    let begun = Instant::now();
    for _ in 0..1000 {
        assert!(program.start(Stdio::null()).unwrap().wait(|_| {}).unwrap().status.success());
    }
    let programs = begun.elapsed();
    let begun = Instant::now();
    for i in 0..1000 {
        let mut attempt = space.attempt(&key(&i.to_string()));
        let mut program = program.clone();
        program.log = attempt.observed().join("log.txt");
        program.folder = attempt.result();
        let running = program.start(attempt.stdin().unwrap()).unwrap();
        attempt.note_program(running.id()).unwrap();
        running.wait(|_| {}).unwrap();
        attempt.commit(made(), Durability::Grouped).unwrap();
    }
    println!("1000 programs: {programs:?}; 1000 whole stages: {:?}", begun.elapsed());
    assert!(programs.as_secs_f64() < 20.0, "{programs:?}");
}
