//! Text files that are compressed with gzip. Knows how much a small file may become.

use std::{
    io::{Read, Take},
    path::Path,
};

use flate2::read::MultiGzDecoder;

use super::size;
use crate::Error;

/// Up to this size a file may be unpacked whatever its compression.
const SMALL: u64 = 256 << 20;
/// Above it, a file may become this many times as large: text shrinks to a third or a tenth, a bomb to a thousandth.
const RATIO: u64 = 200;

/// Whether bytes begin as gzip does.
pub(super) fn is_packed(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1F, 0x8B])
}

/// Unpacks a file.
pub(super) fn unpack(path: &Path, packed: &[u8]) -> Result<Vec<u8>, Error> {
    unpack_at_most(path, packed, most(packed.len() as u64, SMALL))
}

/// How many bytes a packed file may become.
fn most(packed: u64, small: u64) -> u64 {
    packed.saturating_mul(RATIO).max(small)
}

fn unpack_at_most(path: &Path, packed: &[u8], most: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mut reader: Take<_> = MultiGzDecoder::new(packed).take(most.saturating_add(1));
    reader.read_to_end(&mut bytes).map_err(|error| {
        Error::new(format!("this gzip file cannot be unpacked: {error}"))
            .in_file(path)
            .hint("was it cut while it was written or downloaded?")
    })?;
    if bytes.len() as u64 > most {
        let (before, after) = (size(packed.len()), size(usize::try_from(most).unwrap_or(usize::MAX)));
        return Err(Error::new(format!("this gzip file of {before} holds more than {after}"))
            .in_file(path)
            .hint("if it is really so large, unpack it yourself"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn files_that_follow_each_other_are_one() {
        let both = [packed(b"a\n"), packed(b"b\n")].concat();
        assert_eq!(unpack(Path::new("x.gz"), &both).unwrap(), b"a\nb\n");
    }

    #[test]
    fn a_bomb_and_a_cut_file_are_refused() {
        let bomb = packed(&vec![b'a'; 1 << 20]);
        let error = unpack_at_most(Path::new("x.gz"), &bomb, most(bomb.len() as u64, 1000)).unwrap_err();
        assert!(error.message.contains("holds more than"), "{error}");
        assert_eq!(unpack(Path::new("x.gz"), &bomb).unwrap().len(), 1 << 20);
        let error = unpack(Path::new("x.gz"), &bomb[..bomb.len() / 2]).unwrap_err();
        assert!(error.hint.unwrap().contains("was it cut"));
    }
}
