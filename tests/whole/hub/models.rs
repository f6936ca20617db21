//! Models: which files come, cut and changed on the way, and that one stands where a model may stand.

use std::{fs, process::Stdio};

use super::{
    bytes, download, left,
    server::{Hub, Mishap, SIGNATURE, TOKEN},
    texts,
};
use crate::{
    project::{Project, until, worker},
    tiny,
};

const NAME: &str = "models/owner/small";

/// A model with all that a repository may hold beside what is needed.
fn published(hub: &Hub) -> String {
    let (weights, other) = (bytes(1, 300_000), bytes(2, 5000));
    hub.commit(
        NAME,
        "main",
        &[
            (".gitattributes", b"*.safetensors filter=lfs"),
            ("README.md", b"# Small"),
            ("config.json", br#"{"model_type": "llama"}"#),
            ("flax_model.msgpack", &other),
            ("model.safetensors", &weights),
            ("onnx/model.onnx", &other),
            ("picture.png", &other),
            ("pytorch_model.bin", &other),
            ("small.gguf", &other),
            ("tf_model.h5", &other),
            ("tokenizer.json", &bytes(3, 4000)),
            ("tokenizer_config.json", b"{}"),
        ],
    )
}

#[test]
fn what_is_needed_comes_and_nothing_else() {
    let hub = Hub::new();
    let commit = published(&hub);
    let project = download("hf://owner/small");
    let ran = hub.run(&project, &[]);
    ran.exit(0).did(&["got"]);
    assert_eq!(left(&project), ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]);
    assert_eq!(fs::read(project.path("outputs/p/got/model.safetensors")).unwrap(), bytes(1, 300_000));
    let asked = hub.asked();
    let contents = asked.iter().filter(|one| one.starts_with("blobs ")).count();
    assert_eq!((asked[0].as_str(), contents), ("hub /api/models/owner/small/revision/main", 2), "{asked:?}");
    assert!(asked[1..].iter().all(|one| !one.contains("onnx") && !one.contains(".bin")), "{asked:?}");
    // Progress in bytes of all files together.
    let total = 300_000 + 4000 + 2 + r#"{"model_type": "llama"}"#.len();
    assert!(
        ran.said.out.contains(&format!("\"done\":{total},\"total\":{total},\"unit\":\"bytes\"")),
        "{}",
        ran.said.out
    );
    // Where other tools look for it.
    let snapshot = hub.cache(&format!("models--owner--small/snapshots/{commit}/model.safetensors"));
    let target = fs::read_link(&snapshot).unwrap();
    assert!(target.starts_with("../../blobs") && fs::read(&snapshot).unwrap() == bytes(1, 300_000));
    assert_eq!(fs::read_to_string(hub.cache("models--owner--small/refs/main")).unwrap(), commit);
    // Both ways to write it are the same.
    project.pipeline("stages:\n  got: {kind: download, from: {hf: {model: owner/small}}}\n");
    hub.run(&project, &[]).exit(0).did(&[]);
    project
        .pipeline("stages:\n  got: {kind: download, from: {hf: {model: owner/small, files: [README.md, 'onnx/*']}}}\n");
    hub.run(&project, &[]).exit(0).did(&["got"]);
    assert_eq!(left(&project), ["README.md", "onnx/model.onnx"]);
    project.pipeline("stages:\n  got: {kind: download, from: {hf: {model: owner/small, files: ['*.ckpt']}}}\n");
    hub.run(&project, &[]).fails_with(&["no file fits `*.ckpt`", "hf://owner/small", "`pytorch_model.bin`"]);
}

#[test]
fn shards_come_by_their_index_and_older_weights_where_there_are_no_others() {
    let hub = Hub::new();
    let index =
        br#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
    let (one, two, old) = (bytes(1, 2000), bytes(2, 3000), bytes(3, 4000));
    let mut files: Vec<(&str, &[u8])> = vec![
        ("config.json", b"{}"),
        ("model.safetensors.index.json", index),
        ("model-00001-of-00002.safetensors", &one),
        ("model-00002-of-00002.safetensors", &two),
        ("model-00003-of-00003.safetensors", &old),
        ("pytorch_model.bin", &old),
    ];
    hub.commit(NAME, "main", &files);
    let project = download("hf://owner/small");
    hub.run(&project, &[]).exit(0);
    let shards =
        ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"];
    assert_eq!(left(&project), [&["config.json"], &shards[..]].concat());
    let project = download("hf://owner/small@old");
    hub.commit(NAME, "old", &[files[0], files[5]]);
    hub.run(&project, &[]).exit(0);
    assert_eq!(left(&project), ["config.json", "pytorch_model.bin"]);
    files.remove(3);
    hub.commit(NAME, "broken", &files);
    let project = download("hf://owner/small@broken");
    hub.run(&project, &[]).fails_with(&["`model-00002-of-00002.safetensors`, which is not there", "not complete"]);
    hub.commit(NAME, "other", &[("tokenizer.json", b"{}"), ("model.gguf", &old)]);
    let project = download("hf://owner/small@other");
    let ran = hub.run(&project, &[]);
    ran.exit(0);
    assert!(ran.said.out.contains("holds no weights in safetensors"), "{}", ran.said.out);
    assert_eq!(left(&project), ["tokenizer.json"]);
}

#[test]
fn a_cut_download_goes_on_where_it_stopped() {
    let hub = Hub::new();
    published(&hub);
    hub.next(&bytes(1, 300_000), &[Mishap::Cut(100_000), Mishap::Status(403), Mishap::Cut(50_000)]);
    let project = download("hf://owner/small");
    let ran = hub.run(&project, &[]);
    ran.exit(0);
    assert!(
        ran.said.out.contains("100000 of 300000 bytes came") || ran.said.out.contains("was cut"),
        "{}",
        ran.said.out
    );
    assert_eq!(fs::read(project.path("outputs/p/got/model.safetensors")).unwrap(), bytes(1, 300_000));
    let asked = hub.asked();
    for range in ["bytes=100000-", "bytes=150000-"] {
        assert!(asked.iter().any(|one| one.starts_with("blobs ") && one.ends_with(range)), "{asked:?}");
    }
    assert!(!texts(&project.path("")).contains(SIGNATURE));
}

#[test]
fn a_download_that_was_given_up_goes_on_in_the_next_run() {
    let hub = Hub::new();
    published(&hub);
    let bad = [Mishap::Status(500); 4];
    hub.next(&bytes(1, 300_000), &[&[Mishap::Cut(70_000)], &bad[..]].concat());
    let project = download("hf://owner/small");
    hub.run(&project, &[]).failed(&["got"]).fails_with(&["500"]);
    hub.asked();
    hub.run(&project, &[]).exit(0);
    let asked = hub.asked();
    assert!(asked.iter().any(|one| one.ends_with(" bytes=70000-")), "{asked:?}");
    assert_eq!(fs::read(project.path("outputs/p/got/model.safetensors")).unwrap(), bytes(1, 300_000));
}

#[test]
fn a_killed_engine_goes_on_where_it_was() {
    let hub = Hub::new();
    published(&hub);
    let project = download("hf://owner/small");
    hub.next(&bytes(1, 300_000), &[Mishap::Stuck]);
    let mut command = project.run_command(&[]);
    let mut engine = hub.seen_by(&mut command).stdout(Stdio::null()).spawn().unwrap();
    let blobs = hub.cache("models--owner--small/blobs");
    let coming = || {
        fs::read_dir(&blobs).into_iter().flatten().flatten().any(|blob| {
            blob.file_name().to_string_lossy().ends_with(".incomplete")
                && blob.metadata().is_ok_and(|found| found.len() >= 150_000)
        })
    };
    until("half of the weights", coming);
    engine.kill().unwrap();
    engine.wait().unwrap();
    hub.asked();
    hub.run(&project, &[]).exit(0).did(&["got"]);
    let asked = hub.asked();
    assert!(asked.iter().any(|one| one.ends_with(" bytes=150000-")), "{asked:?}");
    assert_eq!(fs::read(project.path("outputs/p/got/model.safetensors")).unwrap(), bytes(1, 300_000));
}

#[test]
fn files_of_every_name_and_size() {
    let hub = Hub::new();
    let (large, small) = (bytes(1, 5000), bytes(2, 1));
    hub.commit(
        NAME,
        "main",
        &[("empty.txt", b""), ("a folder/with spaces, ü & 100%.txt", &small), ("deep/er/still/large?.bin", &large)],
    );
    let project = download("{hf: {model: owner/small, files: ['**']}}");
    hub.run(&project, &[]).exit(0);
    assert_eq!(left(&project), ["a folder/with spaces, ü & 100%.txt", "deep/er/still/large?.bin", "empty.txt"]);
    assert!(fs::read(project.path("outputs/p/got/deep/er/still/large?.bin")).unwrap() == large);
    // Elsewhere on the disk.
    let elsewhere = project.path("cache");
    let project = download("{hf: {model: owner/small, files: ['**']}}");
    hub.run_with(&project, &[], &[("HF_HUB_CACHE", elsewhere.to_str().unwrap())]).exit(0);
    assert!(elsewhere.join("models--owner--small/refs/main").exists());
}

#[test]
fn what_came_is_what_the_hub_announced() {
    let hub = Hub::new();
    let commit = published(&hub);
    let project = download("hf://owner/small");
    let weights = bytes(1, 300_000);
    hub.next(&weights, &[Mishap::Flipped]);
    hub.run(&project, &[]).fails_with(&["not the file that the Hub announced", "model.safetensors", "SHA-256"]);
    let kept = || fs::read_dir(hub.cache("models--owner--small/blobs")).unwrap().count();
    assert_eq!(kept(), 3, "the small files alone");
    hub.next(&weights, &[Mishap::Longer]);
    hub.run(&project, &[]).fails_with(&["300010 bytes", "300000 were announced"]);
    // A beginning of something else, and a server that knows no ranges.
    assert_eq!(kept(), 3);
    hub.next(&weights, &[Mishap::NoRanges]);
    hub.run(&project, &[]).exit(0);
    let link = hub.cache(&format!("models--owner--small/snapshots/{commit}/model.safetensors"));
    let blob = fs::canonicalize(&link).unwrap();
    let part = blob.with_file_name(format!("{}.incomplete", blob.file_name().unwrap().to_str().unwrap()));
    fs::rename(&blob, &part).unwrap();
    fs::write(&part, vec![9; 1000]).unwrap();
    let other = download("hf://owner/small");
    hub.asked();
    hub.run(&other, &[]).exit(0);
    let asked = hub.asked();
    assert!(asked.iter().any(|one| one.ends_with("bytes=1000-")), "{asked:?}");
    assert_eq!(fs::read(other.path("outputs/p/got/model.safetensors")).unwrap(), bytes(1, 300_000));
    // Damage in the cache is found when it is read.
    let mut bad = bytes(1, 300_000);
    bad[7] ^= 1;
    fs::write(&blob, bad).unwrap();
    let third = download("hf://owner/small");
    let ran = hub.run(&third, &[]);
    ran.exit(0);
    assert!(ran.said.out.contains("damaged in the Hub's cache"), "{}", ran.said.out);
    assert_eq!(fs::read(third.path("outputs/p/got/model.safetensors")).unwrap(), bytes(1, 300_000));
}

#[test]
fn a_renamed_repository_is_followed_with_its_token() {
    let hub = Hub::new();
    published(&hub);
    hub.change(NAME, |repository| repository.is_gated = true);
    hub.state().renamed.insert("older/name".into(), "owner/small".into());
    let project = download("hf://older/name");
    hub.run_with(&project, &[], &[("HF_TOKEN", TOKEN)]).exit(0);
    let asked = std::mem::take(&mut hub.state().asked);
    assert!(asked.iter().all(|one| one.of_blobs == one.token.is_none()), "{asked:?}");
    assert!(asked.iter().any(|one| one.path.contains("older/name")));
}

#[test]
fn secrets_stay_where_they_are() {
    let hub = Hub::new();
    published(&hub);
    hub.change(NAME, |repository| repository.is_gated = true);
    let project = download("hf://owner/small");
    // The saved token, as `hf auth login` writes it.
    fs::write(hub.home().join("token"), format!("{TOKEN}\n")).unwrap();
    hub.next(&bytes(1, 300_000), &[Mishap::Cut(1000)]);
    hub.run(&project, &[]).exit(0);
    hub.asked();
    hub.engine(&project, &["show", crate::project::FILE, "got"], &[]).exit(0);
    hub.engine(&project, &["history", crate::project::FILE], &[]).exit(0);
    let all = texts(&project.path(""));
    assert!(all.contains("hf://owner/small") && !all.contains(TOKEN) && !all.contains(SIGNATURE));
}

#[test]
fn a_downloaded_model_stands_where_a_model_may_stand() {
    worker();
    let hub = Hub::new();
    let made = tiny::training();
    made.run(&["--until", "base"]).exit(0);
    let names: Vec<String> = made.left("base").into_keys().collect();
    let read: Vec<Vec<u8>> =
        names.iter().map(|name| fs::read(made.path(&format!("outputs/p/base/{name}"))).unwrap()).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(String::as_str).zip(read.iter().map(Vec::as_slice)).collect();
    hub.commit("models/owner/base", "main", &files);
    let pipeline = tiny::DATA.replace("tokenizer: {bpe: {vocabulary: 300}}", "tokenizer: base")
        + &tiny::TRAINING.replace("kind: train\n    resources: {cpu: 1}\n    model: {random", "REST").to_string();
    let (before, behind) = pipeline.split_once("  base:\n").unwrap();
    let behind = behind.split_once("  tuned:\n").unwrap().1;
    let text = format!("{before}  base: {{kind: download, from: 'hf://owner/base'}}\n  tuned:\n{behind}");
    let project = tiny::with_rows(&text);
    let ran = hub.run(&project, &[]);
    ran.exit(0);
    assert_eq!(ran.members("finished").len(), 10, "{:?}", ran.members("finished"));
    // As if it had been trained here.
    made.run(&[]).exit(0);
    assert_eq!(project.left("tuned"), made.left("tuned"));
}

#[test]
fn an_adapter_and_a_part_of_a_download() {
    let hub = Hub::new();
    published(&hub);
    hub.commit(
        "models/owner/adapter",
        "main",
        &[("README.md", b"x"), ("adapter_config.json", b"{}"), ("adapter_model.safetensors", &bytes(4, 2000))],
    );
    let project = download("{parts: {base: 'hf://owner/small', tuned: {hf: {model: owner/adapter}}}}");
    hub.run(&project, &[]).exit(0);
    let names = left(&project);
    assert!(names.contains(&"base/model.safetensors".to_owned()), "{names:?}");
    assert!(
        names.contains(&"tuned/adapter_model.safetensors".to_owned()) && !names.contains(&"tuned/README.md".to_owned())
    );
}

#[test]
fn names_that_lead_elsewhere_are_left_alone() {
    let hub = Hub::new();
    hub.commit(
        NAME,
        "main",
        &[
            ("config.json", b"{}"),
            ("../../../../evil.json", b"x"),
            ("/etc/evil.json", b"x"),
            ("a/../../evil.json", b"x"),
            ("model.safetensors.index.json", br#"{"weight_map": {"a": "../../../../evil.json"}}"#),
        ],
    );
    let project = download("hf://owner/small");
    hub.run(&project, &[]).fails_with(&["`../../../../evil.json`, which is not there"]);
    let project = download("{hf: {model: owner/small, files: ['**']}}");
    hub.run(&project, &[]).exit(0);
    assert_eq!(left(&project), ["config.json", "model.safetensors.index.json"]);
    assert!(!texts(hub.home()).contains("evil.json\u{0}") && !hub.home().join("evil.json").exists());
}

/// A project for other tests: the model of this file.
pub fn small(hub: &Hub) -> (Project, String) {
    let commit = published(hub);
    (download("hf://owner/small"), commit)
}
