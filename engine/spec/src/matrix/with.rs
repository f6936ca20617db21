//! `with`: settings for some members of a stage. Knows paths into settings, not what these mean.

use serde_yaml::Value;

use super::{Combination, Labels, Matrix, axis::whole, has_labels};
use crate::{
    diagnostic::Diagnostic,
    text::{Document, Scope, Segment, Side, Substituted, YamlPath, kind_of, put, substitute, uses},
};

/// The key of an entry that is no axis.
pub(super) const SET: &str = "set";
const FORM: &str = "write `with: [{method: dora, set: {epochs: 3}}]`";

/// One entry: the members it is for, and what it sets for them.
#[derive(Debug, Clone)]
pub(super) struct With {
    labels: Labels,
    set: Vec<Setting>,
}

/// One setting: its path in the stage, its value with variables in place, and where both were written.
#[derive(Debug, Clone)]
struct Setting {
    path: YamlPath,
    value: Value,
    written: YamlPath,
}

/// A setting that cannot be set.
pub struct Unset {
    /// Where it was written.
    pub written: YamlPath,
    /// Whether its key or its value is at fault.
    pub side: Side,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// Reads the `with` at a path of the document.
///
/// # Errors
/// What is no list of maps; axes and labels that do not exist; entries that set nothing, or that no member fits.
pub(super) fn read(
    matrix: &Matrix,
    document: &Document,
    value: &Value,
    at: &YamlPath,
    vars: &[Scope<'_>],
) -> Result<Vec<With>, Diagnostic> {
    let (value, at) = whole(document, value, at, vars)?;
    let Value::Sequence(items) = &value else {
        return Err(document.fault(&at, Side::Value, "`with` is a list of settings for members", FORM));
    };
    let combinations = matrix.combinations();
    let mut entries = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let at = at.index(index);
        let fault = |side, message: String, hint: &str| Err(document.fault(&at, side, message, hint));
        let Value::Mapping(map) = item else {
            return fault(Side::Value, format!("a {} where settings for members belong", kind_of(item)), FORM);
        };
        let Some(set) = map.get(SET) else {
            return fault(Side::Value, "this entry sets nothing".into(), "add `set: {epochs: 3}`");
        };
        let mut labels = map.clone();
        labels.shift_remove(SET);
        if labels.is_empty() {
            let hint = "name the members by axis and label, or write the settings into the stage itself";
            return fault(Side::Value, "this entry names no members".into(), hint);
        }
        let labels = matrix.labels(document, &labels, &at)?;
        if !combinations.iter().any(|combination| has_labels(combination, &labels)) {
            return fault(Side::Value, "no member fits this entry".into(), "look at `exclude`, or take the entry out");
        }
        entries.push(With { labels, set: settings(document, set, &at.key(SET), vars)? });
    }
    Ok(entries)
}

/// Reads the `set` at a path of the document.
fn settings(document: &Document, value: &Value, at: &YamlPath, vars: &[Scope<'_>]) -> Result<Vec<Setting>, Diagnostic> {
    let (value, at) = whole(document, value, at, vars)?;
    let Value::Mapping(map) = &value else {
        let message = format!("a {} where settings belong", kind_of(&value));
        return Err(document.fault(&at, Side::Value, message, "write `set: {epochs: 3}`"));
    };
    if map.is_empty() {
        return Err(document.fault(&at, Side::Value, "nothing is set", "write `set: {epochs: 3}`"));
    }
    let mut settings = Vec::with_capacity(map.len());
    for (key, value) in map {
        let key = key.as_str().unwrap_or_default();
        let (path, written) = (YamlPath::dotted(key), at.key(key));
        let hint = match path.0.first() {
            Some(Segment::Key(first)) if ["kind", "matrix"].contains(&first.as_str()) => {
                "`kind` and `matrix` are the same for all members of a stage: make it two stages"
            }
            Some(Segment::Key(first)) if ["stages", "vars"].contains(&first.as_str()) => {
                "paths begin at the stage, for example `epochs` or `adapter.lora.rank`"
            }
            None => "name a setting, for example `epochs`",
            _ => {
                settings.push(Setting { path, value: value.clone(), written });
                continue;
            }
        };
        return Err(document.fault(&written, Side::Key, format!("`{key}` cannot be set for single members"), hint));
    }
    Ok(settings)
}

impl Matrix {
    /// Applies what `with` sets for a combination to its settings, variables replaced; of two entries the later wins.
    ///
    /// # Errors
    /// A path that leads nowhere, a variable that cannot be replaced.
    pub fn apply_with(
        &self,
        combination: &Combination<'_>,
        settings: &mut Substituted,
        scopes: &[Scope<'_>],
    ) -> Result<(), Vec<Unset>> {
        let mut faults = Vec::new();
        let fitting = self.with.iter().filter(|with| has_labels(combination, &with.labels));
        for Setting { path, value, written } in fitting.flat_map(|with| &with.set) {
            match substitute(value.clone(), written, scopes) {
                Err(fault) => {
                    let (message, hint) = (fault.message, fault.hint);
                    faults.push(Unset { written: fault.path, side: Side::Value, message, hint });
                }
                Ok(value) => {
                    let new = value.value.clone();
                    match put(&mut settings.value, path, path.0.len() - 1, 0, new) {
                        Ok(()) => settings.note_set(path, written, value),
                        Err((message, hint)) => {
                            faults.push(Unset { written: written.clone(), side: Side::Key, message, hint });
                        }
                    }
                }
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// Whether an entry sets something for single labels of an axis, among the settings that `counts` says count.
    pub fn with_uses(&self, axis: &str, counts: impl Fn(&YamlPath) -> bool) -> bool {
        let sets = |with: &With| with.set.iter().any(|setting| counts(&setting.path));
        self.with.iter().any(|with| with.labels.contains_key(axis) && sets(with))
    }

    /// The variables of the values that `with` sets, as (scope, name), among the settings that `counts` says count.
    pub fn with_variables(&self, counts: impl Fn(&YamlPath) -> bool) -> Vec<(String, String)> {
        let settings = self.with.iter().flat_map(|with| &with.set).filter(|setting| counts(&setting.path));
        settings.flat_map(|setting| uses(&setting.value)).collect()
    }
}
