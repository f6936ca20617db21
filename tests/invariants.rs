//! What holds for the sources and the built programs as a whole: imports point one way, `engine` links no libtorch,
//! nothing is left half done, every file says what it owns. Knows no behaviour.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The Rust files of the project, with their paths relative to its root.
fn sources() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut open = vec![root().join("engine"), root().join("tests")];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                files.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

/// Which crates of this project a crate depends on; with `to_test`, for its tests too.
fn dependencies(name: &str, to_test: bool) -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("engine").join(name).join("Cargo.toml")).unwrap();
    let own = ["build-id", "tensor-files", "spec", "plan", "data", "learn", "track", "cli"];
    let mut table = "";
    let mut found = BTreeSet::new();
    for line in text.lines() {
        if line.starts_with('[') {
            table = line;
        }
        let counts = table == "[dependencies]" || (to_test && table == "[dev-dependencies]");
        let word = line.split(['.', '=', ' ']).next().unwrap_or_default();
        if counts && own.contains(&word) {
            found.insert(word.to_owned());
        }
    }
    found
}

#[test]
fn imports_point_one_way() {
    for (name, allowed) in [
        ("build-id", vec![]),
        ("spec", vec![]),
        ("tensor-files", vec![]),
        ("plan", vec!["spec"]),
        ("data", vec!["spec"]),
        ("learn", vec!["build-id", "data", "spec", "tensor-files"]),
        ("track", vec!["spec"]),
        ("cli", vec!["build-id", "data", "plan", "spec", "track"]),
    ] {
        for to_test in [false, true] {
            let allowed: BTreeSet<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
            let found = dependencies(name, to_test);
            assert!(found.is_subset(&allowed), "{name} depends on {found:?}, and may on {allowed:?}");
        }
    }
    assert_eq!(dependencies("plan", false), BTreeSet::from(["spec".to_owned()]), "the reader of Cargo.toml reads");
}

#[test]
fn tensors_are_known_to_learn_alone() {
    for name in ["tensor-files", "spec", "plan", "data", "track", "cli"] {
        let text = std::fs::read_to_string(root().join("engine").join(name).join("Cargo.toml")).unwrap();
        assert!(!text.lines().any(|line| line.starts_with("tch") || line.starts_with("torch")), "{name}");
    }
}

/// The libraries that a program names as needed.
fn needed(program: &Path) -> Option<String> {
    let output = Command::new("readelf").arg("-d").arg(program).output().ok()?;
    output.status.success().then(|| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter(|line| line.contains("(NEEDED)")).collect::<Vec<_>>().join("\n")
    })
}

#[test]
fn engine_links_no_libtorch_and_the_worker_does() {
    let engine = Path::new(env!("CARGO_BIN_EXE_engine"));
    let Some(libraries) = needed(engine) else {
        // Without readelf (it comes with the compiler's binutils) the bytes must do: a needed library is named in them.
        let bytes = std::fs::read(engine).unwrap();
        assert!(!bytes.windows(10).any(|window| window == b"libtorch.s" || window == b"libc10.so\0"));
        return;
    };
    assert!(libraries.contains("libc.so"), "{libraries}");
    assert!(!libraries.contains("torch") && !libraries.contains("c10"), "{libraries}");
    let worker = engine.with_file_name("engine-worker");
    if worker.exists() {
        let libraries = needed(&worker).unwrap();
        assert!(libraries.contains("libtorch"), "{libraries}");
    }
}

#[test]
fn nothing_is_left_half_done() {
    // Each word is written in two halves, so that this file does not hold it.
    let words = ["to\u{64}o!", "unimple\u{6d}ented!", "db\u{67}!(", "FIX\u{4d}E", "TO\u{44}O", "#[ig\u{6e}ore"];
    for (name, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            for word in words {
                assert!(!line.contains(word), "{name}:{}: {line}", number + 1);
            }
        }
    }
}

#[test]
fn every_file_says_what_it_owns() {
    let silent: Vec<String> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(name, _)| name).collect();
    assert!(silent.is_empty(), "these do not begin with `//!`: {silent:?}");
}

#[test]
fn shipped_pipelines_are_valid() {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root().join("pipelines")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "yaml") && !path.to_string_lossy().ends_with(".lock.yaml") {
            files.push(path);
        }
    }
    assert!(!files.is_empty());
    let output = Command::new(env!("CARGO_BIN_EXE_engine")).arg("check").args(&files).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
