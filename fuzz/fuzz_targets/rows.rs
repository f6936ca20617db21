//! Files of rows of any bytes. The first byte says how the file is read.
#![no_main]

use std::fs;

use data::rows::read;
use libfuzzer_sys::fuzz_target;
use spec::stage::Format;

const WAYS: [(&str, &str); 10] = [
    ("a.csv", ""),
    ("a.tsv", ""),
    ("a.csv", "csv: {quoting: none}"),
    ("a.tsv", "tsv: {columns: [a, b], short_rows: fill, long_rows: cut}"),
    ("a.json", ""),
    ("a.jsonl", ""),
    ("a.json", "squad"),
    ("a", ""),
    ("a.parquet", ""),
    ("a.jsonl.gz", ""),
];

fuzz_target!(|bytes: &[u8]| {
    let Some((way, bytes)) = bytes.split_first() else { return };
    let (name, format) = WAYS[usize::from(*way) % WAYS.len()];
    let format: Option<Format> = (!format.is_empty()).then(|| serde_yaml::from_str(format).expect("a format"));
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("a file");
    match read(&path, format.as_ref(), &mut |warning| assert!(!warning.is_empty())) {
        Ok(rows) => {
            serde_json::to_vec(&rows).expect("rows are JSON");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
