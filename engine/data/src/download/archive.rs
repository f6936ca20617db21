//! Archives (zip, tar, tar with gzip) unpacked into a folder, and nowhere else. Knows what an archive may not do: name a
//! place outside, hold links, or become endlessly large.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;
use spec::job::Event;
use zip::ZipArchive;

use crate::{Error, job::Events};

/// What an archive may become.
#[derive(Clone, Copy)]
struct Limits {
    /// Files in it.
    files: usize,
    /// Bytes in all, whatever its own size.
    small: u64,
    /// Above that, its own size so many times.
    ratio: u64,
}

const LIMITS: Limits = Limits { files: 200_000, small: 1 << 30, ratio: 200 };

/// How an archive is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Zip,
    Tar,
    TarGz,
}

impl Kind {
    /// The kind that a file's name says; nothing for a file that is no archive.
    pub(super) fn of(name: &Path) -> Option<Self> {
        let name = name.file_name()?.to_str()?.to_ascii_lowercase();
        let endings = [(".zip", Self::Zip), (".tar", Self::Tar), (".tar.gz", Self::TarGz), (".tgz", Self::TarGz)];
        endings.into_iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, kind)| kind)
    }
}

/// Unpacks an archive into a folder that holds nothing else of these names.
///
/// # Errors
/// When it is damaged, holds no file, or would do what no archive may.
pub(super) fn unpack(archive: &Path, kind: Kind, result: &Path, events: Events<'_>) -> Result<(), Error> {
    let file = File::open(archive).map_err(|error| Error::io("read", archive, &error))?;
    unpack_within(archive, file, kind, result, LIMITS, events)
}

/// Unpacks the archive that a file of the result is, in its place.
///
/// # Errors
/// As [`unpack`].
pub(super) fn unpack_in_place(archive: &Path, kind: Kind, result: &Path, events: Events<'_>) -> Result<(), Error> {
    let file = File::open(archive).map_err(|error| Error::io("read", archive, &error))?;
    // It stays readable while it is open; its name is free for what is in it.
    fs::remove_file(archive).map_err(|error| Error::io("remove", archive, &error))?;
    unpack_within(archive, file, kind, result, LIMITS, events)
}

fn unpack_within(
    archive: &Path,
    file: File,
    kind: Kind,
    result: &Path,
    limits: Limits,
    events: Events<'_>,
) -> Result<(), Error> {
    let length = file.metadata().map_err(|error| Error::io("read", archive, &error))?.len();
    let mut target = Target {
        archive,
        result,
        limits,
        left: length.saturating_mul(limits.ratio).max(limits.small),
        files: 0,
        folders: HashSet::new(),
        events,
    };
    match kind {
        Kind::Zip => zip(file, &mut target)?,
        Kind::Tar => tar(BufReader::new(file), &mut target)?,
        Kind::TarGz => {
            // What the reader of tar keeps in memory, such as long names, counts too.
            let most = target.left.saturating_add(length);
            tar(MultiGzDecoder::new(BufReader::new(file)).take(most), &mut target)?;
        }
    }
    match target.files {
        0 => Err(Error::new("the archive holds no file").in_file(archive).hint("check what it is")),
        _ => Ok(()),
    }
}

fn zip(file: File, target: &mut Target<'_>) -> Result<(), Error> {
    let archive = target.archive;
    let broken = |error: zip::result::ZipError| damaged(archive, &error.to_string());
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(broken)?;
    let total = zip.len();
    if total > target.limits.files {
        return Err(target.too_many(total));
    }
    for number in 0..total {
        let mut entry = zip.by_index(number).map_err(broken)?;
        let name = entry.name().map_err(broken)?.into_owned();
        let kind = entry.unix_mode().unwrap_or_default() & 0o170_000;
        if entry.is_symlink() || !matches!(kind, 0 | 0o100_000 | 0o040_000) {
            return Err(target.no_file(&name));
        }
        if entry.is_dir() {
            target.check(&name)?;
        } else {
            target.write(&name, &mut entry)?;
        }
        target.say(number + 1, total, &name);
    }
    Ok(())
}

fn tar(reader: impl Read, target: &mut Target<'_>) -> Result<(), Error> {
    let archive = target.archive;
    let broken = |error: io::Error| damaged(archive, &error.to_string());
    let mut tar = ::tar::Archive::new(reader);
    for (number, entry) in tar.entries().map_err(broken)?.enumerate() {
        if number >= target.limits.files {
            return Err(target.too_many(number + 1));
        }
        let mut entry = entry.map_err(broken)?;
        let name = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|error| damaged(archive, &format!("a name is not UTF-8: {}", error.utf8_error())))?;
        let kind = entry.header().entry_type();
        if kind.is_pax_global_extensions() {
            continue;
        }
        if kind.is_dir() {
            target.check(&name)?;
        } else if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() {
            target.write(&name, &mut entry)?;
        } else {
            return Err(target.no_file(&name));
        }
        target.say(number + 1, 0, &name);
    }
    Ok(())
}

fn damaged(archive: &Path, error: &str) -> Error {
    Error::new(format!("this archive cannot be unpacked: {error}"))
        .in_file(archive)
        .hint("was it cut while it was downloaded? if your own tools can unpack it, do so and name the folder")
}

/// The folder that files are written to, and how much may still come.
struct Target<'a> {
    archive: &'a Path,
    result: &'a Path,
    limits: Limits,
    left: u64,
    files: usize,
    folders: HashSet<PathBuf>,
    events: Events<'a>,
}

impl Target<'_> {
    fn refused(&self, name: &str, why: &str) -> Error {
        Error::new(format!("the entry `{}` {why}", name.escape_debug()))
            .in_file(self.archive)
            .hint("nothing was kept; if you trust the archive, unpack it yourself and name the folder")
    }

    fn no_file(&self, name: &str) -> Error {
        self.refused(name, "is a link or a device, and only files and folders are unpacked")
    }

    fn too_many(&self, found: usize) -> Error {
        Error::new(format!("the archive holds {found} entries or more, and {} are allowed", self.limits.files))
            .in_file(self.archive)
            .hint("unpack it yourself and name the folder")
    }

    fn say(&self, done: usize, total: usize, name: &str) {
        if done == total || done % 64 == 1 {
            let (done, total) = (done as u64, total as u64);
            (self.events)(Event::Progress { done, total, unit: "files".into(), note: name.to_owned() });
        }
    }

    /// The path of an entry below the result; nothing for what other systems put beside the files.
    fn check(&self, name: &str) -> Result<Option<PathBuf>, Error> {
        if name.starts_with('/') || name.contains(['\\', '\0']) || name.split('/').any(|part| part == "..") {
            return Err(self.refused(name, "leads out of the folder it is unpacked into"));
        }
        if name.split('/').next().is_some_and(|first| first.len() == 2 && first.ends_with(':')) {
            return Err(self.refused(name, "names a drive"));
        }
        let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return Ok(None) };
        if *first == "__MACOSX" || *last == ".DS_Store" {
            return Ok(None);
        }
        Ok(Some(parts.iter().collect()))
    }

    fn write(&mut self, name: &str, contents: &mut impl Read) -> Result<(), Error> {
        let Some(below) = self.check(name)? else { return Ok(()) };
        let path = self.result.join(&below);
        if let Some(folder) = path.parent()
            && self.folders.insert(folder.to_path_buf())
        {
            fs::create_dir_all(folder).map_err(|error| self.unwritable(name, folder, &error))?;
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| self.unwritable(name, &path, &error))?;
        let written = copy(contents, &mut file, self.left).map_err(|failed| match failed {
            Failed::Reading(error) => damaged(self.archive, &format!("`{}`: {error}", name.escape_debug())),
            Failed::Writing(error) => Error::io("write", &path, &error),
        })?;
        if written > self.left {
            return Err(Error::new("the archive becomes far larger than it is, without an end in sight")
                .in_file(self.archive)
                .hint("if it is really so large, unpack it yourself and name the folder"));
        }
        self.left -= written;
        self.files += 1;
        Ok(())
    }

    fn unwritable(&self, name: &str, path: &Path, error: &io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                self.refused(name, "stands where another entry does")
            }
            _ => Error::io("write", path, error),
        }
    }
}

/// Which side of a copy failed.
enum Failed {
    Reading(io::Error),
    Writing(io::Error),
}

/// Copies at most one byte more than `most`; gives how many.
fn copy(from: &mut impl Read, to: &mut impl io::Write, most: u64) -> Result<u64, Failed> {
    let mut buffer = vec![0; 1 << 16];
    let mut limited = from.take(most.saturating_add(1));
    let mut copied = 0;
    loop {
        let read = match limited.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failed::Reading(error)),
        };
        to.write_all(&buffer[..read]).map_err(Failed::Writing)?;
        copied += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use ::tar::{Builder, EntryType, Header};
    use flate2::{Compression, write::GzEncoder};
    use zip::{ZipWriter, write::SimpleFileOptions};

    use super::*;

    fn zipped(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    /// A tar of entries whose names are written as they are.
    fn tarred(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, kind, bytes) in entries {
            let mut header = Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            if kind.is_symlink() || kind.is_hard_link() {
                header.set_link_name("/etc/passwd").unwrap();
            }
            header.set_cksum();
            builder.append(&header, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn unpacked(bytes: &[u8], kind: Kind, limits: Limits) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("archive");
        fs::write(&archive, bytes).unwrap();
        let result = folder.path().join("result");
        fs::create_dir(&result).unwrap();
        let done = unpack_within(&archive, File::open(&archive).unwrap(), kind, &result, limits, &|_| {});
        let names: Vec<String> =
            fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(names.len(), 2, "something was written beside the result: {names:?}");
        done?;
        let mut found = Vec::new();
        let mut open = vec![result.clone()];
        while let Some(folder) = open.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    open.push(path);
                } else {
                    let name = path.strip_prefix(&result).unwrap().display().to_string();
                    found.push((name, fs::read(path).unwrap()));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    #[test]
    fn an_archive_is_known_by_its_name() {
        let of = |name: &str| Kind::of(Path::new(name));
        assert_eq!(of("a/CoLA.ZIP"), Some(Kind::Zip));
        assert_eq!((of("x.tar"), of("x.tar.gz"), of("x.tgz")), (Some(Kind::Tar), Some(Kind::TarGz), Some(Kind::TarGz)));
        assert_eq!((of("x.jsonl.gz"), of("pytorch_model.bin"), of("zip")), (None, None, None));
    }

    #[test]
    fn files_keep_their_folders_and_what_a_mac_adds_is_left_out() {
        let files =
            [("CoLA/train.tsv", b"1".as_slice()), ("./CoLA/raw/a.tsv", b"2"), ("__MACOSX/CoLA/._train.tsv", b"3")];
        let expected = vec![("CoLA/raw/a.tsv".to_owned(), b"2".to_vec()), ("CoLA/train.tsv".to_owned(), b"1".to_vec())];
        assert_eq!(unpacked(&zipped(&files), Kind::Zip, LIMITS).unwrap(), expected);
        let entries: Vec<(&str, EntryType, &[u8])> = files.iter().map(|(n, b)| (*n, EntryType::Regular, *b)).collect();
        let tar = tarred(&entries);
        assert_eq!(unpacked(&tar, Kind::Tar, LIMITS).unwrap(), expected);
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&tar).unwrap();
        assert_eq!(unpacked(&encoder.finish().unwrap(), Kind::TarGz, LIMITS).unwrap(), expected);
    }

    #[test]
    fn no_entry_leads_out_of_the_folder() {
        for name in ["../evil", "/tmp/evil", "a/../../evil", "a\\..\\evil", "C:/evil", ".."] {
            let error = unpacked(&tarred(&[(name, EntryType::Regular, b"x")]), Kind::Tar, LIMITS).unwrap_err();
            assert!(error.message.contains("leads out") || error.message.contains("drive"), "{name}: {error}");
            let bytes = zipped(&[(name, b"x")]);
            assert!(unpacked(&bytes, Kind::Zip, LIMITS).is_err(), "{name}");
        }
    }

    #[test]
    fn links_and_devices_are_refused() {
        for kind in [EntryType::Symlink, EntryType::Link, EntryType::Fifo, EntryType::Char] {
            let error = unpacked(&tarred(&[("a", kind, b"")]), Kind::Tar, LIMITS).unwrap_err();
            assert!(error.message.contains("is a link or a device"), "{error}");
        }
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        writer.add_symlink("a", "/etc", SimpleFileOptions::default()).unwrap();
        writer.start_file("a/evil", SimpleFileOptions::default()).unwrap();
        let error = unpacked(&writer.finish().unwrap().into_inner(), Kind::Zip, LIMITS).unwrap_err();
        assert!(error.message.contains("is a link or a device"), "{error}");
    }

    #[test]
    fn one_name_stands_once() {
        let twice = tarred(&[("a", EntryType::Regular, b"1"), ("./a", EntryType::Regular, b"2")]);
        assert!(unpacked(&twice, Kind::Tar, LIMITS).unwrap_err().message.contains("stands where another"));
        let below = tarred(&[("a", EntryType::Regular, b"1"), ("a/b", EntryType::Regular, b"2")]);
        assert!(unpacked(&below, Kind::Tar, LIMITS).unwrap_err().message.contains("stands where another"));
    }

    #[test]
    fn bombs_end_early() {
        let limits = Limits { files: 3, small: 1000, ratio: 10 };
        let zeros = vec![0; 1 << 20];
        let error = unpacked(&zipped(&[("a", &zeros)]), Kind::Zip, limits).unwrap_err();
        assert!(error.message.contains("far larger than it is"), "{error}");
        // Several entries add up.
        let some = vec![0; 400];
        let error = unpacked(&zipped(&[("a", &some), ("b", &some), ("c", &zeros)]), Kind::Zip, limits).unwrap_err();
        assert!(error.message.contains("far larger than it is"), "{error}");
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&tarred(&[("a", EntryType::Regular, &zeros)])).unwrap();
        assert!(unpacked(&encoder.finish().unwrap(), Kind::TarGz, limits).is_err());
        let many: Vec<(String, &[u8])> = (0..4).map(|number| (number.to_string(), b"".as_slice())).collect();
        let many: Vec<(&str, &[u8])> = many.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
        assert!(unpacked(&zipped(&many), Kind::Zip, limits).unwrap_err().message.contains("4 entries"));
        let entries: Vec<(&str, EntryType, &[u8])> = many.iter().map(|(n, b)| (*n, EntryType::Regular, *b)).collect();
        assert!(unpacked(&tarred(&entries), Kind::Tar, limits).unwrap_err().message.contains("4 entries"));
    }

    #[test]
    fn a_damaged_archive_is_told() {
        for (bytes, kind) in
            [(zipped(&[("a", b"text")]), Kind::Zip), (tarred(&[("a", EntryType::Regular, &[7; 2000])]), Kind::Tar)]
        {
            let error = unpacked(&bytes[..bytes.len() / 2], kind, LIMITS).unwrap_err();
            assert!(error.message.contains("cannot be unpacked") && error.hint.is_some(), "{error}");
        }
        assert!(unpacked(b"", Kind::Zip, LIMITS).is_err());
        assert!(unpacked(&[], Kind::Tar, LIMITS).unwrap_err().message.contains("no file"));
    }
}
