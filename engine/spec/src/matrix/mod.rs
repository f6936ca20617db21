//! `matrix`: the axes of a stage, the combinations that are left after `exclude`, and what `with` sets for some of
//! them. Knows no other stage's axes.

mod axis;
mod with;

use std::collections::BTreeMap;

use serde_yaml::Value;

pub use self::axis::{Axis, AxisEntry, MOST_SUBSET_ITEMS};
use self::{axis::whole, with::With};
use crate::{
    diagnostic::Diagnostic,
    names, suggest,
    text::{Document, Scope, Side, YamlPath, kind_of, scalar_text},
};

/// The keys of a `matrix` that are no axes.
pub const MATRIX_KEYS: &[&str] = &["exclude", "with"];

/// The most combinations that the axes of one stage may have, `exclude` not counted.
pub const MOST_COMBINATIONS: usize = 100_000;

/// The axes of one stage.
#[derive(Debug, Clone, Default)]
pub struct Matrix {
    /// The axes in the order of the file.
    pub axes: Vec<Axis>,
    exclude: Vec<Labels>,
    with: Vec<With>,
}

/// Labels by axis: the combinations that have them all.
type Labels = BTreeMap<String, String>;

/// One label of each axis.
pub type Combination<'m> = Vec<(&'m Axis, &'m AxisEntry)>;

impl Matrix {
    /// Reads the `matrix` at `path` of the document.
    ///
    /// # Errors
    /// Axes that are no list and no map, empty ones, labels that stand twice, values without a name, exclusions of
    /// what does not exist or of everything, settings for members that do not exist.
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
            if MATRIX_KEYS.contains(&name) {
                continue;
            }
            if !names::is_name(name) || name == with::SET {
                let hint = if name == with::SET { "`set` is a word of `with`: choose another" } else { names::RULE };
                faults.push(document.fault(&at, Side::Key, format!("`{name}` is no name for an axis"), hint));
                continue;
            }
            match axis::read(document, name, value, &at, vars) {
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
        let count = matrix.axes.iter().fold(1_usize, |count, axis| count.saturating_mul(axis.entries.len()));
        if faults.is_empty() && count > MOST_COMBINATIONS {
            let message = format!("{count} combinations; at most {MOST_COMBINATIONS} can be told apart");
            return Err(vec![document.fault(&path, Side::Key, message, "leave out axes, or labels of them")]);
        }
        if faults.is_empty() && matrix.combinations().is_empty() {
            let at = path.key("exclude");
            faults.push(document.fault(&at, Side::Key, "every combination is excluded", "leave at least one"));
        }
        if let (Some(value), true) = (map.get("with"), faults.is_empty()) {
            match with::read(&matrix, document, value, &path.key("with"), vars) {
                Ok(with) => matrix.with = with,
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() { Ok(matrix) } else { Err(faults) }
    }

    /// Every combination that is not excluded; one without entries where there is no axis.
    pub fn combinations(&self) -> Vec<Combination<'_>> {
        let mut combinations: Vec<Combination<'_>> = vec![Vec::new()];
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
        combinations.retain(|combination| !self.exclude.iter().any(|excluded| has_labels(combination, excluded)));
        combinations
    }

    /// Where parts of axis values were written that stand at paths of their own: (path, written).
    pub fn origins(&self) -> impl Iterator<Item = (YamlPath, YamlPath)> + '_ {
        self.axes.iter().flat_map(Axis::origins)
    }

    fn exclusions(
        &self,
        document: &Document,
        value: &Value,
        at: &YamlPath,
        vars: &[Scope<'_>],
    ) -> Result<Vec<Labels>, Diagnostic> {
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
            exclude.push(self.labels(document, entries, &at)?);
        }
        Ok(exclude)
    }

    /// Reads a map of axes to labels, all of which must exist.
    fn labels(&self, document: &Document, entries: &serde_yaml::Mapping, at: &YamlPath) -> Result<Labels, Diagnostic> {
        let mut labels = Labels::new();
        for (name, label) in entries {
            let name = name.as_str().unwrap_or_default();
            let at = at.key(name);
            let Some(axis) = self.axes.iter().find(|axis| axis.name == name) else {
                let known = self.axes.iter().map(|axis| axis.name.as_str());
                let hint = suggest::did_you_mean(name, known);
                return Err(document.fault(&at, Side::Key, format!("this matrix has no axis `{name}`"), hint));
            };
            let label = scalar_text(label).unwrap_or_default();
            if !axis.entries.iter().any(|entry| entry.label == label) {
                let known = axis.entries.iter().map(|entry| entry.label.as_str());
                let hint = suggest::did_you_mean(&label, known);
                return Err(document.fault(&at, Side::Value, format!("the axis `{name}` has no `{label}`"), hint));
            }
            labels.insert(name.to_owned(), label);
        }
        Ok(labels)
    }
}

/// Whether a combination has all of these labels.
fn has_labels(combination: &Combination<'_>, labels: &Labels) -> bool {
    labels
        .iter()
        .all(|(name, label)| combination.iter().any(|(axis, entry)| axis.name == *name && entry.label == *label))
}
