//! Rows as one JSON object a line; blank lines do not count. Knows lines, and reads them on all threads.

use std::path::Path;

use rayon::prelude::*;
use serde_json::Value;

use super::{MOST_LINE, Row, described, json_error, size};
use crate::Error;

/// Reads the rows of a file of JSON lines.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Vec<Row>, Error> {
    let lines: Vec<(usize, &[u8])> = bytes
        .split(|byte| *byte == b'\n')
        .enumerate()
        .map(|(number, line)| (number + 1, line.strip_suffix(b"\r").unwrap_or(line)))
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .collect();
    if let Some((number, line)) = lines.iter().find(|(_, line)| line.len() > MOST_LINE) {
        return Err(Error::new(format!("this line is {} long", size(line.len())))
            .at(format!("{}:{number}", path.display()))
            .hint("is this one JSON document? then say `format: json`"));
    }
    let read = |(number, line): &(usize, &[u8])| match serde_json::from_slice(line) {
        Ok(Value::Object(row)) => Ok(row),
        Ok(other) => Err(Error::new(format!("this line is {}, and a row is an object", described(&other)))
            .at(format!("{}:{number}:1", path.display()))
            .hint("write one `{\"column\": value, …}` a line")),
        Err(error) => Err(json_error(path, line, *number, &error)),
    };
    // The first mistake of the file, not the first that some thread meets.
    let rows: Vec<Result<Row, Error>> = lines.par_iter().map(read).collect();
    rows.into_iter().collect()
}
