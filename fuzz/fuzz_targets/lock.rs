//! A lock file of any bytes. What is read is read again from what is written of it.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use plan::lockfile::LockFile;

fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("p.lock.yaml");
    match LockFile::parse(path, bytes.to_vec()) {
        Ok(lock) => {
            let text = lock.text(path).expect("what was read can be written");
            let again = LockFile::parse(path, text.clone().into_bytes()).expect("what was written can be read");
            assert_eq!(again.text(path).expect("so can this"), text);
        }
        Err(error) => assert!(!error.to_string().is_empty() && !error.hint().is_empty()),
    }
});
