//! A `tokenizer.json` of any bytes; what follows the first three zero bytes is the `tokenizer_config.json` beside it. What
//! becomes a tokenizer encodes and decodes texts.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;

mod asked;

fuzz_target!(|bytes: &[u8]| {
    let end = bytes.windows(3).position(|three| three == [0; 3]);
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    fs::write(folder.path().join("tokenizer.json"), &bytes[..end.unwrap_or(bytes.len())]).expect("a file");
    if let Some(end) = end {
        fs::write(folder.path().join("tokenizer_config.json"), &bytes[end + 3..]).expect("a file");
    }
    asked::all(folder.path());
});
