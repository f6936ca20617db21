//! The table of a SentencePiece model that says which characters are rewritten: a double-array trie (darts-clone) over
//! UTF-8 bytes, and the texts it leads to. Whoever reads it trusts every index, so here it is walked whole, once.

/// Whether every index that a text can lead to lies within the table. The error says what is wrong.
pub(super) fn check(table: &[u8]) -> Result<(), String> {
    let (length, rest) = table.split_at_checked(4).ok_or("its table of characters is cut")?;
    let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
    let (trie, texts) = rest.split_at_checked(length / 4 * 4).ok_or("its table of characters is cut")?;
    let texts = std::str::from_utf8(texts).map_err(|_| "the texts of its table of characters are not UTF-8")?;
    let units: Vec<u32> =
        trie.chunks_exact(4).map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]])).collect();
    let outside = || "its table of characters leads outside itself".to_owned();
    let unit = |place: usize| units.get(place).copied().ok_or_else(outside);
    // From where the children of a unit are counted.
    let base = |place: usize, unit: u32| place ^ ((unit as usize >> 10) << ((unit & (1 << 9)) >> 6));
    let first = base(0, unit(0)?);
    let mut seen = vec![false; units.len()];
    let mut open = vec![first];
    while let Some(above) = open.pop() {
        for byte in 1..=255 {
            let place = above ^ byte;
            let child = unit(place)?;
            // The highest bit marks a value, which is no child.
            if child & (1 << 31 | 0xFF) != byte as u32 || std::mem::replace(&mut seen[place], true) {
                continue;
            }
            let below = base(place, child);
            if child >> 8 & 1 == 1 {
                let text = (unit(below)? & !(1 << 31)) as usize;
                if !texts.is_char_boundary(text) {
                    return Err("its table of characters names a text that it does not hold".into());
                }
            }
            open.push(below);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table that rewrites `a` to a text at `text`, whose children are counted from `base`.
    fn table(base: u32, text: u32, units: usize) -> Vec<u8> {
        let mut trie = vec![0_u32; units];
        trie[0] = 256 << 10;
        let place = (256 ^ u32::from(b'a')) as usize;
        trie[place] = (place as u32 ^ base) << 10 | 1 << 8 | u32::from(b'a');
        if let Some(value) = trie.get_mut(base as usize) {
            *value = 1 << 31 | text;
        }
        let mut bytes = (units as u32 * 4).to_le_bytes().to_vec();
        bytes.extend(trie.into_iter().flat_map(u32::to_le_bytes));
        bytes.extend("é\0".as_bytes());
        bytes
    }

    #[test]
    fn only_a_table_that_stays_within_itself_is_taken() {
        let good = table(512, 0, 1024);
        assert_eq!(check(&good), Ok(()));
        let map = tokenizers::normalizers::precompiled::Precompiled::from(&good).unwrap();
        assert_eq!(map.normalize_string("ab"), "éb");
        assert!(check(&table(4096, 0, 1024)).unwrap_err().contains("outside"));
        assert!(check(&table(512, 0, 512)).unwrap_err().contains("outside"));
        assert!(check(&table(512, 1, 1024)).unwrap_err().contains("does not hold"), "within a character");
        assert!(check(&table(512, 99, 1024)).unwrap_err().contains("does not hold"));
        assert!(check(&good[..100]).is_err());
        assert!(check(b"ab").is_err());
        assert!(check(&[0, 0, 0, 0]).is_err());
    }
}
