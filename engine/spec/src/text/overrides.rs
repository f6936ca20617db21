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
        for length in 1..=must_exist {
            let step = &path.0[..length];
            if get(&self.value, step).is_none() {
                let known = keys_of(get(&self.value, &step[..length - 1]));
                let word = YamlPath(vec![step[length - 1].clone()]).to_string();
                let step = YamlPath(step.to_vec());
                let nowhere = if step == *path { String::new() } else { format!("`{path}` leads nowhere: ") };
                return Err(Diagnostic::new(
                    format!("{nowhere}there is no `{step}`"),
                    suggest::did_you_mean(&word, &known),
                ));
            }
        }
        let mut place = &mut self.value;
        for segment in &path.0 {
            place = match (place, segment) {
                (Value::Mapping(map), segment) => {
                    let key = YamlPath(vec![segment.clone()]).to_string();
                    map.entry(Value::String(key)).or_insert(Value::Null)
                }
                (Value::Sequence(list), Segment::Index(index)) if *index < list.len() => &mut list[*index],
                _ => {
                    return Err(Diagnostic::new(
                        format!("`{path}` leads into a value that holds nothing"),
                        "set the whole value one step above instead",
                    ));
                }
            };
        }
        *place = value;
        self.origins.note(path.clone(), source, written);
        Ok(())
    }
}

fn keys_of(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Mapping(map)) => map.keys().filter_map(|key| key.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}
