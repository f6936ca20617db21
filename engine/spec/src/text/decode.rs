//! From a YAML value to a typed struct, and what the refusal of a value means in words.

use serde_yaml::Value;

use super::{
    path::{Segment, YamlPath},
    source::Side,
};
use crate::suggest;

/// A value that does not fit its struct.
#[derive(Debug, Clone, PartialEq)]
pub struct Misfit {
    /// Where, below the value that was decoded.
    pub path: YamlPath,
    /// Whether the key or the value is at fault.
    pub side: Side,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// Reads a value as a `T`, through `read` so that the caller may choose the type at run time.
///
/// # Errors
/// The first thing that does not fit.
pub fn decode<'v, T>(
    value: &'v Value,
    read: impl FnOnce(serde_path_to_error::Deserializer<'_, '_, &'v Value>) -> Result<T, serde_yaml::Error>,
) -> Result<T, Misfit> {
    let mut track = serde_path_to_error::Track::new();
    let outcome = read(serde_path_to_error::Deserializer::new(value, &mut track));
    outcome.map_err(|error| {
        let path = track.path();
        let steps = path
            .iter()
            .filter_map(|step| match step {
                serde_path_to_error::Segment::Seq { index } => Some(Segment::Index(*index)),
                serde_path_to_error::Segment::Map { key } => Some(Segment::Key(key.clone())),
                serde_path_to_error::Segment::Enum { variant } => Some(Segment::Key(variant.clone())),
                serde_path_to_error::Segment::Unknown => None,
            })
            .collect();
        explain(YamlPath(steps), &error.to_string(), value)
    })
}

/// Reads a value as a `T` whose type is known.
///
/// # Errors
/// The first thing that does not fit.
pub fn decode_as<T: serde::de::DeserializeOwned>(value: &Value) -> Result<T, Misfit> {
    decode(value, |deserializer| T::deserialize(deserializer))
}

/// Turns a serde message into what, where and what to do.
pub fn explain(path: YamlPath, message: &str, root: &Value) -> Misfit {
    let message = message.split(" at line ").next().unwrap_or(message);
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let known = quoted.get(1..).unwrap_or_default();
    let found = super::document::get(root, &path.0);
    if let Some(name) = message.strip_prefix("unknown field `").and_then(|_| quoted.first()) {
        // serde ends the path at the map that holds the field, or at the field itself.
        let path = if path.0.last() == Some(&Segment::Key((*name).to_owned())) { path } else { path.key(name) };
        let hint = match known {
            [] => "take it out: there is nothing to set here".to_owned(),
            _ => suggest::did_you_mean(name, known.iter().copied()),
        };
        return Misfit { path, side: Side::Key, message: format!("unknown key `{name}`"), hint };
    }
    if let Some(name) = message.strip_prefix("unknown variant `").and_then(|_| quoted.first()) {
        let is_key = matches!(found, Some(Value::Mapping(map)) if map.contains_key(*name));
        let (path, side) = if is_key { (path.key(name), Side::Key) } else { (path, Side::Value) };
        let hint = suggest::did_you_mean(name, known.iter().copied());
        return Misfit { path, side, message: format!("unknown choice `{name}`"), hint };
    }
    if let Some(name) = message.strip_prefix("missing field `").and_then(|_| quoted.first()) {
        let hint = format!("add `{name}: …`");
        return Misfit { path, side: Side::Holder, message: format!("`{name}` is missing"), hint };
    }
    for prefix in ["invalid type: ", "invalid value: ", "invalid length: "] {
        let Some(rest) = message.strip_prefix(prefix) else { continue };
        let (got, expected) = rest.split_once(", expected ").unwrap_or((rest, "another value"));
        let expected = in_words(expected);
        let is_number_for_text = expected == "text"
            && (got.starts_with("integer") || got.starts_with("floating") || got.starts_with("boolean"));
        let hint = if is_number_for_text {
            "put it in quotes to make it text".to_owned()
        } else if got.starts_with("string \"${") {
            "`${…}` is not replaced in a key of this kind; write the value itself".to_owned()
        } else if expected.contains("number") && text_of(got).is_some_and(|text| text.parse::<f64>().is_ok()) {
            "write it without quotes".to_owned()
        } else if let Some(written) = found.and_then(|found| filled_in(&expected, found)) {
            format!("write `{written}`")
        } else if let Some(first) = expected.strip_prefix("one of `").and_then(|names| names.split('`').next()) {
            format!("write a map with one of these keys, for example `{{{first}: …}}`")
        } else {
            format!("give {expected}")
        };
        return Misfit {
            path,
            side: Side::Value,
            message: format!("{} where {expected} belongs", got_in_words(got)),
            hint,
        };
    }
    // A message of this crate's own carries its hint behind a semicolon.
    let (message, hint) = message.rsplit_once("; ").unwrap_or((message, "look this key up in docs/pipeline.md"));
    let first = quoted.first().filter(|name| message.starts_with(&format!("`{name}` is a setting of ")));
    let (path, side) = first.map_or((path.clone(), Side::Value), |name| (path.key(name), Side::Key));
    Misfit { path, side, message: message.to_owned(), hint: hint.to_owned() }
}

/// What was written, in the form that is expected: a list of it, or "a map such as `{size: …}`" with it.
fn filled_in(expected: &str, found: &Value) -> Option<String> {
    let written = match found {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Mapping(map) if map.len() == 1 => format!("{{{}: …}}", map.keys().next()?.as_str()?),
        _ => return None,
    };
    if expected == "a list" {
        return Some(format!("[{written}]"));
    }
    let form = expected.strip_prefix("a map such as `")?.split('`').next()?;
    (!found.is_mapping()).then(|| form.replace('…', &written))
}

fn text_of(got: &str) -> Option<&str> {
    got.strip_prefix("string \"")?.strip_suffix('"')
}

fn in_words(expected: &str) -> String {
    match expected {
        "u64" | "usize" | "u32" | "u8" => "a whole number from zero on".into(),
        "i64" | "i32" => "a whole number".into(),
        "f64" | "f32" => "a number".into(),
        "a string" | "a borrowed string" => "text".into(),
        "a boolean" => "`true` or `false`".into(),
        "a sequence" => "a list".into(),
        _ if expected == "a map" || expected.starts_with("struct ") => "a map of settings (`key: value`)".into(),
        other => other.into(),
    }
}

fn got_in_words(got: &str) -> String {
    let quoted = |prefix: &str| got.strip_prefix(prefix).map(str::trim);
    if let Some(text) = quoted("string ") {
        return format!("the text {text}");
    }
    for prefix in ["integer ", "floating point "] {
        if let Some(number) = quoted(prefix) {
            return format!("the number {}", number.trim_matches('`'));
        }
    }
    match got {
        "map" => "a map".into(),
        "sequence" => "a list".into(),
        "unit value" | "null" => "nothing".into(),
        other => other.into(),
    }
}
