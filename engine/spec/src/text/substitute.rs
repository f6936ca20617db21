//! `${scope.name}`: replaces variables by their values, keeps the type where the variable is the whole value, and
//! remembers where each value was written.

use std::collections::BTreeMap;

use serde_yaml::Value;

use super::path::{Segment, YamlPath};
use crate::suggest;

/// Names of one scope (`vars`, `matrix`, a `select` stage) with their values and where these stand in the document.
pub struct Scope<'a> {
    /// The word before the dot.
    pub name: &'a str,
    /// Names, values, and the values' paths in the document.
    pub entries: Vec<(&'a str, &'a Value, YamlPath)>,
    /// What stands for a name inside a text, where it is not the value itself: labels.
    pub labels: BTreeMap<&'a str, &'a str>,
}

impl<'a> Scope<'a> {
    /// A scope whose values stand inside texts, too.
    pub fn new(name: &'a str, entries: Vec<(&'a str, &'a Value, YamlPath)>) -> Self {
        Self { name, entries, labels: BTreeMap::new() }
    }
}

/// A value with every variable replaced.
#[derive(Debug, Clone)]
pub struct Substituted {
    /// The value.
    pub value: Value,
    /// Paths of the result that came from elsewhere in the document.
    pub moved: Vec<(YamlPath, YamlPath)>,
    /// Those of them that were set by their path: key and value stand elsewhere.
    set: Vec<(YamlPath, YamlPath)>,
}

impl Substituted {
    /// The document's path of what stands at `path` of the result, which stands at `base` of the document.
    pub fn document_path(&self, base: &YamlPath, path: &YamlPath) -> YamlPath {
        self.moved
            .iter()
            .filter(|(moved, _)| path.0.starts_with(&moved.0))
            .max_by_key(|(moved, _)| moved.0.len())
            .map_or_else(|| base.join(&path.0), |(moved, document)| document.join(&path.0[moved.0.len()..]))
    }

    /// The document's path of the key at `path`: a key stands where its map was written, though its value may come from
    /// elsewhere.
    pub fn key_path(&self, base: &YamlPath, path: &YamlPath) -> YamlPath {
        if let Some((_, written)) = self.set.iter().rev().find(|(set, _)| set == path) {
            return written.clone();
        }
        match path.0.split_last() {
            Some((key, map)) => self.document_path(base, &YamlPath(map.to_vec())).join(std::slice::from_ref(key)),
            None => self.document_path(base, path),
        }
    }

    /// Notes that the value at `path` was replaced by one whose key was written at `written`.
    pub fn note_set(&mut self, path: &YamlPath, written: &YamlPath, value: Substituted) {
        self.moved.retain(|(moved, _)| !moved.0.starts_with(&path.0));
        self.set.retain(|(set, _)| !set.0.starts_with(&path.0));
        self.set.push((path.clone(), written.clone()));
        self.moved.push((path.clone(), written.clone()));
        self.moved.extend(value.moved.into_iter().map(|(moved, document)| (path.join(&moved.0), document)));
    }
}

/// A variable that cannot be replaced.
#[derive(Debug, Clone, PartialEq)]
pub struct SubstitutionFault {
    /// Where it stands in the document.
    pub path: YamlPath,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// Scopes of a command's arguments, which are filled in when it runs.
const LATER: [&str; 2] = ["in", "out"];

/// Replaces every `${scope.name}` of `value`, which stands at `base` of the document. `$${` is a plain `${`.
///
/// # Errors
/// An unknown scope or name, a map in the middle of a text, a `${` without `}`, variables that need themselves.
pub fn substitute(value: Value, base: &YamlPath, scopes: &[Scope<'_>]) -> Result<Substituted, SubstitutionFault> {
    let mut work = Work { scopes, moved: Vec::new(), within: Vec::new(), brought: 0 };
    let value = work.replace(value, base, &YamlPath::root())?;
    Ok(Substituted { value, moved: work.moved, set: Vec::new() })
}

/// The `${scope.name…}` that stand anywhere in a value, as (scope, name).
pub fn uses(value: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match value {
            Value::String(text) => found.extend(pieces(text).into_iter().flatten().filter_map(|piece| match piece {
                Piece::Variable(inner) => {
                    let mut steps = inner.trim().split('.');
                    Some((steps.next()?.to_owned(), steps.next()?.to_owned()))
                }
                Piece::Text(_) => None,
            })),
            Value::Sequence(list) => open.extend(list),
            Value::Mapping(map) => open.extend(map.values()),
            _ => {}
        }
    }
    found
}

struct Work<'a> {
    scopes: &'a [Scope<'a>],
    moved: Vec<(YamlPath, YamlPath)>,
    within: Vec<String>,
    /// How much variables have brought in, by [`weight`].
    brought: usize,
}

/// The most that the variables of one value may bring in. A few lines whose variables name each other several times would
/// otherwise fill any memory.
const MOST: usize = 16 << 20;

/// How deep variables may name variables.
const DEEPEST: usize = 100;

/// Bytes of text, and one for every value.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len() + 1,
        Value::Sequence(list) => list.iter().map(weight).sum::<usize>() + 1,
        Value::Mapping(map) => map.values().map(weight).sum::<usize>() + 1,
        _ => 1,
    }
}

enum Piece<'t> {
    Text(&'t str),
    Variable(&'t str),
}

/// A text cut at its variables; nothing when a `${` is not closed.
fn pieces(text: &str) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            pieces.push(Piece::Text(&rest[..at - 1]));
            pieces.push(Piece::Text("${"));
            rest = &rest[at + 2..];
            continue;
        }
        pieces.push(Piece::Text(&rest[..at]));
        let close = rest[at..].find('}')? + at;
        pieces.push(Piece::Variable(&rest[at + 2..close]));
        rest = &rest[close + 1..];
    }
    pieces.push(Piece::Text(rest));
    pieces.retain(|piece| !matches!(piece, Piece::Text("")));
    Some(pieces)
}

impl Work<'_> {
    /// `document` is where the value was written, `result` where it will stand.
    fn replace(&mut self, value: Value, document: &YamlPath, result: &YamlPath) -> Result<Value, SubstitutionFault> {
        if !has_variable(&value) {
            return Ok(value);
        }
        Ok(match value {
            Value::String(text) => return self.replace_text(&text, document, result),
            Value::Sequence(list) => Value::Sequence(
                list.into_iter()
                    .enumerate()
                    .map(|(i, item)| self.replace(item, &document.index(i), &result.index(i)))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Mapping(map) => {
                let mut replaced = serde_yaml::Mapping::with_capacity(map.len());
                for (key, value) in map {
                    let name = key.as_str().unwrap_or_default();
                    let value = self.replace(value, &document.key(name), &result.key(name))?;
                    replaced.insert(key, value);
                }
                Value::Mapping(replaced)
            }
            other => other,
        })
    }

    fn replace_text(&mut self, text: &str, document: &YamlPath, result: &YamlPath) -> Result<Value, SubstitutionFault> {
        let fault = |message: String, hint: String| SubstitutionFault { path: document.clone(), message, hint };
        let Some(pieces) = pieces(text) else {
            return Err(fault(
                format!("`{text}`: a `${{` without its `}}`"),
                "close it, or write `$${` for a plain `${`".into(),
            ));
        };
        if let [Piece::Variable(inner)] = pieces.as_slice() {
            return match self.look_up(inner, document)? {
                None => Ok(Value::String(text.to_owned())),
                Some((value, written)) => {
                    self.moved.push((result.clone(), written.clone()));
                    self.nested(inner, document, value, |work, value| work.replace(value, &written, result))
                }
            };
        }
        let mut joined = String::with_capacity(text.len());
        for piece in pieces {
            match piece {
                Piece::Text(plain) => joined.push_str(plain),
                Piece::Variable(inner) => match (self.label(inner), self.look_up(inner, document)?) {
                    (Some(label), _) => joined.push_str(label),
                    (None, None) => joined.push_str(&format!("${{{inner}}}")),
                    (None, Some((value, written))) => {
                        // Inside a text only the text remains, so where the parts came from is of no use.
                        let kept = self.moved.len();
                        let value =
                            self.nested(inner, document, value, |work, value| work.replace(value, &written, result))?;
                        self.moved.truncate(kept);
                        joined.push_str(&scalar_text(&value).ok_or_else(|| {
                            fault(
                                format!("`${{{inner}}}` is a {} and stands inside a text", kind_of(&value)),
                                "inside a text only a word or a number can stand; let the variable be the whole value"
                                    .into(),
                            )
                        })?);
                    }
                },
            }
        }
        Ok(Value::String(joined))
    }

    fn nested<T>(
        &mut self,
        inner: &str,
        document: &YamlPath,
        value: Value,
        then: impl FnOnce(&mut Self, Value) -> Result<T, SubstitutionFault>,
    ) -> Result<T, SubstitutionFault> {
        let name = inner.trim().to_owned();
        if self.within.contains(&name) {
            return Err(SubstitutionFault {
                path: document.clone(),
                message: format!("`${{{name}}}` needs itself: {} → {name}", self.within.join(" → ")),
                hint: "give one of them a value of its own".into(),
            });
        }
        self.brought = self.brought.saturating_add(weight(&value));
        if self.brought > MOST || self.within.len() >= DEEPEST {
            return Err(SubstitutionFault {
                path: document.clone(),
                message: format!("`${{{name}}}`: the variables of this value expand without measure"),
                hint: format!("at most {} MiB, and variables in variables {DEEPEST} deep", MOST >> 20),
            });
        }
        self.within.push(name);
        let outcome = then(self, value);
        self.within.pop();
        outcome
    }

    /// What stands for a variable inside a text, where that is a label.
    fn label(&self, inner: &str) -> Option<&str> {
        let (scope, name) = inner.trim().split_once('.')?;
        self.scopes.iter().find(|known| known.name == scope)?.labels.get(name).copied()
    }

    /// The value of a variable and where it was written; nothing for those that are filled in later.
    fn look_up(&self, inner: &str, document: &YamlPath) -> Result<Option<(Value, YamlPath)>, SubstitutionFault> {
        let fault = |message: String, hint: String| SubstitutionFault { path: document.clone(), message, hint };
        let mut steps = inner.trim().split('.');
        let scope_name = steps.next().unwrap_or_default();
        if LATER.contains(&scope_name) {
            return Ok(None);
        }
        let Some(scope) = self.scopes.iter().find(|scope| scope.name == scope_name) else {
            let known: Vec<&str> = self.scopes.iter().map(|scope| scope.name).collect();
            return Err(fault(
                format!("`${{{inner}}}`: there is no `{scope_name}` here"),
                match suggest::nearest(scope_name, known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!(
                        "write one of {}",
                        known.iter().map(|name| format!("`${{{name}.NAME}}`")).collect::<Vec<_>>().join(", ")
                    ),
                },
            ));
        };
        let Some(name) = steps.next().filter(|name| !name.is_empty()) else {
            return Err(fault(format!("`${{{inner}}}` names nothing"), format!("write `${{{scope_name}.NAME}}`")));
        };
        let Some((_, value, written)) = scope.entries.iter().find(|(entry, ..)| *entry == name) else {
            let known: Vec<&str> = scope.entries.iter().map(|(entry, ..)| *entry).collect();
            return Err(fault(
                format!("`${{{inner}}}`: `{scope_name}` has no `{name}`"),
                if known.is_empty() && scope_name == "matrix" {
                    "this stage has no `matrix`; an axis of an input is followed without being named".into()
                } else {
                    suggest::did_you_mean(name, known)
                },
            ));
        };
        let (mut value, mut written) = ((*value).clone(), written.clone());
        for step in steps {
            let segment = step.parse().map_or_else(|_| Segment::Key(step.to_owned()), Segment::Index);
            let Some(inside) = super::document::get(&value, std::slice::from_ref(&segment)).cloned() else {
                let known: Vec<String> = match &value {
                    Value::Mapping(map) => map.keys().filter_map(|key| key.as_str().map(str::to_owned)).collect(),
                    _ => Vec::new(),
                };
                return Err(fault(
                    format!("`${{{inner}}}`: there is no `{step}` in `{written}`"),
                    if known.is_empty() {
                        format!("it is a {}", kind_of(&value))
                    } else {
                        suggest::did_you_mean(step, &known)
                    },
                ));
            };
            value = inside;
            written = written.join(&[segment]);
        }
        Ok(Some((value, written)))
    }
}

/// Whether anything in a value is to be replaced now, or is a `$${`.
fn has_variable(value: &Value) -> bool {
    match value {
        Value::String(text) => has_variable_in(text),
        Value::Sequence(list) => list.iter().any(has_variable),
        Value::Mapping(map) => map.values().any(has_variable),
        _ => false,
    }
}

fn has_variable_in(text: &str) -> bool {
    text.match_indices("${").any(|(at, _)| {
        let scope = text[at + 2..].split_once(['.', '}']).map(|(scope, _)| scope);
        text[..at].ends_with('$') || !scope.is_some_and(|scope| LATER.contains(&scope))
    })
}

/// The text of a word or number; nothing for lists and maps.
pub fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

/// What a value is, in a word.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "missing value",
        Value::Bool(_) => "truth value",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Sequence(_) => "list",
        Value::Mapping(_) | Value::Tagged(_) => "map",
    }
}
