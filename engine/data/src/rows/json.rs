//! Rows as one JSON array of objects, or as an object that holds one such array. Knows one document's shape.

use std::path::Path;

use serde_json::Value;

use super::{Row, described, json_error};
use crate::Error;

/// Reads the rows of a JSON document.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<Vec<Row>, Error> {
    let document: Value = serde_json::from_slice(bytes).map_err(|error| json_error(path, bytes, 1, &error))?;
    let (array, key) = match document {
        Value::Array(array) => (array, None),
        Value::Object(object) => {
            let (key, array) = only_array(path, object)?;
            (array, Some(key))
        }
        other => return Err(wrong(path, &format!("the file holds {}", described(&other)))),
    };
    let name = key.map_or("element".to_owned(), |key| format!("element of `{key}`"));
    array
        .into_iter()
        .enumerate()
        .map(|(number, element)| match element {
            Value::Object(row) => Ok(row),
            other => Err(wrong(path, &format!("{name} number {number} (from 0) is {}", described(&other)))),
        })
        .collect()
}

fn wrong(path: &Path, found: &str) -> Error {
    Error::new(format!("{found}, and rows are an array of objects"))
        .in_file(path)
        .hint("write `[{\"column\": value, …}, …]`, or an object that holds one such array")
}

fn only_array(path: &Path, object: Row) -> Result<(String, Vec<Value>), Error> {
    let keys: Vec<String> = object.keys().cloned().collect();
    let mut arrays = object.into_iter().filter_map(|(key, value)| match value {
        Value::Array(array) => Some((key, array)),
        _ => None,
    });
    let listed = spec::one_of::listed(&keys.iter().map(String::as_str).collect::<Vec<_>>());
    match (arrays.next(), arrays.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(wrong(path, &format!("the file holds an object without an array (its keys: {listed})"))),
        (Some((one, _)), Some((two, _))) => {
            Err(wrong(path, &format!("the file holds an object with several arrays, such as `{one}` and `{two}`")))
        }
    }
}
