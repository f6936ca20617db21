//! The files of older tokenizers of any bytes. The first byte says which file; what follows the first three zero bytes is
//! the file beside it. What becomes a tokenizer encodes and decodes texts.
#![no_main]

use std::fs;

use libfuzzer_sys::fuzz_target;

mod asked;

const FILES: [(&str, &str); 6] = [
    ("tokenizer.model", "tokenizer_config.json"),
    ("spiece.model", "added_tokens.json"),
    ("vocab.json", "merges.txt"),
    ("vocab.txt", "tokenizer_config.json"),
    ("sentencepiece.bpe.model", "special_tokens_map.json"),
    ("vocab.txt", "special_tokens_map.json"),
];

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let (first, second) = FILES[usize::from(*kind) % FILES.len()];
    let end = bytes.windows(3).position(|three| three == [0; 3]);
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    fs::write(folder.path().join(first), &bytes[..end.unwrap_or(bytes.len())]).expect("a file");
    if let Some(end) = end {
        fs::write(folder.path().join(second), &bytes[end + 3..]).expect("a file");
    }
    asked::all(folder.path());
});
