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
    if let Some(error) = delimited(path, &lines) {
        return Err(error);
    }
    let last = lines.last().map_or(0, |(number, _)| *number);
    let read = |(number, line): &(usize, &[u8])| match serde_json::from_slice(line) {
        Ok(Value::Object(row)) => Ok(row),
        Ok(other) => Err(Error::new(format!("this line is {}, and a row is an object", described(&other)))
            .at(format!("{}:{number}:1", path.display()))
            .hint("write one `{\"column\": value, …}` a line")),
        // Only the last line may have been cut.
        Err(error) if error.is_eof() && *number < last => {
            let message = format!("this line is no whole JSON object: {}", unclosed(&error));
            let hint = "is a quotation mark or a bracket not closed, or a line break within a text?";
            Err(Error::new(message).at(format!("{}:{number}:{}", path.display(), error.column())).hint(hint))
        }
        Err(error) => Err(json_error(path, line, *number, &error)),
    };
    // The first mistake of the file, not the first that some thread meets.
    let rows: Vec<Result<Row, Error>> = lines.par_iter().map(read).collect();
    rows.into_iter().collect()
}

/// What is said of a file whose first two lines are no JSON, but have as many commas or tabs: a table under another name.
fn delimited(path: &Path, lines: &[(usize, &[u8])]) -> Option<Error> {
    let (first, second) = (lines.first()?, lines.get(1)?);
    let is_json = |line: &[u8]| serde_json::from_slice::<Value>(line).is_ok() || line.trim_ascii().starts_with(b"{");
    if is_json(first.1) || is_json(second.1) {
        return None;
    }
    let count = |line: &[u8], separator: u8| line.iter().filter(|byte| **byte == separator).count();
    let as_many = |separator: &u8| (1..=count(second.1, *separator)).contains(&count(first.1, *separator));
    let (format, separator) = match [b'\t', b','].iter().find(|separator| as_many(separator))? {
        b'\t' => ("tsv", '\t'),
        _ => ("csv", ','),
    };
    let header = String::from_utf8_lossy(first.1);
    let columns: Vec<&str> = header.split(separator).map(|name| name.trim_matches(['"', ' '])).collect();
    let hint = format!(
        "say `format: {format}`, or name the file `….{format}`, if these are its columns: {}",
        spec::one_of::listed(&columns)
    );
    let message = format!("this line is no JSON; the file looks like {}", format.to_uppercase());
    Some(Error::new(message).at(format!("{}:{}:1", path.display(), first.0)).hint(hint))
}

/// What ends too early, without where: a line's place is told beside it.
fn unclosed(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or(&text).replace("EOF while parsing", "it ends within")
}
