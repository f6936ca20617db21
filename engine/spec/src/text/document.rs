//! A YAML text as one value, with the memory of where each part was written. Knows no stage.

use std::{collections::BTreeMap, sync::Arc};

use serde_yaml::Value;

use super::{
    path::{Segment, YamlPath},
    source::{Side, Source},
};
use crate::diagnostic::{Diagnostic, Place};

/// Where parts of a value were written, when it was not where they stand.
#[derive(Debug, Clone, Default)]
pub struct Origins(BTreeMap<YamlPath, (Arc<Source>, YamlPath)>);

impl Origins {
    /// Notes that what stands at `path` was written at `written` of `source`, and no longer where it was before.
    pub fn note(&mut self, path: YamlPath, source: Arc<Source>, written: YamlPath) {
        // Paths are sorted by their steps, so what lies below one follows it.
        let below = self.0.range(path.clone()..).map(|(noted, _)| noted);
        let below: Vec<YamlPath> = below.take_while(|noted| noted.0.starts_with(&path.0)).cloned().collect();
        for noted in below {
            self.0.remove(&noted);
        }
        self.0.insert(path, (source, written));
    }

    /// Where what stands at `path` was written: by the longest noted path above it.
    pub fn find(&self, path: &YamlPath) -> Option<(Arc<Source>, YamlPath)> {
        if self.0.is_empty() {
            return None;
        }
        (0..=path.0.len()).rev().find_map(|length| {
            let (source, written) = self.0.get(&YamlPath(path.0[..length].to_vec()))?;
            Some((source.clone(), written.join(&path.0[length..])))
        })
    }
}

/// A pipeline file: its text, its value with all overrides done, and where each part was written.
#[derive(Debug, Clone)]
pub struct Document {
    /// The file's text.
    pub source: Arc<Source>,
    /// The value, overrides done.
    pub value: Value,
    /// Where overridden parts were written.
    pub origins: Origins,
}

impl Document {
    /// Reads a YAML text.
    ///
    /// # Errors
    /// Text that is no YAML, or YAML that people trip over: duplicate keys, merge keys, tags, keys that are no words.
    pub fn read(source: Arc<Source>) -> Result<Self, Diagnostic> {
        if let Some(at) = too_deep(&source.text) {
            let message = format!("brackets are open {DEEPEST} deep");
            let place = Some(source.span(at, at + 1));
            return Err(Diagnostic::new(message, "quote it, if it is a text").at(place));
        }
        let value: Value = serde_yaml::from_str(&source.text).map_err(|error| syntax(&source, &error))?;
        let value = tidy(value, &YamlPath::root())
            .map_err(|(path, side, message, hint)| Diagnostic::new(message, hint).at(source.locate(&path, side)))?;
        Ok(Self { source, value, origins: Origins::default() })
    }

    /// The value at a path.
    pub fn get(&self, path: &YamlPath) -> Option<&Value> {
        get(&self.value, &path.0)
    }

    /// Where what stands at a path was written.
    pub fn written(&self, path: &YamlPath) -> (Arc<Source>, YamlPath) {
        self.origins.find(path).unwrap_or_else(|| (self.source.clone(), path.clone()))
    }

    /// The place of what stands at a path.
    pub fn place(&self, path: &YamlPath, side: Side) -> Option<Place> {
        let (source, written) = self.written(path);
        source.locate(&written, side).or_else(|| self.source.locate(path, side))
    }

    /// A mistake at a path.
    pub fn fault(
        &self,
        path: &YamlPath,
        side: Side,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Diagnostic {
        Diagnostic::new(message, hint).at(self.place(path, side))
    }
}

/// More brackets than this are not open at once in anything that a person writes. The YAML reader refuses far fewer, but
/// takes time that grows with their square to find out.
const DEEPEST: usize = 1000;

/// Where the bracket stands that is one too many, whatever is quoted.
fn too_deep(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    text.bytes().position(|byte| {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        open > DEEPEST
    })
}

/// The value at a path below `value`.
pub fn get<'v>(value: &'v Value, path: &[Segment]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, segment| match (segment, value) {
        (Segment::Key(key), Value::Mapping(map)) => map.get(key.as_str()),
        (Segment::Index(index), Value::Sequence(list)) => list.get(*index),
        (Segment::Index(index), Value::Mapping(map)) => map.get(index.to_string().as_str()),
        _ => None,
    })
}

/// Makes keys words, gives back room that is not used, and refuses what YAML allows and people trip over.
pub(super) fn tidy(mut value: Value, path: &YamlPath) -> Result<Value, (YamlPath, Side, String, String)> {
    tidy_in_place(&mut value, path)?;
    Ok(value)
}

fn tidy_in_place(value: &mut Value, path: &YamlPath) -> Result<(), (YamlPath, Side, String, String)> {
    match value {
        Value::Mapping(map) => {
            if map.keys().any(|key| !key.is_string()) {
                *map = std::mem::take(map)
                    .into_iter()
                    .map(|(key, value)| Ok((Value::String(word(key, path)?), value)))
                    .collect::<Result<_, _>>()?;
            }
            // Most maps have one or two keys, and room for four.
            map.shrink_to_fit();
            for (key, value) in map {
                let key = key.as_str().unwrap_or_default();
                if key == "<<" {
                    return Err((
                        path.key(key),
                        Side::Key,
                        "`<<` merge keys are not part of the language".into(),
                        "put what is shared under `vars:` and write `\"${vars.NAME}\"`".into(),
                    ));
                }
                if is_nested(value) {
                    tidy_in_place(value, &path.key(key))?;
                }
            }
            Ok(())
        }
        Value::Sequence(list) => {
            let nested = list.iter_mut().enumerate().filter(|(_, item)| is_nested(item));
            nested.into_iter().try_for_each(|(index, item)| tidy_in_place(item, &path.index(index)))
        }
        Value::Tagged(tagged) => Err((
            path.clone(),
            Side::Value,
            format!("the tag `{}` is not part of the language", tagged.tag),
            "write the value without a tag".into(),
        )),
        _ => Ok(()),
    }
}

/// Whether there is anything to look at within a value.
fn is_nested(value: &Value) -> bool {
    matches!(value, Value::Mapping(_) | Value::Sequence(_) | Value::Tagged(_))
}

/// A key as a word.
fn word(key: Value, path: &YamlPath) -> Result<String, (YamlPath, Side, String, String)> {
    match key {
        Value::String(key) => Ok(key),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        _ => Err((path.clone(), Side::Key, "a key that is no word".into(), "keys are words, such as `rank:`".into())),
    }
}

/// What a YAML reader's refusal means for a pipeline file.
fn syntax(source: &Arc<Source>, error: &serde_yaml::Error) -> Diagnostic {
    let text = &source.text;
    let mut start = error.location().map_or(0, |location| location.index()).min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line = &text[line_start..text[start..].find('\n').map_or(text.len(), |newline| start + newline)];
    let full = error.to_string();
    let message = full.split(" at line ").next().unwrap_or(&full).to_owned();
    let duplicate = message.contains("duplicate entry");
    let suspicious = suspicious_line(text, line_start, start);
    let (message, hint, place) = if duplicate {
        let key = message.split('"').nth(1).unwrap_or_default();
        (
            format!("the key `{key}` stands twice in one map"),
            "keep one of them".to_owned(),
            second_of(text, start, key).map(|(start, end)| source.span(start, end)),
        )
    } else if let Some((offset, found, hint)) = suspicious {
        (
            format!("`{found}` is read as YAML's own brackets here"),
            hint.to_owned(),
            Some(source.span(offset, offset + found.len())),
        )
    } else if let Some(number) = message.split("invalid type: integer `").nth(1).and_then(|rest| rest.split('`').next())
    {
        let message = format!("the number {number} is too large");
        let place = text[start..].starts_with(number).then(|| source.span(start, start + number.len()));
        (message, "give a smaller one, or put it in quotes to make it text".to_owned(), place)
    } else if line.contains('\t') {
        ("a tab where YAML wants spaces".to_owned(), "indent with spaces".to_owned(), None)
    } else if message.contains("more than one document") {
        let message = "two YAML documents in one file".to_owned();
        let second =
            text.match_indices("\n---").map(|(newline, _)| newline + 1).find(|at| !text[..*at].trim().is_empty());
        (message, "give each pipeline a file of its own".to_owned(), second.map(|at| source.span(at, at + 3)))
    } else if message.contains("mapping values are not allowed") {
        let message = "a second `: ` on one line".to_owned();
        (
            message,
            "put each key on a line of its own, indented like its neighbours, and a text that holds `: ` in quotes"
                .to_owned(),
            None,
        )
    } else if let Some((opened, what)) = opened_above(text, &full, line_start) {
        (
            format!("this {what} is not closed"),
            "close it, on the same line if it can be".to_owned(),
            Some(source.span(opened, opened + 1)),
        )
    } else {
        (
            format!("this is no YAML: {message}"),
            "look at brackets, quotes, colons and indentation here and just above".to_owned(),
            None,
        )
    };
    let end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
    Diagnostic::new(message, hint).at(Some(place.unwrap_or_else(|| source.span(start, end.max(start + 1)))))
}

/// The quote or bracket that the YAML reader was inside of when it gave up, where that opened on an earlier line.
fn opened_above(text: &str, error: &str, line_start: usize) -> Option<(usize, &'static str)> {
    let (_, context) = error.split_once(", while ")?;
    let what = match context {
        _ if context.starts_with("scanning a quoted scalar") => "quote",
        _ if context.starts_with("parsing a flow") => "bracket",
        _ => return None,
    };
    let number = |mark: &str| -> Option<usize> {
        let digits = context.split_once(mark)?.1;
        digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let (line, column) = (number("at line ")?, number(" column ")?);
    let start = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
    let opened = start + text.get(start..)?.char_indices().nth(column.saturating_sub(1))?.0;
    (opened < line_start).then_some((opened, what))
}

/// The second place at which a key stands in the map that begins around `start`.
fn second_of(text: &str, start: usize, key: &str) -> Option<(usize, usize)> {
    let from_map = text.get(start..)?;
    let pattern = regex::Regex::new(&format!(r#"(?m)(^\s*|[{{,]\s*)["']?({})["']?\s*:"#, regex::escape(key))).ok()?;
    let second = pattern.captures_iter(from_map).nth(1).or_else(|| pattern.captures_iter(from_map).next())?;
    let word = second.get(2)?;
    Some((start + word.start(), start + word.end()))
}

/// An unquoted `${…}` in a flow map, or a selector in a flow list: the two texts of this language that YAML refuses.
///
/// `line_start` is where the line of the refusal begins, `refused` the refusal itself; the line before counts too.
fn suspicious_line(text: &str, line_start: usize, refused: usize) -> Option<(usize, &str, &'static str)> {
    const QUOTE_VARIABLE: &str = "inside `{…}` and `[…]`, quote it: `\"${…}\"`";
    if text[..refused].ends_with('$') && text[refused..].starts_with('{') {
        let variable = text[refused - 1..].split_inclusive(['}', '\n']).next().unwrap_or_default();
        return Some((refused - 1, variable.trim_end(), QUOTE_VARIABLE));
    }
    let before = text[..line_start].trim_end_matches('\n');
    let previous_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    for (offset, line) in [(line_start, &text[line_start..]), (previous_start, &before[previous_start..])] {
        let line = line.lines().next().unwrap_or_default();
        let find = |pattern: &str| regex::Regex::new(pattern).ok().and_then(|pattern| pattern.captures(line)?.get(1));
        if let Some(found) = find(r#"[\[{][^"'#]*?(\$\{[^}"']*\}?)"#) {
            return Some((offset + found.start(), found.as_str(), QUOTE_VARIABLE));
        }
        if let Some(found) = find(r#"[\[{][^"'#]*?([\w-]+\[[^\]"']*\](?:/[\w-]+)?)"#) {
            return Some((
                offset + found.start(),
                found.as_str(),
                "inside `{…}` and `[…]`, quote it: `\"stage[axis=label]\"`",
            ));
        }
    }
    None
}
