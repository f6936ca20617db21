//! What a `preprocess` stage may say.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Fault, Format, Input, Join, Kind, LocalPath, Program, Read, Splits, Take};
use crate::{
    reference::Reference,
    stage_or::{self, StageOr},
};

/// Reads rows, divides them into splits and renders each row by a template.
///
/// Leaves one Parquet file a split, `<split>.parquet`, with a column for each block of the template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// The stage that left the files, or `{rows: {…}}`: rows that stand here.
    pub input: RowSource,
    /// How the files are read. Without it, the file's name and beginning decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// Rows of another stage that are put into these, by a column.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub join: Option<Join>,
    /// Names for a column's whole numbers, from 0 on: `{label: [negative, positive]}` makes 1 `positive`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("additionalProperties" = {"type": "array", "items": {"type": "string"}, "minItems": 1}))]
    pub names: BTreeMap<String, Vec<String>>,
    /// The template, a file under `templates/`.
    pub template: String,
    /// The splits, by name.
    #[schemars(extend("minProperties" = 1, "propertyNames" = {"pattern": crate::names::PATTERN}))]
    pub splits: BTreeMap<String, Split>,
}

/// A choice without settings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// Where rows come from.
#[derive(Debug, Clone, PartialEq)]
pub enum RowSource {
    /// The files that a stage left.
    Stage(Reference),
    /// Rows that stand in the pipeline file, by the name that splits read them under.
    Rows(LiteralRows),
}

/// A row that stands in the pipeline file: columns by name.
pub type LiteralRow = serde_json::Map<String, serde_json::Value>;

/// Rows by the name that splits read them under.
pub type LiteralRows = BTreeMap<String, Vec<LiteralRow>>;

crate::one_of! {
    /// Rows that no stage left.
    pub enum Written {
        /// Rows that stand here, by the name that splits read them under: `{rows: {train: [{text: …}, …]}}`.
        rows => Rows(LiteralRows),
    }
}

impl Serialize for RowSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Stage(reference) => reference.serialize(serializer),
            Self::Rows(rows) => {
                use serde::ser::SerializeMap;
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("rows", rows)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for RowSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found: StageOr<Written> = stage_or::deserialize(deserializer, "a stage that left files, or `{rows: {…}}`")?;
        Ok(match found {
            StageOr::Stage(reference) => Self::Stage(reference),
            StageOr::Other(Written::Rows(rows)) => Self::Rows(rows),
        })
    }
}

impl JsonSchema for RowSource {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RowSource".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let stage = generator.subschema_for::<Reference>();
        let written = generator.subschema_for::<Written>();
        schemars::json_schema!({
            "description": "A stage that left files, or rows that stand here: `{rows: {train: [{…}, …]}}`.",
            "anyOf": [stage, written],
        })
    }
}

/// How one split is made: rows are read and joined, those that `where` does not want left out; then they are `shuffle`d,
/// divided (`hold_out`, `rest_of`), taken, and `permute`d.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("not" = {"required": ["hold_out", "rest_of"]}))]
pub struct Split {
    /// The file of the input that holds the rows, by its name without the ending (`train`, `raw/train`), a set of shards
    /// (`train-00000-of-00002`, …) by the name before the numbers, or several files by a pattern (`parts/*.jsonl`). A list
    /// is read one after the other.
    pub from: SplitNames,
    /// Keep only the rows for which this expression is true, such as `lang == "ru" and text|length > 20`: columns by
    /// name, written as in a template.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub filter: Option<String>,
    /// Hold out some rows of `from`: this split is exactly those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_out: Option<HoldOut>,
    /// All rows of `from` but those that this other split holds out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest_of: Option<String>,
    /// Put the rows into a random order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shuffle: Option<Seeded>,
    /// How many rows are kept, from the first on.
    #[serde(default)]
    pub take: Take,
    /// Exchange a column's values among the rows: a control that tells reading from remembering.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permute: Option<Permute>,
}

/// One name, or a list of names.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct SplitNames(pub Vec<String>);

impl<'de> Deserialize<'de> for SplitNames {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = SplitNames;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a split's name, or a list of names")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<SplitNames, E> {
                Ok(SplitNames(vec![name.to_owned()]))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<SplitNames, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(SplitNames(names))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for SplitNames {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SplitNames".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A split's name, or a list of names.",
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }],
        })
    }
}

/// Rows set apart, for choosing a prompt or a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldOut {
    /// How many rows, at least: with `by`, whole groups are taken until this many are reached.
    #[schemars(range(min = 1))]
    pub rows: usize,
    /// The column whose equal values stay together, so that no group stands on both sides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The seed of the choice.
    #[serde(default)]
    pub seed: u64,
}

/// A random order.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Seeded {
    /// The seed of the order.
    #[serde(default)]
    pub seed: u64,
}

/// A column exchanged among rows so that no row keeps its own value where another one is to be had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Permute {
    /// The column.
    pub column: String,
    /// The seed of the exchange.
    #[serde(default)]
    pub seed: u64,
}

impl Kind for Preprocess {
    const VERSION: u32 = 2;
    const PROGRAM: Program = Program::Engine;

    fn inputs(&self) -> Vec<Input<'_>> {
        let mut inputs = Vec::new();
        if let RowSource::Stage(reference) = &self.input {
            inputs.push(Input::follow("input", reference).of_kind(&["download"]));
        }
        if let Some(join) = &self.join {
            inputs.push(Input::follow("join.with", &join.with).of_kind(&["download"]));
        }
        inputs
    }

    fn local_paths(&self) -> Vec<LocalPath> {
        vec![LocalPath { role: "template".into(), path: format!("templates/{}", self.template), read: Read::Template }]
    }

    fn splits(&self) -> Splits<'_> {
        Splits::Named(self.splits.keys().map(String::as_str).collect())
    }

    fn part_path(&self, part: &str) -> String {
        crate::files::split(part)
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.splits.is_empty() {
            faults.push(Fault::new("splits", "no split", "name at least one: `splits: {train: {from: train}}`"));
        }
        let formats =
            [("format", &self.format), ("join.format", &self.join.as_ref().and_then(|join| join.format.clone()))]
                .map(|(path, format)| format.as_ref().and_then(|format| Some((path, format.fault()?))));
        faults.extend(
            formats
                .into_iter()
                .flatten()
                .map(|(path, (below, what, hint))| Fault::new(format!("{path}.{below}"), what, hint)),
        );
        faults.extend(self.join.iter().flat_map(Join::faults));
        for (column, _) in self.names.iter().filter(|(_, names)| names.is_empty()) {
            faults.push(Fault::new(
                format!("names.{column}"),
                "an empty list",
                "name the values of the column, that of 0 first",
            ));
        }
        faults.extend(self.written_faults());
        for (name, split) in self.splits.iter() {
            let at = |key: &str| format!("splits.{name}.{key}");
            if !crate::names::is_name(name) {
                faults.push(Fault::of_map(
                    format!("splits.{name}"),
                    format!("`{name}` is no name for a split"),
                    crate::names::RULE,
                ));
            }
            if split.from.0.is_empty() {
                faults.push(Fault::new(at("from"), "an empty list", "name the file the rows come from"));
            }
            if split.filter.as_ref().is_some_and(|filter| filter.trim().is_empty()) {
                faults.push(Fault::new(at("where"), "an empty expression", "write one, such as `label == 1`"));
            }
            if split.hold_out.as_ref().is_some_and(|held| held.rows == 0) {
                faults.push(Fault::new(at("hold_out.rows"), "holds out no row", "give a number above zero"));
            }
            if let Take::Groups(super::WholeGroups { rows: 0, .. }) = split.take {
                faults.push(Fault::new(at("take.rows"), "takes no row", "give a number above zero"));
            }
            let Some(other) = &split.rest_of else { continue };
            if split.hold_out.is_some() {
                faults.push(Fault::new(
                    at("rest_of"),
                    "`hold_out` and `rest_of` on one split",
                    "keep one: a split either holds rows out or is the rest of another",
                ));
            }
            match self.splits.get(other) {
                None => faults.push(Fault::new(
                    at("rest_of"),
                    format!("no split is named `{other}`"),
                    crate::suggest::did_you_mean(other, self.splits.keys()),
                )),
                Some(held) if held.hold_out.is_none() => faults.push(Fault::new(
                    at("rest_of"),
                    format!("the split `{other}` holds nothing out"),
                    format!("give `{other}` a `hold_out`, for example `hold_out: {{rows: 200}}`"),
                )),
                Some(held) if held.from != split.from => faults.push(Fault::new(
                    at("rest_of"),
                    format!("`{name}` and `{other}` come from different rows"),
                    format!("give both the same `from`, here `{}`", held.from.0.join(", ")),
                )),
                Some(_) => {}
            }
        }
        faults
    }
}

impl Preprocess {
    /// What is wrong with rows that stand in the file, and with splits that read them.
    fn written_faults(&self) -> Vec<Fault> {
        let RowSource::Rows(rows) = &self.input else { return Vec::new() };
        let mut faults = Vec::new();
        if let Some(format) = &self.format {
            faults.push(Fault::new(
                "format",
                format!("a format (`{}`) for rows that stand in this file", format.name()),
                "leave `format` out: it is for files",
            ));
        }
        for (name, split) in &self.splits {
            for (place, from) in split.from.0.iter().enumerate().filter(|(_, from)| !rows.contains_key(*from)) {
                let path = match split.from.0.len() {
                    1 => format!("splits.{name}.from"),
                    _ => format!("splits.{name}.from.{place}"),
                };
                let hint = crate::suggest::did_you_mean(from, rows.keys());
                faults.push(Fault::new(path, format!("no rows are named `{from}`"), hint));
            }
        }
        faults
    }
}
