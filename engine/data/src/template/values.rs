//! JSON values as minijinja's. Knows nothing of templates.

use std::collections::HashSet;

use minijinja::Value;
use serde_json::Value as Json;

use crate::rows::Row;

/// The columns of a row that a template may ask for.
pub(super) fn context(row: &Row, variables: &HashSet<String>) -> Value {
    row.iter().filter(|(name, _)| variables.contains(*name)).map(|(name, value)| (name.clone(), from(value))).collect()
}

fn from(value: &Json) -> Value {
    match value {
        Json::Null => Value::from(()),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), _, _) => Value::from(number),
            (_, Some(number), _) => Value::from(number),
            (_, _, Some(number)) => Value::from(number),
            _ => Value::from(number.to_string()),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(values) => values.iter().map(from).collect(),
        Json::Object(values) => values.iter().map(|(name, value)| (name.clone(), from(value))).collect(),
    }
}
