//! Writes zips whose entries are stored, as `torch.save` does, and as it never would.

/// A zip of stored entries; without checksums, as torch may write it.
pub fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    zip_of(entries, 0, 0)
}

/// The same with entries of another method, whose headers lie `shift` bytes after the place that is told.
pub fn zip_of(entries: &[(&str, &[u8])], method: u16, shift: u32) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in entries {
        let start = file.len() as u32 - shift.min(file.len() as u32);
        let mut both = vec![20, 0, 0, 0];
        both.extend(method.to_le_bytes());
        both.extend([0; 8]);
        both.extend((bytes.len() as u32).to_le_bytes());
        both.extend((bytes.len() as u32).to_le_bytes());
        both.extend((name.len() as u16).to_le_bytes());
        both.extend([0, 0]);
        file.extend(b"PK\x03\x04");
        file.extend(&both);
        file.extend(name.as_bytes());
        file.extend_from_slice(bytes);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&both);
        directory.extend([0; 10]);
        directory.extend(start.to_le_bytes());
        directory.extend(name.as_bytes());
    }
    let start = file.len() as u32;
    let count = (entries.len() as u16).to_le_bytes();
    file.extend(&directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend([count, count].concat());
    file.extend((directory.len() as u32).to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend([0, 0]);
    file
}

/// A whole file of one pickle and its storages.
pub fn torch_file(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let names: Vec<String> = storages.iter().map(|(key, _)| format!("m/data/{key}")).collect();
    let mut entries: Vec<(&str, &[u8])> = vec![("m/data.pkl", pickle), ("m/byteorder", b"little")];
    entries.extend(names.iter().zip(storages).map(|(name, (_, bytes))| (name.as_str(), *bytes)));
    zip(&entries)
}
