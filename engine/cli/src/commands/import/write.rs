//! A pipeline as the text of a file: short maps on one line, texts quoted where YAML could take them for something else.
//! Knows YAML and `${…}`, no stage.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::left::{is_odd, printable};

/// Lines are at most this wide where they can be.
const WIDTH: usize = 112;

/// The text of a pipeline file: comments, name, stages.
pub fn pipeline(heading: &[String], name: &str, stages: &[(String, Vec<String>, Value)]) -> String {
    let mut text = String::new();
    for line in heading {
        comment(&mut text, "", line);
    }
    let _ = writeln!(text, "name: {}\n\nstages:", scalar(&Value::from(name)));
    for (number, (stage, comments, settings)) in stages.iter().enumerate() {
        if number > 0 {
            text.push('\n');
        }
        for line in comments {
            comment(&mut text, "  ", line);
        }
        let _ = writeln!(text, "  {stage}:");
        below(&mut text, &short(settings.clone()), 4);
    }
    text
}

/// A line of comment; an empty one stays empty.
pub fn comment(text: &mut String, indent: &str, line: &str) {
    let _ = match line.is_empty() {
        true => writeln!(text, "{indent}#"),
        false => writeln!(text, "{indent}# {}", printable(line)),
    };
}

/// What stands under a key, on lines of its own.
fn below(text: &mut String, value: &Value, indent: usize) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let key = plain(key).map_or_else(|| quoted(key), str::to_owned);
                entry(text, &format!("{pad}{key}:"), value, indent);
            }
        }
        Value::Array(list) => {
            for item in list {
                entry(text, &format!("{pad}-"), item, indent);
            }
        }
        other => {
            let _ = writeln!(text, "{pad}{}", scalar(other));
        }
    }
}

fn entry(text: &mut String, begin: &str, value: &Value, indent: usize) {
    let line = flow(value);
    let is_scalar = !value.is_object() && !value.is_array();
    if is_scalar || begin.chars().count() + 1 + line.chars().count() <= WIDTH {
        let _ = writeln!(text, "{begin} {line}");
    } else {
        let _ = writeln!(text, "{begin}");
        below(text, value, indent + 2);
    }
}

/// A value on one line.
fn flow(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let each = map.iter().map(|(key, value)| {
                let key = plain(key).map_or_else(|| quoted(key), str::to_owned);
                format!("{key}: {}", flow(value))
            });
            format!("{{{}}}", each.collect::<Vec<_>>().join(", "))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(flow).collect::<Vec<_>>().join(", ")),
        other => scalar(other),
    }
}

/// The shortest way to write the same: a choice without settings by its bare name, roles as a list. What is the author's own
/// stays as it is: rows, and variables of a chat template.
fn short(value: Value) -> Value {
    const OWN: &[&str] = &["rows", "variables"];
    let map = match value {
        Value::Array(list) => return list.into_iter().map(short).collect(),
        Value::Object(map) => map,
        other => return other,
    };
    let is_own = |key: &str, value: &Value| OWN.contains(&key) && value.is_object();
    let each =
        map.into_iter().map(|(key, value)| if is_own(&key, &value) { (key, value) } else { (key, short(value)) });
    let map: Map<String, Value> = each.collect();
    let mut entries = map.iter();
    match (entries.next(), entries.next()) {
        (Some((key, Value::Object(settings))), None) if settings.is_empty() => Value::from(key.as_str()),
        (Some((key, roles @ Value::Array(_))), None) if key == "roles" => roles.clone(),
        _ => Value::Object(map),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        // In values `${` begins a variable, in keys it does not.
        Value::String(text) => plain(text).map_or_else(|| quoted(&text.replace("${", "$${")), str::to_owned),
        other => other.to_string(),
    }
}

/// A text that means itself without quotes.
fn plain(text: &str) -> Option<&str> {
    const WORDS: &[&str] = &["true", "false", "null", "nan", "inf", "infinity"];
    let begins = text.chars().next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    let goes_on = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'));
    (begins && goes_on && !WORDS.contains(&text.to_lowercase().as_str())).then_some(text)
}

/// A text in quotes.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            _ if is_odd(c) => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            _ => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
