//! Any bytes as a safetensors file, as the header of one, and as an index of shards.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tensor_files::{Index, read_safetensors};

mod looked_at;

fuzz_target!(|bytes: &[u8]| {
    looked_at::read(bytes, read_safetensors(bytes).map(|header| header.tensors));
    let length = bytes.len() as u64;
    for data in [0, 12, 96] {
        let file = [&length.to_le_bytes(), bytes, &vec![0; data]].concat();
        looked_at::read(&file, read_safetensors(&file).map(|header| header.tensors));
    }
    match Index::read(bytes) {
        Ok(index) => assert!(index.shards().iter().all(|shard| !shard.contains('/') && *shard != "..")),
        Err(damage) => assert!(!damage.problem.is_empty() && !damage.hint.is_empty()),
    }
});
