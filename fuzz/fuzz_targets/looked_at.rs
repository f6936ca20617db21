//! What must hold of every file of tensors, whatever its bytes.

use std::collections::BTreeMap;

use tensor_files::{Damage, Stored};

/// Reads all tensors in small parts: together they have as many numbers as the shape says, and no more than the file.
pub fn read(file: &[u8], tensors: Result<BTreeMap<String, Stored>, Damage>) {
    let tensors = match tensors {
        Ok(tensors) => tensors,
        Err(damage) => {
            assert!(!damage.hint.is_empty() && !damage.problem.is_empty() && damage.problem.len() < 1000);
            return;
        }
    };
    for stored in tensors.values() {
        let Ok(parts) = stored.parts(file, 16) else { continue };
        let size = stored.dtype.size().expect("numbers of a kind that is read");
        let elements = stored.elements().expect("a shape that can be counted");
        assert!(elements * size <= file.len());
        let mut read = 0;
        for part in parts {
            let part = part.expect("what was checked lies in the file");
            assert_eq!(part.bytes.len(), part.shape.iter().product::<usize>() * size);
            assert!(part.bytes.len() <= 16);
            read += part.bytes.len();
        }
        assert_eq!(read, elements * size);
    }
}
