//! Any bytes as the pickle of a file of `torch.save` that has two storages.
#![no_main]

use libfuzzer_sys::fuzz_target;

mod looked_at;
#[path = "../../engine/tensor-files/tests/files/zipped.rs"]
mod zipped;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(pickle) = tensor_files::pickle::read(bytes) {
        assert!(pickle.values.len() <= bytes.len());
    }
    let file = zipped::torch_file(bytes, &[("0", &[1; 96]), ("1", &[2; 10])]);
    looked_at::read(&file, tensor_files::read_torch(&file));
});
