//! The figures that the store keeps; bounds are wide, since machines are shared. `--nocapture` shows what was measured.

use std::time::Instant;

use plan::digest::Digest;

use crate::help::{Space, key};

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
