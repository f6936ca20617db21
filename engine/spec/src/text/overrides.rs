//! Overrides of a document's values by dotted paths: a profile's entries and `--set`.

use std::sync::Arc;

use serde_yaml::Value;

use super::{
    document::{Document, get, tidy},
    path::{Segment, YamlPath},
    source::{Side, Source},
};
use crate::{diagnostic::Diagnostic, suggest};

impl Document {
    /// Applies the profile `name`: a map from dotted paths to values.
    ///
    /// # Errors
    /// No such profile, or a path that leads nowhere.
    pub fn apply_profile(&mut self, name: &str) -> Result<(), Vec<Diagnostic>> {
        let at = YamlPath::keys(["profiles", name]);
        let Some(profile) = self.get(&at).cloned() else {
            let known: Vec<String> = match self.get(&YamlPath::keys(["profiles"])) {
                Some(Value::Mapping(profiles)) => {
                    profiles.keys().filter_map(|k| k.as_str().map(str::to_owned)).collect()
                }
                _ => Vec::new(),
            };
            return Err(vec![Diagnostic::new(
                format!("no profile is named `{name}`"),
                suggest::did_you_mean(name, &known),
            )]);
        };
        let Value::Mapping(entries) = profile else {
            return Err(vec![self.fault(&at, Side::Value, "a profile is a map", "write `NAME: {vars.rows: 256}`")]);
        };
        let mut faults = Vec::new();
        for (path, value) in entries {
            let path = path.as_str().unwrap_or_default().to_owned();
            let written = at.key(&path);
            let source = self.source.clone();
            if let Err(fault) = self.set(&YamlPath::dotted(&path), value, source, written.clone()) {
                faults.push(fault.at(self.source.locate(&written, Side::Key)));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// Applies one `--set PATH=VALUE`; the value is read as YAML.
    ///
    /// # Errors
    /// No `=`, a value that is no YAML, or a path that leads nowhere.
    pub fn apply_set(&mut self, argument: &str) -> Result<(), Diagnostic> {
        let whole = Source::new("--set", argument);
        let Some((path, text)) = argument.split_once('=') else {
            return Err(Diagnostic::new(format!("`{argument}` sets nothing"), "write `--set vars.rows=256`")
                .at(Some(whole.span(0, argument.len()))));
        };
        let value: Value = serde_yaml::from_str(text).map_err(|error| {
            let message = error.to_string();
            Diagnostic::new(
                format!(
                    "the value of `--set {path}` is no YAML: {}",
                    message.split(" at line ").next().unwrap_or_default()
                ),
                "quote it as YAML wants, for example `--set vars.text='\"a: b\"'`",
            )
            .at(Some(whole.span(path.len() + 1, argument.len())))
        })?;
        let path_place = whole.span(0, path.len());
        let written = Source::new(format!("--set {path}"), text);
        let value = tidy(value, &YamlPath::root())
            .map_err(|(at, side, message, hint)| Diagnostic::new(message, hint).at(written.locate(&at, side)))?;
        self.set(&YamlPath::dotted(path), value, written, YamlPath::root()).map_err(|fault| fault.at(Some(path_place)))
    }

    fn set(&mut self, path: &YamlPath, value: Value, source: Arc<Source>, written: YamlPath) -> Result<(), Diagnostic> {
        let top = ["vars", "stages"];
        match path.0.first() {
            Some(Segment::Key(first)) if top.contains(&first.as_str()) && path.0.len() > 1 => {}
            _ => {
                return Err(Diagnostic::new(
                    format!("`{path}` is no path of a setting"),
                    "begin with `vars.` or `stages.`, for example `vars.rows` or `stages.tuned.epochs`",
                ));
            }
        }
        // What is above the last step must exist: `vars.rowz` would else be set and never read.
        let must_exist = if path.0[0] == Segment::Key("vars".into()) { 2 } else { path.0.len() - 1 };
        put(&mut self.value, path, must_exist, 2, value).map_err(|(message, hint)| Diagnostic::new(message, hint))?;
        self.origins.note(path.clone(), source, written);
        Ok(())
    }
}

/// Puts a value at a path below `root`, of which the first `must_exist` steps are there already; the first `names` are
/// names that the author gave, which cannot be added.
///
/// # Errors
/// What is wrong with the path, and what to do.
pub(crate) fn put(
    root: &mut Value,
    path: &YamlPath,
    must_exist: usize,
    names: usize,
    value: Value,
) -> Result<(), (String, String)> {
    for length in 1..=must_exist {
        let step = &path.0[..length];
        if get(root, step).is_none() {
            let known = keys_of(get(root, &step[..length - 1]));
            let word = YamlPath(vec![step[length - 1].clone()]).to_string();
            let step = YamlPath(step.to_vec());
            let nowhere = if step == *path { String::new() } else { format!("`{path}` leads nowhere: ") };
            let hint = match suggest::nearest(&word, &known) {
                None if length > names => nested(&step, path),
                _ => suggest::did_you_mean(&word, &known),
            };
            return Err((format!("{nowhere}there is no `{step}`"), hint));
        }
    }
    let mut place = root;
    for segment in &path.0 {
        place = match (place, segment) {
            (Value::Mapping(map), segment) => {
                let key = YamlPath(vec![segment.clone()]).to_string();
                map.entry(Value::String(key)).or_insert(Value::Null)
            }
            (Value::Sequence(list), Segment::Index(index)) if *index < list.len() => &mut list[*index],
            _ => {
                return Err((
                    format!("`{path}` leads into a value that holds nothing"),
                    "set the whole value one step above instead".to_owned(),
                ));
            }
        };
    }
    *place = value;
    Ok(())
}

/// How to set what lies below a step that was not written: `optimizer: {adamw: {learning_rate: …}}`.
fn nested(step: &YamlPath, path: &YamlPath) -> String {
    let below = &path.0[step.0.len()..];
    let word = |segment: &Segment| YamlPath(vec![segment.clone()]).to_string();
    let inner = below.iter().rev().fold("…".to_owned(), |inner, segment| format!("{{{}: {inner}}}", word(segment)));
    format!("write `{step}: {inner}`")
}

fn keys_of(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Mapping(map)) => map.keys().filter_map(|key| key.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}
