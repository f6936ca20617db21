//! One axis of a `matrix`: a list of values, a map of names to values, or all subsets of a list. Knows no other axis.

use std::collections::BTreeSet;

use serde_yaml::Value;

use crate::{
    diagnostic::Diagnostic,
    text::{Document, Scope, Segment, Side, YamlPath, kind_of, scalar_text, substitute},
};

/// The key that makes an axis all subsets of a list.
const SUBSETS: &str = "subsets";
/// Of more than these, no one reads the table of 2ⁿ - 1 members.
pub const MOST_SUBSET_ITEMS: usize = 10;

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
    /// Where the value was written; a path of its own where it was put together from several.
    pub path: YamlPath,
    /// Where the items were written of a list that was put together.
    items: Vec<YamlPath>,
}

impl AxisEntry {
    /// A label and its value, as written in one place.
    pub fn new(label: impl Into<String>, value: Value, path: YamlPath) -> Self {
        Self { label: label.into(), value, path, items: Vec::new() }
    }
}

/// A value that may be given as one whole `${vars.…}`.
pub(super) fn whole(
    document: &Document,
    value: &Value,
    path: &YamlPath,
    vars: &[Scope<'_>],
) -> Result<(Value, YamlPath), Diagnostic> {
    if !matches!(value, Value::String(text) if text.contains("${")) {
        return Ok((value.clone(), path.clone()));
    }
    let done = substitute(value.clone(), path, vars)
        .map_err(|fault| document.fault(&fault.path, Side::Value, fault.message, fault.hint))?;
    let written = done.document_path(path, &YamlPath::root());
    Ok((done.value, written))
}

/// Reads the axis `name` at a path of the document.
///
/// # Errors
/// What is no list and no map, empty ones, labels that stand twice, values without a name.
pub(super) fn read(
    document: &Document,
    name: &str,
    value: &Value,
    at: &YamlPath,
    vars: &[Scope<'_>],
) -> Result<Axis, Diagnostic> {
    let (value, at) = whole(document, value, at, vars)?;
    let entries: Vec<AxisEntry> = match &value {
        Value::Mapping(map) if map.contains_key(SUBSETS) => subsets(document, name, map, &at, vars)?,
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
                entries.push(AxisEntry::new(label, item, path));
            }
            entries
        }
        Value::Mapping(map) => map
            .iter()
            .map(|(label, value)| {
                let label = label.as_str().unwrap_or_default().to_owned();
                let path = at.join(&[Segment::Key(label.clone())]);
                AxisEntry::new(label, value.clone(), path)
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
        let message = format!("the axis `{name}` is empty");
        return Err(document.fault(&at, Side::Key, message, "give it at least one value"));
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

/// Every subset of a list but the empty one: those of one item first, each size in the order of the list.
fn subsets(
    document: &Document,
    name: &str,
    map: &serde_yaml::Mapping,
    at: &YamlPath,
    vars: &[Scope<'_>],
) -> Result<Vec<AxisEntry>, Diagnostic> {
    if let Some(other) = map.keys().filter_map(Value::as_str).find(|key| *key != SUBSETS) {
        return Err(document.fault(
            &at.key(other),
            Side::Key,
            format!("`{other}` beside `subsets` on the axis `{name}`"),
            format!("`{name}: {{subsets: [a, b]}}` is an axis of its own; a label cannot be called `subsets`"),
        ));
    }
    let (value, at) = whole(document, map.get(SUBSETS).unwrap_or(&Value::Null), &at.key(SUBSETS), vars)?;
    let Value::Sequence(list) = &value else {
        let message = format!("a {} where a list belongs", kind_of(&value));
        return Err(document.fault(&at, Side::Value, message, format!("write `{name}: {{subsets: [a, b]}}`")));
    };
    if list.is_empty() || list.len() > MOST_SUBSET_ITEMS {
        let (message, hint) = match list.len() {
            0 => (format!("the axis `{name}` is empty"), "give `subsets` at least one value".to_owned()),
            count => (
                format!("{count} items have 2^{count} - 1 subsets"),
                format!("give at most {MOST_SUBSET_ITEMS}, or list the subsets you want: `{name}: {{both: [a, b]}}`"),
            ),
        };
        return Err(document.fault(&at, Side::Key, message, hint));
    }
    let mut items: Vec<(String, Value, YamlPath)> = Vec::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        let (item, path) = whole(document, item, &at.index(index), vars)?;
        let fault = |message: String, hint: &str| Err(document.fault(&at.index(index), Side::Value, message, hint));
        let Some(label) = scalar_text(&item) else {
            return fault(format!("a {} among the items of `subsets`", kind_of(&item)), "give words or numbers");
        };
        if items.iter().any(|(known, ..)| *known == label) {
            return fault(format!("`{label}` stands twice in `subsets`"), "keep one of them");
        }
        items.push((label, item, path));
    }
    let mut chosen: Vec<Vec<usize>> = (1_u32..1 << items.len())
        .map(|set| (0..items.len()).filter(|place| set & (1 << place) != 0).collect())
        .collect();
    chosen.sort_by(|one: &Vec<usize>, other| one.len().cmp(&other.len()).then_with(|| one.cmp(other)));
    let entry = |places: Vec<usize>| {
        let labels: Vec<&str> = places.iter().map(|place| items[*place].0.as_str()).collect();
        let label = labels.join("+");
        AxisEntry {
            path: at.key(&label),
            label,
            value: places.iter().map(|place| items[*place].1.clone()).collect(),
            items: places.iter().map(|place| items[*place].2.clone()).collect(),
        }
    };
    Ok(chosen.into_iter().map(entry).collect())
}

impl Axis {
    /// Where parts of values were written that stand at paths of their own: (path, written).
    pub(super) fn origins(&self) -> impl Iterator<Item = (YamlPath, YamlPath)> + '_ {
        self.entries.iter().filter(|entry| !entry.items.is_empty()).flat_map(|entry| {
            let list = YamlPath(entry.path.0[..entry.path.0.len() - 1].to_vec());
            let items = entry.items.iter().enumerate();
            std::iter::once((entry.path.clone(), list))
                .chain(items.map(|(index, written)| (entry.path.index(index), written.clone())))
        })
    }
}
