//! Models whose weights are `pytorch_model.bin`: the same model as of safetensors, and nothing run.

use std::path::Path;

use crate::fixtures::golden;
use learn::adapters::Frozen;
use learn::models::{Model, Task};
use tch::{Device, Kind, Tensor};

fn expected(name: &str) -> Vec<(String, Tensor)> {
    Tensor::read_safetensors(golden("torch_files/model").join(name)).unwrap()
}

fn load(folder: &Path) -> Result<Model, learn::Error> {
    Model::load(folder, &Frozen, 0, Device::Cpu)
}

#[test]
fn each_way_of_writing_is_the_same_model() {
    let expected = expected("expected.safetensors");
    for (way, kind) in [
        ("tied", Kind::Float),
        ("parameters", Kind::Float),
        ("transposed", Kind::Float),
        ("sliced", Kind::Float),
        ("one_storage", Kind::Float),
        ("protocol_4", Kind::Float),
        ("no_checksums", Kind::Float),
        ("sharded", Kind::Float),
        ("bf16", Kind::BFloat16),
        ("f16", Kind::Half),
    ] {
        let model = load(&golden("torch_files/model").join(way)).unwrap();
        for (name, tensor) in &expected {
            let found = model.frozen.get(name).unwrap();
            assert_eq!(found.kind(), Kind::Float, "{way}: {name}");
            assert!(found.is_contiguous(), "{way}: {name}");
            assert!(found.equal(&tensor.to_kind(kind).to_kind(Kind::Float)), "{way}: {name}");
            assert_eq!(found.equal(tensor), kind == Kind::Float, "{way}: {name}");
        }
    }
}

#[test]
fn an_old_bert_is_read_as_it_was_published() {
    let task = Task::SequenceClassification { labels: 2 };
    let folder = golden("torch_files/model/old_bert");
    let model = Model::load_for(task, &folder, &Frozen, 0, Device::Cpu).unwrap();
    for (name, tensor) in expected("old_bert.safetensors") {
        assert!(model.frozen.get(&format!("bert.{name}")).unwrap().equal(&tensor), "{name}");
    }
}

#[test]
fn a_pickle_that_wants_to_run_something_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let put =
        |from: &str, to: &str| assert!(std::fs::copy(golden("torch_files").join(from), folder.path().join(to)).is_ok());
    put("model/tied/config.json", "config.json");
    put("bad/os_system.bin", "pytorch_model.bin");
    let error = load(folder.path()).unwrap_err();
    assert!(error.to_string().contains("pytorch_model.bin: the pickle wants `posix.system`: refused"), "{error}");
    assert!(error.hint().unwrap().contains("take model.safetensors"));
    assert!(!Path::new("hacked").exists());
    // Readable weights beside it are read.
    put("model/expected.safetensors", "model.safetensors");
    load(folder.path()).unwrap();

    put("bad/legacy.bin", "pytorch_model.bin");
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let error = load(folder.path()).unwrap_err();
    assert!(error.to_string().contains("before 1.6") && error.hint().unwrap().contains("torch.save"), "{error}");
}

#[test]
fn shards_that_contradict_the_configuration_or_are_cut_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let way = golden("torch_files/model/sharded");
    for entry in std::fs::read_dir(&way).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    crate::fixtures::change_json(&folder.path().join("config.json"), |config| config["vocab_size"] = 30.into());
    let error = load(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("pytorch_model-0000") && error.contains("has shape [29, 16], config.json asks for [30, 16]"),
        "{error}"
    );

    let shard = folder.path().join("pytorch_model-00002-of-00002.bin");
    let bytes = std::fs::read(&shard).unwrap();
    std::fs::write(&shard, &bytes[..bytes.len() - 2]).unwrap();
    let error = load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("pytorch_model-00002-of-00002.bin: is a damaged zip"), "{error}");
    std::fs::remove_file(&shard).unwrap();
    let error = load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("pytorch_model-00002-of-00002.bin: this shard is not there"), "{error}");
}
