//! safetensors and indices of shards that are damaged, or lie.

use std::path::Path;

use serde_json::{Value, json};
use tensor_files::{Index, WeightFiles, read_safetensors};

use crate::golden;
use crate::{writer::Pickle, zipped::torch_file};

fn file(header: &Value, data: usize) -> Vec<u8> {
    with_header(&header.to_string(), data)
}

fn with_header(header: &str, data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat()
}

fn told(file: &[u8]) -> String {
    let damage = read_safetensors(file).unwrap_err();
    assert!(!damage.hint.is_empty());
    damage.problem
}

fn tensor(dtype: &str, shape: &[u64], offsets: [u64; 2]) -> Value {
    json!({"dtype": dtype, "shape": shape, "data_offsets": offsets})
}

#[test]
fn headers_that_lie_are_refused() {
    assert_eq!(read_safetensors(&file(&json!({"a": tensor("BF16", &[2, 3], [0, 12])}), 12)).unwrap().tensors.len(), 1);
    let cases = [
        (json!({"a": tensor("BF16", &[2, 3], [0, 24])}), 24, "shape does not fit its number of bytes"),
        (json!({"a": tensor("BF16", &[2, 3], [12, 0])}), 12, "the place of the tensor `a`"),
        (json!({"a": tensor("BF16", &[2, 3], [4, 16])}), 16, "the place of the tensor `a`"),
        (
            json!({"a": tensor("F32", &[3], [0, 12]), "b": tensor("F32", &[2], [8, 16])}),
            16,
            "the place of the tensor `b`",
        ),
        (json!({"a": tensor("F32", &[3], [0, 12]), "b": tensor("F32", &[3], [0, 12])}), 12, "the place of the tensor"),
        (json!({"a": tensor("F32", &[3], [0, 12])}), 11, "shorter or longer than its header says"),
        (json!({"a": tensor("F32", &[3], [0, 12])}), 13, "shorter or longer than its header says"),
        (json!({"a": tensor("F32", &[u64::MAX, 2], [0, 12])}), 12, "shape does not fit its number of bytes"),
        (json!({"a": tensor("F32", &[u64::MAX], [0, u64::MAX])}), 12, "shape does not fit its number of bytes"),
        (json!({"a": tensor("F99", &[3], [0, 12])}), 12, "is no valid safetensors file"),
        (json!({"a": {"dtype": "F32", "shape": [-3], "data_offsets": [0, 12]}}), 12, "is no valid safetensors file"),
        (json!({"a": {"dtype": "F32", "shape": [3]}}), 12, "is no valid safetensors file"),
        (json!([1, 2]), 0, "is no valid safetensors file"),
    ];
    for (header, data, expected) in cases {
        let text = told(&file(&header, data));
        assert!(text.contains(expected), "{header}: {text}");
    }
    // One name twice: the bytes of one of them belong to none.
    let one = |offsets: &str| format!(r#""a":{{"dtype":"F32","shape":[1],"data_offsets":{offsets}}}"#);
    assert!(
        told(&with_header(&format!("{{{},{}}}", one("[0,4]"), one("[4,8]")), 8))
            .contains("the place of the tensor `a`")
    );
    assert!(told(&with_header(&"[".repeat(100_000), 0)).contains("is no valid safetensors file"));
    assert!(told(&[&u64::MAX.to_le_bytes(), b"{}".as_slice()].concat()).contains("claims more than 100 MB"));
    assert!(told(&[&(50u64 << 20).to_le_bytes(), b"{}".as_slice()].concat()).contains("ends inside its header"));
    assert!(told(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n").contains("pointer of Git LFS"));
    assert!(told(b"<!DOCTYPE html><html>").contains("is a web page"));
}

#[test]
fn every_cut_and_every_changed_byte_is_survived() {
    let file = std::fs::read(golden("model/expected.safetensors")).unwrap();
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    for cut in (0..file.len()).step_by(11).chain([file.len() - 1]) {
        told(&file[..cut]);
    }
    let mut changed = file.clone();
    for at in 0..length + 8 {
        for bits in [0x01, 0x10, 0x80, 0xff] {
            changed[at] = file[at] ^ bits;
            if let Ok(header) = read_safetensors(&changed) {
                for stored in header.tensors.values() {
                    assert!(stored.parts(&changed, 64).map_or(true, |mut parts| parts.all(|part| part.is_ok())));
                }
            }
        }
        changed[at] = file[at];
    }
}

/// What is said of a folder with this index and these shards, each of one tensor.
fn folder(index: &str, shards: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pytorch_model.bin.index.json"), index).unwrap();
    for (shard, tensor) in shards {
        let pickle = Pickle::new().map().text(tensor).tensor("0", 1, 0, &[1], &[1]).raw(b"s").end();
        std::fs::write(folder.path().join(shard), torch_file(&pickle, &[("0", &[0; 4])])).unwrap();
    }
    match WeightFiles::open(folder.path()) {
        Ok(files) => format!("{} tensors", files.names().count()),
        Err(error) => error.to_string().replace(&folder.path().display().to_string(), "MODEL"),
    }
}

#[test]
fn an_index_and_its_shards_must_agree() {
    let index = |map: Value| json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string();
    let (both, shards) = (json!({"a": "1.bin", "b": "2.bin"}), [("1.bin", "a"), ("2.bin", "b")]);
    assert_eq!(folder(&index(both.clone()), &shards), "2 tensors");
    let text = folder(&index(both.clone()), &shards[..1]);
    assert_eq!(text, "MODEL/2.bin: this shard is not there, pytorch_model.bin.index.json names it");
    let text = folder(&index(both.clone()), &[("1.bin", "a"), ("2.bin", "a")]);
    assert!(
        text.starts_with("MODEL/2.bin: holds the tensor `a`, ") && text.ends_with("places it in `1.bin`"),
        "{text}"
    );
    let text = folder(&index(json!({"a": "1.bin", "b": "1.bin"})), &shards);
    assert!(text.starts_with("MODEL/1.bin: has no tensor `b`"), "{text}");
    let text = folder(&index(json!({"b": "2.bin", "x": "1.bin"})), &shards);
    assert!(text.starts_with("MODEL/1.bin: holds the tensor `a`") && text.ends_with("places it nowhere"), "{text}");
    for outside in ["../1.bin", "/etc/passwd", "sub/1.bin", "..", "", ".", "a\\b", "1.bin\0"] {
        let text = folder(&index(json!({"a": outside})), &shards);
        assert!(text.contains("which is not a file of this folder"), "{outside}: {text}");
    }
    let text = folder(r#"{"weight_map": {"a": "1.bin", "b": "2.bin", "a": "2.bin"}}"#, &shards);
    assert!(text.contains("`a` stands there twice, first in `1.bin`"), "{text}");
    assert!(folder("{}", &shards).contains("missing field `weight_map`"));
    assert!(folder(&"[".repeat(100_000), &shards).contains("is no valid index of shards"));
    assert!(Index::read(b"\xff").is_err());
    // A shard that wants something run is named.
    let evil = tempfile::tempdir().unwrap();
    std::fs::write(evil.path().join("pytorch_model.bin.index.json"), index(json!({"a": "1.bin"}))).unwrap();
    std::fs::copy(golden("bad/os_system.bin"), evil.path().join("1.bin")).unwrap();
    let text = WeightFiles::open(evil.path()).unwrap_err().to_string();
    assert!(text.contains("1.bin: the pickle wants `posix.system`: refused"), "{text}");
    assert!(!Path::new("hacked").exists());
}

#[test]
fn a_folder_without_weights_says_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let told = |folder: &Path| WeightFiles::open(folder).unwrap_err().to_string();
    assert!(told(folder.path()).contains("has neither model.safetensors nor pytorch_model.bin"));
    std::fs::write(folder.path().join("tf_model.h5"), "x").unwrap();
    assert!(told(folder.path()).contains("`tf_model.h5` cannot be read"));
    assert!(told(&folder.path().join("none")).contains("there is no such folder"));
}
