//! What could not be carried over, with the reason; and the tables of keys that have no counterpart or make no difference.
//! Knows no single tool.

use std::fmt;

use serde_json::Value;

/// A setting that is not carried over, or not as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its key, such as `datasets.0.shards`.
    pub key: String,
    /// What the configuration says there.
    pub said: Said,
    /// Why, and what to do.
    pub why: String,
}

/// What a configuration says under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// This, in short.
    Value(String),
    /// Nothing: the key is not set.
    Nothing,
    /// Whatever it says, it is done otherwise.
    Whatever,
}

impl LeftOut {
    /// A value that is not carried over, or not as it stands.
    pub fn of(key: impl Into<String>, value: &Value, why: impl Into<String>) -> Self {
        let key = key.into();
        Self { said: Said::Value(shown(&key, value)), key, why: why.into() }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, said, why } = self;
        let (key, why) = (printable(key), printable(why));
        match said {
            Said::Value(value) => write!(f, "{key}: {value}: {why}"),
            Said::Nothing => write!(f, "{key} (not set): {why}"),
            Said::Whatever => write!(f, "{key}: {why}"),
        }
    }
}

/// Keys of a tool that no code carries over.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Keys with which the same is learned and scored: names, folders, threads, what is logged. `x_*` stands for every key
    /// that begins with `x_`.
    pub no_difference: &'static [&'static str],
    /// Keys without a counterpart, by the reason.
    pub no_counterpart: &'static [(&'static str, &'static [&'static str])],
}

/// Nothing is known.
pub const NOTHING: Known = Known { no_difference: &[], no_counterpart: &[] };

impl Known {
    /// Whether a key changes nothing that is learned or scored.
    pub fn makes_no_difference(&self, key: &str) -> bool {
        self.no_difference.iter().any(|pattern| fits(pattern, key))
    }

    /// Why a key has no counterpart.
    pub fn reason(&self, key: &str) -> Option<&'static str> {
        self.no_counterpart.iter().find(|(_, keys)| keys.iter().any(|pattern| fits(pattern, key))).map(|(why, _)| *why)
    }
}

fn fits(pattern: &str, key: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => key.starts_with(beginning),
        None => key == pattern,
    }
}

/// What stands in a secret's place.
const HIDDEN: &str = "(hidden)";
/// Ends of keys whose values are secrets.
const SECRET: &[&str] = &["api_key", "_secret", "password", "auth", "token"];
/// Keys with such an end that hold none.
const TOKENS: &[&str] = &["bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"];

/// A value as it may stand in a file: on one line, short, and no secret.
pub fn shown(key: &str, value: &Value) -> String {
    const LONGEST: usize = 60;
    let name = key.rsplit('.').next().unwrap_or(key).to_lowercase();
    if value.is_string() && SECRET.iter().any(|end| name.ends_with(end)) && !TOKENS.contains(&name.as_str()) {
        return HIDDEN.to_owned();
    }
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    // Before it is cut: half a token must not slip through.
    let text = printable(&plan::history::shown(&text));
    if text.is_empty() {
        return "\"\"".to_owned();
    }
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A text without what a terminal or a comment would not show as it is.
pub fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => clean.push_str("\\n"),
            '\t' => clean.push_str("\\t"),
            _ if is_odd(c) => clean.extend(c.escape_unicode()),
            _ => clean.push(c),
        }
    }
    clean
}

/// Whether a character is a line's end for some reader, turns the direction of a line, or may not stand in YAML at all.
pub fn is_odd(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// As [`is_odd`], ends of lines and tabs aside.
pub fn is_odd_but_lines(c: char) -> bool {
    is_odd(c) && !matches!(c, '\n' | '\t')
}
