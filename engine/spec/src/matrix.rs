//! `matrix`: the axes of a stage and the combinations that are left after `exclude`. Knows no other stage's axes.

use std::collections::{BTreeMap, BTreeSet};

use serde_yaml::Value;

use crate::{
    diagnostic::Diagnostic,
    names, suggest,
    text::{Document, Scope, Segment, Side, YamlPath, kind_of, scalar_text, substitute},
};

/// One axis: its name, and its labels with their values and where these were written.
#[derive(Debug, Clone)]
pub struct Axis {
    /// The axis's name.
    pub name: String,
    /// Labels in the order of the file.
    pub entries: Vec<AxisEntry>,
}

/// One label of an axis.
#[derive(Debug, Clone)]
pub struct AxisEntry {
    /// What the member is called.
    pub label: String,
    /// What is used.
    pub value: Value,
    /// Where the value was written.
    pub path: YamlPath,
}

/// The axes of one stage.
#[derive(Debug, Clone, Default)]
pub struct Matrix {
    /// The axes in the order of the file.
    pub axes: Vec<Axis>,
    exclude: Vec<BTreeMap<String, String>>,
}

impl Matrix {
    /// Reads the `matrix` at `path` of the document.
    ///
    /// # Errors
    /// Axes that are no list and no map, empty ones, labels that stand twice, values without a name, exclusions of
    /// what does not exist or of everything.
    pub fn read(document: &Document, path: &YamlPath, vars: &[Scope<'_>]) -> Result<Self, Vec<Diagnostic>> {
        let Some(value) = document.get(path) else { return Ok(Self::default()) };
        let (value, path) = whole(document, value, path, vars).map_err(|fault| vec![fault])?;
        let Value::Mapping(map) = value else {
            let message = format!("a {} where axes belong", kind_of(&value));
            return Err(vec![document.fault(&path, Side::Value, message, "write `matrix: {seed: [0, 1, 2]}`")]);
        };
        let mut matrix = Self::default();
        let mut faults = Vec::new();
        for (name, value) in &map {
            let name = name.as_str().unwrap_or_default();
            let at = path.key(name);
            if name == "exclude" {
                continue;
            }
            if !names::is_name(name) {
                faults.push(document.fault(&at, Side::Key, format!("`{name}` is no name for an axis"), names::RULE));
                continue;
            }
            match axis(document, name, value, &at, vars) {
                Ok(axis) => matrix.axes.push(axis),
                Err(fault) => faults.push(fault),
            }
        }
        if let (Some(value), true) = (map.get("exclude"), faults.is_empty()) {
            match matrix.exclusions(document, value, &path.key("exclude"), vars) {
                Ok(exclude) => matrix.exclude = exclude,
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() && matrix.combinations().is_empty() {
            let at = path.key("exclude");
            faults.push(document.fault(&at, Side::Key, "every combination is excluded", "leave at least one"));
        }
        if faults.is_empty() { Ok(matrix) } else { Err(faults) }
    }

    /// Every combination that is not excluded; one without entries where there is no axis.
    pub fn combinations(&self) -> Vec<Vec<(&Axis, &AxisEntry)>> {
        let mut combinations: Vec<Vec<(&Axis, &AxisEntry)>> = vec![Vec::new()];
        for axis in &self.axes {
            combinations = combinations
                .into_iter()
                .flat_map(|combination| {
                    axis.entries.iter().map(move |entry| {
                        let mut longer = combination.clone();
                        longer.push((axis, entry));
                        longer
                    })
                })
                .collect();
        }
        combinations.retain(|combination| {
            !self.exclude.iter().any(|excluded| {
                excluded.iter().all(|(name, label)| {
                    combination.iter().any(|(axis, entry)| axis.name == *name && entry.label == *label)
                })
            })
        });
        combinations
    }

    fn exclusions(
        &self,
        document: &Document,
        value: &Value,
        at: &YamlPath,
        vars: &[Scope<'_>],
    ) -> Result<Vec<BTreeMap<String, String>>, Diagnostic> {
        let (value, at) = whole(document, value, at, vars)?;
        let Value::Sequence(list) = &value else {
            return Err(document.fault(
                &at,
                Side::Value,
                "`exclude` is a list of combinations",
                "write `exclude: [{method: dora, seed: 2}]`",
            ));
        };
        let mut exclude = Vec::new();
        for (index, item) in list.iter().enumerate() {
            let at = at.index(index);
            let Value::Mapping(entries) = item else {
                return Err(document.fault(
                    &at,
                    Side::Value,
                    "an exclusion is a map of axes to labels",
                    "write `{method: dora, seed: 2}`",
                ));
            };
            let mut excluded = BTreeMap::new();
            for (name, label) in entries {
                let name = name.as_str().unwrap_or_default();
                let at = at.key(name);
                let Some(axis) = self.axes.iter().find(|axis| axis.name == name) else {
                    let known = self.axes.iter().map(|axis| axis.name.as_str());
                    return Err(document.fault(
                        &at,
                        Side::Key,
                        format!("this matrix has no axis `{name}`"),
                        suggest::did_you_mean(name, known),
                    ));
                };
                let label = scalar_text(label).unwrap_or_default();
                if !axis.entries.iter().any(|entry| entry.label == label) {
                    let known = axis.entries.iter().map(|entry| entry.label.as_str());
                    return Err(document.fault(
                        &at,
                        Side::Value,
                        format!("the axis `{name}` has no `{label}`"),
                        suggest::did_you_mean(&label, known),
                    ));
                }
                excluded.insert(name.to_owned(), label);
            }
            exclude.push(excluded);
        }
        Ok(exclude)
    }
}

/// A value that may be given as one whole `${vars.…}`.
fn whole(
    document: &Document,
    value: &Value,
    path: &YamlPath,
    vars: &[Scope<'_>],
) -> Result<(Value, YamlPath), Diagnostic> {
    if !matches!(value, Value::String(text) if text.contains("${")) {
        return Ok((value.clone(), path.clone()));
    }
    let done = substitute(value, path, vars)
        .map_err(|fault| document.fault(&fault.path, Side::Value, fault.message, fault.hint))?;
    let written = done.document_path(path, &YamlPath::root());
    Ok((done.value, written))
}

fn axis(document: &Document, name: &str, value: &Value, at: &YamlPath, vars: &[Scope<'_>]) -> Result<Axis, Diagnostic> {
    let (value, at) = whole(document, value, at, vars)?;
    let entries: Vec<AxisEntry> = match &value {
        Value::Sequence(list) => {
            let mut entries = Vec::with_capacity(list.len());
            for (index, item) in list.iter().enumerate() {
                let (item, path) = whole(document, item, &at.index(index), vars)?;
                let Some(label) = scalar_text(&item) else {
                    return Err(document.fault(
                        &at.index(index),
                        Side::Value,
                        format!("a {} in the list of the axis `{name}` has no name", kind_of(&item)),
                        "make the axis a map that names its values: `{small: {…}, large: {…}}`",
                    ));
                };
                entries.push(AxisEntry { label, value: item, path });
            }
            entries
        }
        Value::Mapping(map) => map
            .iter()
            .map(|(label, value)| {
                let label = label.as_str().unwrap_or_default().to_owned();
                let path = at.join(&[Segment::Key(label.clone())]);
                AxisEntry { label, value: value.clone(), path }
            })
            .collect(),
        other => {
            return Err(document.fault(
                &at,
                Side::Value,
                format!("a {} where the values of the axis `{name}` belong", kind_of(other)),
                format!("write a list, `{name}: [a, b]`, or a map of names to values"),
            ));
        }
    };
    if entries.is_empty() {
        return Err(document.fault(
            &at,
            Side::Key,
            format!("the axis `{name}` is empty"),
            "give it at least one value",
        ));
    }
    let mut seen = BTreeSet::new();
    for (index, entry) in entries.iter().enumerate() {
        if !seen.insert(&entry.label) {
            return Err(document.fault(
                &at.index(index),
                Side::Value,
                format!("`{}` stands twice on the axis `{name}`", entry.label),
                "keep one of them",
            ));
        }
    }
    Ok(Axis { name: name.to_owned(), entries })
}
