//! Rows as lines of separated fields (CSV, TSV), with quoted fields or without. Knows lines and columns; every value is
//! text.

use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};
use serde_json::Value;
use spec::stage::{Delimited, LongRows, Quoting, ShortRows};

use super::{MOST_LINE, Row, size};
use crate::Error;

/// Reads rows of fields that `separator` stands between.
pub(super) fn read(path: &Path, bytes: &[u8], separator: u8, settings: &Delimited) -> Result<Vec<Row>, Error> {
    let skipped = after_lines(bytes, settings.skip);
    let file = File { path, bytes, skipped, separator, settings };
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(separator)
        .quoting(settings.quoting == Quoting::Standard)
        .from_reader(&bytes[skipped..]);
    let mut record = ByteRecord::new();
    let mut columns = settings.columns.clone();
    let mut rows = Vec::new();
    let mut last = None;
    while reader.read_byte_record(&mut record).map_err(|error| file.broken(&error))? {
        let start = record.position().map_or(0, |position| position.byte() as usize);
        if record.as_slice().len() > MOST_LINE {
            return Err(file.too_long(start, record.as_slice().len()));
        }
        match &columns {
            None => columns = Some(file.header(&record, start)?),
            Some(columns) => rows.push(file.row(&record, start, columns, rows.len())?),
        }
        last = Some((start, record.iter().any(|field| field.contains(&b'\n'))));
    }
    if let Some((start, true)) = last {
        file.check_closed(start)?;
    }
    Ok(rows)
}

/// Where the line after the first `lines` begins.
fn after_lines(bytes: &[u8], lines: usize) -> usize {
    let mut start = 0;
    for _ in 0..lines {
        match bytes[start..].iter().position(|byte| *byte == b'\n') {
            Some(end) => start += end + 1,
            None => return bytes.len(),
        }
    }
    start
}

/// A file that is being read; where it begins is counted without the lines that are passed over.
struct File<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    skipped: usize,
    separator: u8,
    settings: &'a Delimited,
}

impl File<'_> {
    /// The place of the record that begins at a byte: empty lines before it are not its own.
    fn place(&self, start: usize) -> String {
        let mut start = self.skipped + start;
        while matches!(self.bytes.get(start), Some(b'\n' | b'\r')) {
            start += 1;
        }
        let line = 1 + self.bytes[..start.min(self.bytes.len())].iter().filter(|byte| **byte == b'\n').count();
        format!("{}:{line}", self.path.display())
    }

    fn broken(&self, error: &csv::Error) -> Error {
        Error::new(format!("the fields cannot be told apart: {error}")).in_file(self.path)
    }

    fn too_long(&self, start: usize, length: usize) -> Error {
        let failed = Error::new(format!("this row is {} long", size(length))).at(self.place(start));
        match self.settings.quoting {
            Quoting::Standard => {
                failed.hint("is a quotation mark never closed? where they are plain characters, say `quoting: none`")
            }
            Quoting::None => failed.hint("is this a text file of one row a line?"),
        }
    }

    fn text(&self, field: &[u8], start: usize, what: impl Fn() -> String) -> Result<String, Error> {
        std::str::from_utf8(field).map(str::to_owned).map_err(|error| {
            let byte = field.get(error.valid_up_to()).copied().unwrap_or_default();
            Error::new(format!("{} is not UTF-8: byte 0x{byte:02X} after {} bytes", what(), error.valid_up_to()))
                .at(self.place(start))
                .hint("save the file as UTF-8, for example `iconv -f windows-1251 -t utf-8 FILE`")
        })
    }

    fn header(&self, record: &ByteRecord, start: usize) -> Result<Vec<String>, Error> {
        let mut columns: Vec<String> = Vec::with_capacity(record.len());
        for field in record {
            let name = self.text(field, start, || "a column's name".to_owned())?;
            if columns.contains(&name) {
                return Err(Error::new(format!("two columns are named `{name}`"))
                    .at(self.place(start))
                    .hint("name them yourself: `columns: […]`, with `skip: 1` where the first line is no row"));
            }
            columns.push(name);
        }
        if let ([only], b',') = (columns.as_slice(), self.separator)
            && only.contains('\t')
        {
            return Err(Error::new("the first line has tabs and no comma")
                .at(self.place(start))
                .hint("read it as tab-separated: `format: tsv`"));
        }
        Ok(columns)
    }

    fn row(&self, record: &ByteRecord, start: usize, columns: &[String], number: usize) -> Result<Row, Error> {
        self.check_length(record, start, columns)?;
        let mut row = Row::new();
        for (place, column) in columns.iter().enumerate() {
            let value = match record.get(place) {
                Some(field) => {
                    Value::String(self.text(field, start, || format!("row {}, column `{column}`", number + 1))?)
                }
                None => Value::Null,
            };
            row.insert(column.clone(), value);
        }
        Ok(row)
    }

    fn check_length(&self, record: &ByteRecord, start: usize, columns: &[String]) -> Result<(), Error> {
        let (found, wanted) = (record.len(), columns.len());
        let setting = match found.cmp(&wanted) {
            std::cmp::Ordering::Less if self.settings.short_rows == ShortRows::Fail => "short_rows: fill",
            std::cmp::Ordering::Greater if self.settings.long_rows == LongRows::Fail => "long_rows: cut",
            _ => return Ok(()),
        };
        let format = if self.separator == b'\t' { "tsv" } else { "csv" };
        let mut hint = format!("if such rows are meant to be read, say `format: {{{format}: {{{setting}}}}}`");
        if self.settings.quoting == Quoting::Standard && record.as_slice().iter().any(|byte| b"\"\n".contains(byte)) {
            hint.push_str("; if quotation marks are plain characters here, `quoting: none`");
        }
        let fields = if found == 1 { "field" } else { "fields" };
        Err(Error::new(format!("this row has {found} {fields}, and there are {wanted} columns"))
            .at(self.place(start))
            .hint(hint))
    }

    /// A quotation mark that nothing closes makes the rest of the file one field: the last one.
    fn check_closed(&self, start: usize) -> Result<(), Error> {
        let rest = &self.bytes[(self.skipped + start).min(self.bytes.len())..];
        if rest.iter().filter(|byte| **byte == b'"').count() % 2 == 0 {
            return Ok(());
        }
        Err(Error::new("a quotation mark in this row is never closed, so the rest of the file is one field")
            .at(self.place(start))
            .hint("close it; where quotation marks are plain characters, say `quoting: none`"))
    }
}

/// Fields that hold both a separator and a line break: rows that a quotation mark has swallowed, as likely as not.
pub(super) fn swallowed(rows: &[Row], separator: char) -> usize {
    let is_swallowed =
        |value: &Value| value.as_str().is_some_and(|text| text.contains(separator) && text.contains('\n'));
    rows.iter().filter(|row| row.values().any(is_swallowed)).count()
}
