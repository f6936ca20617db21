//! The rows of files of JSON lines, left where they are: read once to see that each is a row, then one by one as they are
//! asked for. So memory holds a few bytes of a row. Knows lines and places in files.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use rayon::prelude::*;
use serde_json::Value;
use spec::stage::Format;

use super::{MOST_LINE, Row, ending, gzip, own_id};
use crate::Error;

/// Bytes of lines that are read at once; more where a line is longer.
const BLOCK: usize = 4 << 20;

/// The rows' own ids; none where a row has none.
pub(super) type Ids = Option<Vec<String>>;

/// Files whose rows are read when they are asked for.
#[derive(Debug, Default)]
pub(super) struct Lines {
    files: Vec<(PathBuf, File)>,
    /// For each file the number of its first row.
    firsts: Vec<usize>,
    /// For each row its first byte in its file. A line ends where its JSON does.
    starts: Vec<u64>,
    lengths: Vec<u32>,
}

impl Lines {
    /// The rows of files and their ids; nothing where a file is of another format, is packed, or
    /// has a mistake.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn of(paths: &[PathBuf], format: Option<&Format>) -> Result<Option<(Self, Ids)>, Error> {
        let mut lines = Self::default();
        let mut ids = Some(Vec::new());
        for path in paths {
            let is_named = matches!(ending(path).as_str(), "jsonl" | "ndjson");
            let is_said = matches!(format, Some(Format::Jsonl(_))) || (format.is_none() && is_named);
            if !is_said || !lines.add(path, &mut ids)? {
                return Ok(None);
            }
        }
        Ok(Some((lines, ids)))
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// A row by its number.
    ///
    /// # Errors
    /// When its file has changed since, or can no longer be read.
    pub fn row(&self, number: usize) -> Result<Row, Error> {
        let file = self.firsts.partition_point(|first| *first <= number) - 1;
        let (path, file) = &self.files[file];
        let mut bytes = vec![0; self.lengths[number] as usize];
        file.read_exact_at(&mut bytes, self.starts[number]).map_err(|error| Error::io("read", path, &error))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::new(format!("row {} is no row any more: {error}", number + 1))
                .in_file(path)
                .hint("the file was changed while it was read: run again")
        })
    }

    /// Adds the rows of a file; not all of them where it is not plain text or a line is no row.
    fn add(&mut self, path: &Path, ids: &mut Ids) -> Result<bool, Error> {
        let failed = |error: std::io::Error| Error::io("read", path, &error);
        let file = File::open(path).map_err(failed)?;
        let mut reader = BufReader::with_capacity(1 << 16, file.try_clone().map_err(failed)?);
        let begins = reader.fill_buf().map_err(failed)?;
        let is_other =
            [&b"PAR1"[..], b"\xEF\xBB\xBF", b"\xFF\xFE", b"\xFE\xFF"].iter().any(|mark| begins.starts_with(mark));
        if is_other || gzip::is_packed(begins) {
            return Ok(false);
        }
        self.firsts.push(self.len());
        let (mut at, mut block, mut ends) = (0, Vec::new(), Vec::new());
        loop {
            block.clear();
            ends.clear();
            while block.len() < BLOCK && reader.read_until(b'\n', &mut block).map_err(failed)? > 0 {
                ends.push(block.len());
            }
            if ends.is_empty() {
                break;
            }
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let lines: Vec<(usize, &[u8])> = starts
                .zip(&ends)
                .map(|(start, end)| (start, block[start..*end].trim_ascii_end()))
                .filter(|(_, line)| !line.trim_ascii().is_empty())
                .collect();
            let read: Vec<Option<Option<String>>> = lines.par_iter().map(|(_, line)| id_of_row(line)).collect();
            for ((start, line), id) in lines.iter().zip(read) {
                let Some(id) = id else { return Ok(false) };
                self.starts.push(at + *start as u64);
                self.lengths.push(line.len() as u32);
                match (ids.as_mut(), id) {
                    (Some(ids), Some(id)) => ids.push(id),
                    _ => *ids = None,
                }
            }
            at += block.len() as u64;
        }
        self.files.push((path.to_owned(), file));
        Ok(true)
    }
}

/// The own id of a line's row, if it has one; nothing where the line is no row.
fn id_of_row(line: &[u8]) -> Option<Option<String>> {
    if line.len() > MOST_LINE {
        return None;
    }
    match serde_json::from_slice(line) {
        Ok(Value::Object(row)) => Some(own_id(&row)),
        _ => None,
    }
}
