//! Archives of any bytes. The first byte says of which kind; nothing is written outside of the folder.
#![no_main]

use std::{collections::BTreeMap, fs};

use libfuzzer_sys::fuzz_target;
use spec::job::Job;

const NAMES: [&str; 3] = ["a.zip", "a.tar", "a.tar.gz"];

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let name = NAMES[usize::from(*kind) % NAMES.len()];
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let place = |name: &str| folder.path().join(name);
    fs::write(place(name), bytes).expect("a file");
    for name in ["result", "observed", "state"] {
        fs::create_dir(place(name)).expect("a folder");
    }
    let job: Job = serde_json::from_value(serde_json::json!({
        "kind": "download",
        "name": "a",
        "settings": { "from": { "path": name } },
        "inputs": BTreeMap::<String, ()>::new(),
        "files": { "from.path": place(name) },
        "result": place("result"),
        "observed": place("observed"),
        "state": place("state"),
        "device": "cpu",
        "threads": 1,
    }))
    .expect("a job");
    if let Err(error) = data::download::run(&job, &|_| {}) {
        assert!(!error.to_string().is_empty());
    }
    let mut names: Vec<_> =
        fs::read_dir(folder.path()).expect("the folder").map(|e| e.expect("an entry").file_name()).collect();
    names.sort();
    assert_eq!(names, [name, "observed", "result", "state"]);
});
