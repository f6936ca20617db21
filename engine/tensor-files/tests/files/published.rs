//! What real torch wrote, in each of its ways.

use std::collections::BTreeMap;

use tensor_files::{Dtype, Stored, WeightFiles, read_safetensors, read_torch};

use crate::{golden, values};

fn expected(name: &str) -> BTreeMap<String, Vec<f32>> {
    let file = std::fs::read(golden("model").join(name)).unwrap();
    let tensors = read_safetensors(&file).unwrap().tensors;
    tensors.iter().map(|(name, stored)| (name.clone(), values(stored, &file, 1 << 18))).collect()
}

fn written(way: &str) -> (Vec<u8>, BTreeMap<String, Stored>) {
    let file = std::fs::read(golden("model").join(way).join("pytorch_model.bin")).unwrap();
    let tensors = read_torch(&file).unwrap();
    (file, tensors)
}

#[test]
fn every_way_of_writing_gives_the_same_numbers() {
    let expected = expected("expected.safetensors");
    for way in ["tied", "parameters", "transposed", "sliced", "one_storage", "protocol_4", "no_checksums"] {
        let (file, tensors) = written(way);
        for (name, numbers) in &expected {
            for most in [4, 60, 1000, 1 << 18] {
                assert_eq!(&values(&tensors[name], &file, most), numbers, "{way}: {name} in parts of {most}");
            }
        }
        let tied = usize::from(way == "tied");
        assert_eq!(tensors.len(), expected.len() + tied, "{way}");
    }
    let (file, tensors) = written("tied");
    assert_eq!(tensors["lm_head.weight"], tensors["model.embed_tokens.weight"]);
    assert_eq!(values(&tensors["lm_head.weight"], &file, 64), expected["model.embed_tokens.weight"]);
    assert!(!written("transposed").1["model.embed_tokens.weight"].is_contiguous());
    assert!(!written("sliced").1["model.norm.weight"].is_contiguous());
    assert!(written("one_storage").1["model.embed_tokens.weight"].is_contiguous());
}

#[test]
fn an_old_bert_has_positions_that_are_no_weights() {
    let expected = expected("old_bert.safetensors");
    let (file, tensors) = written("old_bert");
    assert_eq!(tensors["embeddings.position_ids"].dtype, Dtype::Other("I64"));
    assert_eq!(tensors["embeddings.position_ids"].shape, [1, 32]);
    let refused = tensors["embeddings.position_ids"].parts(&file, 64).unwrap_err();
    assert_eq!(refused.problem, "is stored as I64");
    for (name, numbers) in &expected {
        let old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
        assert_eq!(&values(&tensors[&old], &file, 1 << 18), numbers, "{name}");
    }
}

#[test]
fn shards_are_joined_and_safetensors_come_first() {
    let all = expected("expected.safetensors");
    let shards = WeightFiles::open(&golden("model/sharded")).unwrap();
    assert!(shards.names().eq(all.keys().map(String::as_str)));
    let ends: Vec<bool> =
        shards.names().map(|name| shards.holder(name).unwrap().path().to_string_lossy().contains("00001-of")).collect();
    assert!(ends.contains(&true) && ends.contains(&false));

    let folder = tempfile::tempdir().unwrap();
    let put = |from: &str, to: &str| assert!(std::fs::copy(golden("model").join(from), folder.path().join(to)).is_ok());
    put("tied/pytorch_model.bin", "pytorch_model.bin");
    let path = |name: &str| WeightFiles::open(folder.path()).unwrap().holder(name).map(|file| file.path().to_owned());
    assert!(path("lm_head.weight").unwrap().ends_with("pytorch_model.bin"));
    put("expected.safetensors", "model.safetensors");
    assert!(path("model.norm.weight").unwrap().ends_with("model.safetensors"));
    assert_eq!(path("lm_head.weight"), None);
}
