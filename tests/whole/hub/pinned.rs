//! Revisions: resolved to commits, pinned by the lock, moved by `--update` alone.

use std::fs;

use super::{bytes, download, left, server::Hub};
use crate::project::{FILE, Project};

const LOCK: &str = "pipelines/p.lock.yaml";
const NAME: &str = "models/owner/small";

fn commit(hub: &Hub, branch: &str, seed: u8) -> String {
    hub.commit(NAME, branch, &[("config.json", b"{}"), ("model.safetensors", &bytes(seed, 2000))])
}

fn weights(project: &Project) -> Vec<u8> {
    fs::read(project.path("outputs/p/got/model.safetensors")).unwrap()
}

/// A clone: the lock and the pipeline, on a machine that has downloaded nothing.
fn forget_all(hub: &Hub, project: &Project) {
    fs::remove_dir_all(project.path("outputs")).unwrap();
    fs::remove_dir_all(hub.cache("")).unwrap();
}

#[test]
fn a_clone_gets_the_commit_though_the_branch_moved() {
    let hub = Hub::new();
    let first = commit(&hub, "main", 1);
    let project = download("hf://owner/small");
    hub.run(&project, &[]).exit(0).did(&["got"]);
    let lock = project.text(LOCK);
    assert!(lock.contains("source: hf://owner/small\n") && lock.contains(&format!("revision: {first}\n")), "{lock}");
    let second = commit(&hub, "main", 2);
    hub.run(&project, &[]).exit(0).did(&[]);
    forget_all(&hub, &project);
    hub.run(&project, &[]).exit(0).did(&["got"]);
    assert!(weights(&project) == bytes(1, 2000) && project.text(LOCK) == lock);
    // The pin moves when it is told to.
    hub.run(&project, &["--update", "got"]).exit(0).did(&["got"]);
    assert!(weights(&project) == bytes(2, 2000));
    let moved = project.text(LOCK);
    assert!(moved.contains(&second) && !moved.contains(&first), "{moved}");
    hub.run(&project, &[]).exit(0).did(&[]);
    // With the older lock the older commit is wanted again, and the store still has it.
    project.file(LOCK, &lock);
    hub.run(&project, &[]).exit(0).did(&[]);
    assert!(weights(&project) == bytes(1, 2000) && project.text(LOCK) == lock);
    // Its history was rewritten.
    hub.forget(NAME, &first);
    forget_all(&hub, &project);
    hub.run(&project, &[]).fails_with(&["no longer has the commit", &first, "--update"]);
    assert_eq!(project.text(LOCK), lock);
}

#[test]
fn a_commit_that_changes_nothing_moves_the_pin_when_it_is_told_to() {
    let hub = Hub::new();
    let first = commit(&hub, "main", 1);
    let project = download("hf://owner/small");
    hub.run(&project, &[]).exit(0);
    let files: [(&str, &[u8]); 3] =
        [("config.json", b"{}"), ("model.safetensors", &bytes(1, 2000)), ("README.md", b"more words")];
    let second = hub.commit(NAME, "main", &files);
    hub.run(&project, &[]).exit(0).did(&[]);
    assert!(project.text(LOCK).contains(&first));
    hub.run(&project, &["--update", "got"]).exit(0).did(&["got"]);
    let lock = project.text(LOCK);
    assert!(lock.contains(&second) && !lock.contains(&first), "{lock}");
    // Another lock of the same store keeps its own commit.
    let older = lock.replace(&second, &first);
    project.file(LOCK, &older);
    hub.run(&project, &[]).exit(0).did(&[]);
    assert_eq!(project.text(LOCK), older);
}

#[test]
fn branches_tags_and_commits_are_revisions() {
    let hub = Hub::new();
    let (old, new) = (commit(&hub, "v1.0", 1), commit(&hub, "main", 2));
    commit(&hub, "refs/pr/3", 3);
    for (revision, seed) in [("v1.0", 1), ("refs/pr/3", 3), (old.as_str(), 1), (new.as_str(), 2)] {
        let project = download(&format!("hf://owner/small@{revision}"));
        hub.run(&project, &[]).exit(0);
        assert!(weights(&project) == bytes(seed, 2000), "{revision}");
        assert!(project.text(LOCK).contains(&format!("source: hf://owner/small@{revision}\n")));
    }
    assert!(hub.asked().iter().any(|one| one.ends_with("/revision/refs%2Fpr%2F3")));
    // Another revision is no longer pinned.
    let project = download("hf://owner/small@v1.0");
    hub.run(&project, &[]).exit(0);
    project.pipeline("stages:\n  got: {kind: download, from: 'hf://owner/small@refs/pr/3'}\n");
    hub.run(&project, &[]).exit(0).did(&["got"]);
    assert!(weights(&project) == bytes(3, 2000));
    project.pipeline("stages:\n  got: {kind: download, from: 'hf://owner/small@v9'}\n");
    hub.run(&project, &[]).fails_with(&["no revision `v9`", "hf://owner/small", "/tree/main"]);
}

#[test]
fn each_part_has_its_own_commit() {
    let hub = Hub::new();
    let first = commit(&hub, "main", 1);
    let data =
        |seed: u8| hub.commit("datasets/owner/things", "main", &[("train.csv", format!("a\n{seed}\n").as_bytes())]);
    let rows = data(1);
    let project = download("{parts: {rows: 'hf://datasets/owner/things', weights: 'hf://owner/small'}}");
    hub.run(&project, &[]).exit(0);
    let lock = project.text(LOCK);
    assert!(lock.contains(&format!("revision: 'rows: {rows}, weights: {first}'\n")), "{lock}");
    commit(&hub, "main", 2);
    let newer = data(2);
    forget_all(&hub, &project);
    hub.run(&project, &[]).exit(0).did(&["got"]);
    assert_eq!(project.text(LOCK), lock);
    assert_eq!(left(&project), ["rows/train.csv", "weights/config.json", "weights/model.safetensors"]);
    assert_eq!(project.text("outputs/p/got/rows/train.csv"), "a\n1\n");
    hub.run(&project, &["--update", "got"]).exit(0);
    assert_eq!(project.text("outputs/p/got/rows/train.csv"), "a\n2\n");
    assert!(project.text(LOCK).contains(&newer));
    let mixed = "{parts: {rows: 'hf://datasets/owner/things', more: {path: data}}}";
    let project = download(mixed);
    project.file("data/a.csv", "a\n");
    project.engine(&["check", FILE]).exit(2).warns(&["beside what the lock pins"]);
}

#[test]
fn a_lock_that_was_edited_is_no_way_out() {
    let hub = Hub::new();
    let first = commit(&hub, "main", 1);
    let second = commit(&hub, "main", 2);
    let project = download("hf://owner/small");
    hub.run(&project, &[]).exit(0);
    let lock = project.text(LOCK);
    for revision in ["../../../x", "main", "refs/heads/x@0000000000000000000000000000000000000000"] {
        fs::remove_dir_all(project.path("outputs")).unwrap();
        project.file(LOCK, &lock.replace(&second, revision));
        hub.run(&project, &[]).fails_with(&["pins a revision that is no commit"]);
    }
    // Another commit than the digest is of.
    project.file(LOCK, &lock.replace(&second, &first));
    hub.run(&project, &[]).fails_with(&["others than the lock pins", "hf://owner/small", "--update got"]);
}
