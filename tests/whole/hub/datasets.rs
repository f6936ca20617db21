//! Data sets: configurations and splits by their README, by names, and by what the Hub converted.

use std::fs;

use super::{bytes, download, left, server::Hub};
use crate::{project::Project, tiny};

const README: &[u8] = b"---\nconfigs:\n- config_name: colours\n  default: true\n  data_files:\n  - split: train\n    path: \
    colours/train-*\n  - split: test\n    path: colours/held.jsonl\n- config_name: other\n  data_files: other.csv\n---\n# Things\n";

/// A data set with two configurations, one of them in shards.
fn published(hub: &Hub) -> String {
    let (one, two, test) = (tiny::rows(0..20), tiny::rows(20..40), tiny::rows(40..46));
    hub.commit(
        "datasets/owner/things",
        "main",
        &[
            ("README.md", README),
            ("colours/held.jsonl", test.as_bytes()),
            ("colours/train-00000-of-00002.jsonl", one.as_bytes()),
            ("colours/train-00001-of-00002.jsonl", two.as_bytes()),
            ("other.csv", b"thing,colour\na,b\n"),
            ("picture.png", &bytes(0, 2000)),
        ],
    )
}

const ROWS: &str = r#"
stages:
  raw: {kind: download, from: FROM}
  rows:
    kind: preprocess
    input: raw
    template: ask.jinja
    splits: {train: {from: train}, test: {from: test}}
"#;

fn with_rows(from: &str) -> Project {
    let project = Project::new(&ROWS.replace("FROM", from));
    project.file("templates/ask.jinja", tiny::TEMPLATE);
    project
}

#[test]
fn splits_come_under_their_names_and_are_read() {
    let hub = Hub::new();
    published(&hub);
    let project = with_rows("hf://datasets/owner/things");
    hub.run(&project, &[]).exit(0).did(&["raw", "rows"]);
    let names: Vec<String> = project.left("raw").into_keys().collect();
    assert_eq!(names, ["test.jsonl", "train-00000-of-00002.jsonl", "train-00001-of-00002.jsonl"]);
    // The same rows as from a folder.
    let local = tiny::data();
    local.run(&["--until", "rows"]).exit(0);
    assert_eq!(project.left("rows"), local.left("rows"));
    assert!(hub.asked().iter().all(|one| !one.contains("other.csv") && !one.contains("png")));
}

#[test]
fn configurations_and_splits_are_chosen() {
    let hub = Hub::new();
    published(&hub);
    let got = |from: &str| {
        let project = download(from);
        hub.run(&project, &[]).exit(0);
        left(&project)
    };
    assert_eq!(got("{hf: {dataset: owner/things, config: other}}"), ["train.csv"]);
    assert_eq!(got("{hf: {dataset: owner/things, splits: [test]}}"), ["test.jsonl"]);
    assert_eq!(got("{hf: {dataset: owner/things, files: ['*.csv', README.md]}}"), ["README.md", "other.csv"]);
    let parts = "{parts: {a: 'hf://datasets/owner/things', b: {hf: {dataset: owner/things, config: other}}}}";
    assert_eq!(got(parts).len(), 4);
    let failed = |from: &str, texts: &[&str]| {
        hub.run(&download(from), &[]).fails_with(texts);
    };
    failed("{hf: {dataset: owner/things, config: color}}", &["no configuration `color`", "did you mean `colours`?"]);
    failed(
        "{hf: {dataset: owner/things, splits: [tset]}}",
        &["no split `tset`", "`test`", "hf://datasets/owner/things"],
    );
}

#[test]
fn a_data_set_that_is_a_program_comes_as_the_hub_converted_it() {
    let hub = Hub::new();
    let (one, two) = (bytes(1, 2000), bytes(2, 3000));
    hub.commit(
        "datasets/owner/made",
        "main",
        &[("made.py", b"import os"), ("README.md", b"# Made"), ("raw.zip", &one)],
    );
    let project = download("{hf: {dataset: owner/made, config: one}}");
    hub.run(&project, &[]).fails_with(&["`made.py` makes its rows", "has not converted it", "/datasets/owner/made"]);
    let commit = hub.commit(
        "datasets/owner/made",
        "refs/convert/parquet",
        &[
            ("one/train/0000.parquet", &one),
            ("one/train/0001.parquet", &two),
            ("one/test/0000.parquet", &two),
            ("two/train/0000.parquet", &two),
        ],
    );
    hub.run(&project, &[]).exit(0);
    assert_eq!(left(&project), ["test.parquet", "train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]);
    assert!(fs::read(project.path("outputs/p/got/train-00001-of-00002.parquet")).unwrap() == two);
    let lock = project.text("pipelines/p.lock.yaml");
    assert!(lock.contains(&format!("revision: refs/convert/parquet@{commit}")), "{lock}");
    hub.run(&download("hf://datasets/owner/made"), &[]).fails_with(&["several configurations", "`one`, `two`"]);
    // A clone gets what the lock pins, though it was converted anew.
    hub.commit("datasets/owner/made", "refs/convert/parquet", &[("one/train/0000.parquet", &two)]);
    fs::remove_dir_all(project.path("outputs")).unwrap();
    hub.run(&project, &[]).exit(0).did(&["got"]);
    assert_eq!(left(&project).len(), 3);
    hub.commit("datasets/owner/made", "v2", &[("made.py", b"import sys")]);
    hub.run(&download("{hf: {dataset: owner/made, revision: v2}}"), &[])
        .fails_with(&["converts the branch `main` alone"]);
}
