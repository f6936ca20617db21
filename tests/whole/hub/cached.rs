//! The cache: without a network, between two engines, and as other tools have left it.

use std::{fs, os::unix::fs::symlink, process::Stdio};

use super::{
    bytes, download, left,
    models::small,
    server::{Hub, Mishap},
};
use crate::project::{Ran, Said};

const OFFLINE: &[(&str, &str)] = &[("HF_HUB_OFFLINE", "1")];

#[test]
fn a_warm_cache_needs_no_network() {
    let hub = Hub::new();
    let (project, commit) = small(&hub);
    hub.run_with(&project, &[], OFFLINE).fails_with(&[
        "HF_HUB_OFFLINE is set",
        "`main`",
        "hf://owner/small",
        "the cache is",
    ]);
    hub.run(&project, &[]).exit(0);
    hub.asked();
    // Another project, no lock: the branch as it was last seen.
    let other = download("hf://owner/small");
    hub.run_with(&other, &[], OFFLINE).exit(0);
    assert_eq!(other.left("got"), project.left("got"));
    assert!(other.text("pipelines/p.lock.yaml").contains(&commit));
    // A pinned commit that is whole in the cache is not asked for.
    fs::remove_dir_all(project.path("outputs")).unwrap();
    hub.run(&project, &[]).exit(0).did(&["got"]);
    assert_eq!(hub.asked(), [""; 0]);
    // What is missing is named.
    let blob = fs::canonicalize(hub.cache(&format!("models--owner--small/snapshots/{commit}/tokenizer.json"))).unwrap();
    fs::remove_file(blob).unwrap();
    let third = download("hf://owner/small");
    hub.run_with(&third, &[], OFFLINE).fails_with(&["does not hold `tokenizer.json`"]);
}

#[test]
fn two_engines_share_one_download() {
    let hub = Hub::new();
    let (one, commit) = small(&hub);
    let two = download("hf://owner/small");
    hub.next(b"{}", &[Mishap::Slow]);
    hub.next(&bytes(1, 300_000), &[Mishap::Slow, Mishap::Cut(100_000), Mishap::Slow]);
    let start = |project: &crate::project::Project| {
        let mut command = project.run_command(&[]);
        hub.seen_by(&mut command).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let started = [start(&one), start(&two)];
    for child in started {
        Ran::from(Said::from(child.wait_with_output().unwrap())).exit(0).did(&["got"]);
    }
    assert_eq!(one.left("got"), two.left("got"));
    let asked = hub.asked();
    let of = |ending: &str| asked.iter().filter(|one| one.starts_with("hub ") && one.ends_with(ending)).count();
    assert_eq!(of("/config.json"), 1, "{asked:?}");
    let snapshot = hub.cache(&format!("models--owner--small/snapshots/{commit}/model.safetensors"));
    assert!(fs::read(snapshot).unwrap() == bytes(1, 300_000));
    let blobs = fs::read_dir(hub.cache("models--owner--small/blobs")).unwrap();
    assert!(blobs.flatten().all(|blob| !blob.file_name().to_string_lossy().ends_with(".incomplete")));
}

#[test]
fn what_another_tool_has_left_is_used() {
    let hub = Hub::new();
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let folder = hub.cache("models--owner--small");
    fs::create_dir_all(folder.join("blobs")).unwrap();
    fs::create_dir_all(folder.join("refs")).unwrap();
    fs::create_dir_all(folder.join("snapshots").join(commit)).unwrap();
    for (number, name) in ["config.json", "pytorch_model.bin"].into_iter().enumerate() {
        let blob = format!("{number}").repeat(40);
        fs::write(folder.join("blobs").join(&blob), format!("of {name}")).unwrap();
        symlink(format!("../../blobs/{blob}"), folder.join("snapshots").join(commit).join(name)).unwrap();
    }
    fs::write(folder.join("refs/main"), commit).unwrap();
    let project = download("hf://owner/small");
    let ran = hub.run_with(&project, &[], OFFLINE);
    ran.exit(0);
    assert!(ran.said.out.contains("by another tool"), "{}", ran.said.out);
    assert_eq!(left(&project), ["config.json", "pytorch_model.bin"]);
    assert!(project.text("pipelines/p.lock.yaml").contains(commit));
    // A link that leads out of the cache.
    symlink("/etc/hostname", folder.join("snapshots").join(commit).join("tokenizer.json")).unwrap();
    hub.run_with(&download("hf://owner/small"), &[], OFFLINE).exit(0);
}
