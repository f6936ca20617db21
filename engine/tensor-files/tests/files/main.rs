//! Files of real torch against the same numbers as safetensors, and files that lie: an error that names what is wrong, and
//! never a panic, a large allocation or a run of anything.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod damaged;
mod hostile;
mod published;
mod writer;
mod zipped;

use std::path::{Path, PathBuf};

use tensor_files::Stored;

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/torch_files").join(path)
}

/// The numbers of a float32 tensor, the last dimension first, put together of parts of `most` bytes.
fn values(stored: &Stored, file: &[u8], most: usize) -> Vec<f32> {
    let parts = stored.parts(file, most).unwrap();
    let lengths = match parts.order() {
        Some(_) => stored.shape.clone(),
        None => vec![stored.elements().unwrap()],
    };
    let order = parts.order().map_or_else(|| vec![0], <[usize]>::to_vec);
    let mut found = vec![f32::NAN; stored.elements().unwrap()];
    for part in parts {
        let part = part.unwrap();
        let mut number = part.bytes.chunks_exact(4);
        let mut at = vec![0; part.shape.len()];
        'block: loop {
            let mut place = vec![0; lengths.len()];
            for (own, &dimension) in order.iter().enumerate().take(at.len()) {
                place[dimension] = part.at[own] + at[own];
            }
            let place = place.iter().zip(&lengths).fold(0, |flat, (index, length)| flat * length + index);
            found[place] = f32::from_le_bytes(number.next().unwrap().try_into().unwrap());
            for dimension in (0..at.len()).rev() {
                at[dimension] += 1;
                if at[dimension] < part.shape[dimension] {
                    continue 'block;
                }
                at[dimension] = 0;
            }
            break;
        }
        assert!(number.next().is_none());
    }
    found
}

impl writer::Pickle {
    /// A view of a storage of float32 numbers.
    fn tensor(self, key: &str, length: i64, offset: i64, shape: &[i64], strides: &[i64]) -> Self {
        self.view(|pickle| pickle.storage("FloatStorage", key, length), offset, shape, strides)
    }
}
