//! The readers of rows: one file a format, and the registry that lists them. Knows files and their shapes; does not know
//! splits or templates.

mod delimited;
mod find;
mod gzip;
mod json;
mod jsonl;
mod lines;
mod parquet;
mod squad;

use std::{
    borrow::Cow,
    collections::HashSet,
    fs,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use spec::stage::Format;

use crate::Error;
pub use find::find;
pub(crate) use find::translated;
use lines::Lines;

/// One row: columns by name, in the order of the file.
pub type Row = Map<String, Value>;

/// The rows of some files, by number.
#[derive(Debug)]
pub struct Rows {
    kept: Kept,
    /// Their own names, where every row has one and all differ.
    ids: Option<Vec<String>>,
    /// What a person should know of the ids.
    pub warning: Option<String>,
}

#[derive(Debug)]
enum Kept {
    Held(Vec<Row>),
    InFiles(Lines),
}

/// How a row is called in messages: by its place, counted from one as lines are, and its id where it has one.
pub fn row_name(number: usize, id: &str) -> String {
    let named = if *id == number.to_string() { String::new() } else { format!(" (id {id})") };
    format!("row {}{named}", number + 1)
}

impl Rows {
    /// Names rows. `id` columns are used only where they name every row and each differently.
    pub fn new(rows: Vec<Row>) -> Self {
        let ids = rows.iter().map(own_id).collect();
        Self::named(Kept::Held(rows), ids)
    }

    /// The rows of files of JSON lines, which stay in the files; nothing where a file is of another format, is packed, or
    /// has a mistake, which [`read`] tells.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn in_files(paths: &[PathBuf], format: Option<&Format>) -> Result<Option<Self>, Error> {
        Ok(Lines::of(paths, format)?.map(|(lines, ids)| Self::named(Kept::InFiles(lines), ids)))
    }

    fn named(kept: Kept, ids: Option<Vec<String>>) -> Self {
        let Some(ids) = ids else { return Self { kept, ids: None, warning: None } };
        let distinct: HashSet<&String> = ids.iter().collect();
        if distinct.len() == ids.len() {
            return Self { kept, ids: Some(ids), warning: None };
        }
        let repeated = ids.len() - distinct.len();
        let warning = format!("{repeated} rows repeat another row's `id`: rows are named by their number instead");
        Self { kept, ids: None, warning: Some(warning) }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        match &self.kept {
            Kept::Held(rows) => rows.len(),
            Kept::InFiles(lines) => lines.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A row by its number.
    ///
    /// # Errors
    /// When its file can no longer be read.
    pub fn row(&self, number: usize) -> Result<Cow<'_, Row>, Error> {
        match &self.kept {
            Kept::Held(rows) => Ok(Cow::Borrowed(&rows[number])),
            Kept::InFiles(lines) => lines.row(number).map(Cow::Owned),
        }
    }

    /// A row's name: its `id` where every row has one and all differ, else its number from 0.
    pub fn id(&self, number: usize) -> Cow<'_, str> {
        match &self.ids {
            Some(ids) => Cow::Borrowed(&ids[number]),
            None => Cow::Owned(number.to_string()),
        }
    }
}

fn own_id(row: &Row) -> Option<String> {
    match row.get("id")? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The longest that one line of a text file may be: a longer one is no row.
const MOST_LINE: usize = 256 << 20;

/// Where the warnings of a file go.
pub type Warn<'a> = &'a mut dyn FnMut(String);

/// Reads the rows of a file, of a text file also where it is compressed with gzip. Without a format, the file's ending
/// and beginning decide.
///
/// # Errors
/// When the file cannot be read, is not what its format says, or holds something else than rows; with file, line and
/// column where there is one.
pub fn read(path: &Path, format: Option<&Format>, warn: Warn<'_>) -> Result<Vec<Row>, Error> {
    if matches!(format, Some(Format::Parquet(_))) || (format.is_none() && is_parquet(path)?) {
        return parquet::read(path);
    }
    let mut bytes = fs::read(path).map_err(|error| Error::io("read", path, &error))?;
    if gzip::is_packed(&bytes) {
        bytes = gzip::unpack(path, &bytes)?;
    }
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err(Error::new("the file is UTF-16")
            .in_file(path)
            .hint("save it as UTF-8, for example `iconv -f utf-16 -t utf-8 FILE`"));
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    let format = match format {
        Some(format) => Cow::Borrowed(format),
        None => Cow::Owned(detect(path, bytes)?),
    };
    let mut separated = |separator: u8, settings| {
        let rows = delimited::read(path, bytes, separator, settings)?;
        let swallowed = delimited::swallowed(&rows, char::from(separator));
        if swallowed > 0 {
            warn(format!(
                "{}: {swallowed} rows hold a field with both a separator and a line break; if quotation marks are plain \
                 characters here, rows were lost: say `quoting: none`",
                path.file_name().unwrap_or_default().to_string_lossy()
            ));
        }
        Ok(rows)
    };
    match format.as_ref() {
        Format::Json(_) => json::read(path, bytes),
        Format::Jsonl(_) => jsonl::read(path, bytes),
        Format::Squad(squad) => squad::read(path, bytes, squad.row),
        Format::Csv(settings) => separated(b',', settings),
        Format::Tsv(settings) => separated(b'\t', settings),
        Format::Parquet(_) => parquet::read(path),
    }
}

/// The ending of a file's name, without `.gz` and in small letters.
fn ending(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let plain = name.strip_suffix(".gz").unwrap_or(&name);
    plain.rsplit_once('.').map(|(_, ending)| ending.to_owned()).unwrap_or_default()
}

fn is_parquet(path: &Path) -> Result<bool, Error> {
    if ending(path) == "parquet" {
        return Ok(true);
    }
    let mut begins = [0; 4];
    let mut file = File::open(path).map_err(|error| Error::io("read", path, &error))?;
    Ok(file.read_exact(&mut begins).is_ok() && begins == *b"PAR1")
}

/// How far into a file its beginning is looked at.
const BEGINNING: usize = 64 * 1024;

/// The format of a file by its ending and beginning: `.jsonl` and `.ndjson` are JSON lines, `.csv` and `.tsv` what they
/// say; a JSON object whose beginning has a key `paragraphs` is SQuAD's; a whole object on the first line, with another
/// after it, is JSON lines.
fn detect(path: &Path, bytes: &[u8]) -> Result<Format, Error> {
    match ending(path).as_str() {
        "jsonl" | "ndjson" => return Ok(Format::Jsonl(Default::default())),
        "csv" => return Ok(Format::Csv(Default::default())),
        "tsv" | "tab" => return Ok(Format::Tsv(Default::default())),
        _ => {}
    }
    let begins = bytes.trim_ascii_start();
    match begins.first() {
        Some(b'[') => Ok(Format::Json(Default::default())),
        Some(b'{') => {
            let head = &begins[..begins.len().min(BEGINNING)];
            let (line, rest) = begins.split_at(begins.iter().position(|byte| *byte == b'\n').unwrap_or(begins.len()));
            if rest.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<Row>(line).is_ok() {
                Ok(Format::Jsonl(Default::default()))
            } else if head.windows(12).any(|window| window == b"\"paragraphs\"") {
                Ok(Format::Squad(Default::default()))
            } else {
                Ok(Format::Json(Default::default()))
            }
        }
        None => Err(Error::new("the file is empty").in_file(path).hint("check what wrote it")),
        Some(_) => Err(Error::new("the format of this file is not known by its ending or beginning")
            .in_file(path)
            .hint(format!("say it: `format:` {}", spec::one_of::listed(Format::NAMES)))),
    }
}

/// A number of bytes for people.
fn size(bytes: usize) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} bytes") } else { format!("{value:.1} {}", units[unit]) }
}

/// A mistake that serde_json found, at its line and column of the file.
fn json_error(path: &Path, bytes: &[u8], first_line: usize, error: &serde_json::Error) -> Error {
    let line = first_line + error.line().saturating_sub(1);
    let text = error.to_string();
    let message = text.rfind(" at line ").map_or(text.as_str(), |end| &text[..end]);
    let failed = Error::new(message).at(format!("{}:{line}:{}", path.display(), error.column()));
    let at = bytes.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let at = &at[error.column().saturating_sub(1).min(at.len())..];
    if ["NaN", "aN", "Infinity", "nfinity"].iter().any(|word| at.starts_with(word.as_bytes())) {
        return failed.hint("JSON has no NaN and no Infinity: write `null`");
    }
    failed.hint(match error.classify() {
        serde_json::error::Category::Eof => "the file ends too early: was it cut while it was written or downloaded?",
        serde_json::error::Category::Data => "the JSON is valid but not of this shape: set `format:` to the right one",
        _ => "make this valid JSON",
    })
}

/// What a JSON value is, for messages.
fn described(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
