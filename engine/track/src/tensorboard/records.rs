//! The framing of an event file: a length, the bytes, and a checksum of each. Knows no event.
//!
//! TFRecord, as tensorflow/core/lib/io/record_writer.h describes it: CRC-32C, rotated and shifted so that a checksum of
//! checksums says something.

/// What is added to a rotated checksum.
const MASK_DELTA: u32 = 0xa282_ead8;

fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(MASK_DELTA)
}

/// Appends one record.
pub fn write(out: &mut Vec<u8>, record: &[u8]) {
    let length = (record.len() as u64).to_le_bytes();
    out.extend(length);
    out.extend(masked(&length).to_le_bytes());
    out.extend(record);
    out.extend(masked(record).to_le_bytes());
}

/// How many of these bytes are whole, sound records.
pub fn whole(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(length) = sound(&bytes[at..]) {
        at += length;
    }
    at
}

/// The length of the first record with its frame, if it is whole and sound.
fn sound(bytes: &[u8]) -> Option<usize> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (check, rest) = rest.split_first_chunk::<4>()?;
    let size = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let record = rest.get(..size)?;
    let (of_record, _) = rest.get(size..)?.split_first_chunk::<4>()?;
    let is_sound = u32::from_le_bytes(*check) == masked(length) && u32::from_le_bytes(*of_record) == masked(record);
    is_sound.then_some(8 + 4 + size + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_or_altered_record_is_not_whole() {
        let mut bytes = Vec::new();
        write(&mut bytes, b"one");
        let first = bytes.len();
        write(&mut bytes, b"second");
        assert_eq!(whole(&bytes), bytes.len());
        for cut in first..bytes.len() {
            assert_eq!(whole(&bytes[..cut]), first, "{cut}");
        }
        bytes[first + 13] ^= 1;
        assert_eq!(whole(&bytes), first);
    }
}
