//! A row as minijinja sees it: columns by name, made into its values when a template asks for them. Knows nothing of
//! templates.

use std::sync::{Arc, Mutex, PoisonError};

use minijinja::{Value, value::Object};
use serde_json::Value as Json;

use crate::rows::Row;

/// The columns of a row.
#[derive(Debug)]
pub(super) struct Columns(pub Row);

impl Object for Columns {
    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        self.0.get(name.as_str()?).map(from)
    }
}

/// The columns of a row, and the last that was asked for and is not there.
#[derive(Debug)]
pub(super) struct Asked {
    row: Row,
    missing: Mutex<Option<String>>,
}

impl Asked {
    pub fn new(row: Row) -> Self {
        Self { row, missing: Mutex::default() }
    }

    /// The last that was asked for and is not there.
    pub fn missing(&self) -> Option<String> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Object for Asked {
    fn get_value(self: &Arc<Self>, name: &Value) -> Option<Value> {
        let name = name.as_str()?;
        let found = self.row.get(name).map(from);
        if found.is_none() {
            *self.missing.lock().unwrap_or_else(PoisonError::into_inner) = Some(name.to_owned());
        }
        found
    }
}

/// A value as minijinja has it.
pub(crate) fn from(value: &Json) -> Value {
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
        Json::Array(values) => Value::from(values.iter().map(from).collect::<Vec<_>>()),
        Json::Object(values) => Value::from_pairs(values.iter().map(|(name, value)| (name.as_str(), from(value)))),
    }
}
