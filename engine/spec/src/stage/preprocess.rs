//! What a `preprocess` stage may say.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Fault, Input, Kind, LocalPath, Program, Read, Splits};
use crate::reference::Reference;

/// Reads rows, divides them into splits and renders each row by a template.
///
/// Leaves one Parquet file a split, `<split>.parquet`, with a column for each block of the template.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// The stage that left the files.
    pub input: Reference,
    /// How the files are read. Without it, the file's name and beginning decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The template, a file under `templates/`.
    pub template: String,
    /// The splits, by name.
    #[schemars(extend("minProperties" = 1, "propertyNames" = {"pattern": crate::names::PATTERN}))]
    pub splits: BTreeMap<String, Split>,
}

crate::one_of! {
    /// The format of a file of rows.
    pub enum Format {
        /// One JSON array of objects, or an object that holds one.
        json => Json(Empty),
        /// One JSON object a line.
        jsonl => Jsonl(Empty),
        /// SQuAD's nested JSON: articles, paragraphs, questions.
        squad => Squad(Squad),
    }
}

/// A choice without settings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// How SQuAD's nested JSON becomes rows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Squad {
    /// What one row is.
    #[serde(default)]
    pub row: SquadRows,
}

/// What one row of SQuAD's nested JSON is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SquadRows {
    /// A question: `id`, `title`, `context`, `question`, `answers` (texts), `answer_starts`, `is_impossible`.
    #[default]
    Question,
    /// A paragraph: `title`, `context`, `qas` (a list of `id`, `question`, `answers`, `answer_starts`, `is_impossible`).
    Paragraph,
}

/// How one split is made: rows are read, `shuffle`d, divided (`hold_out`, `rest_of`), taken, then `permute`d.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("not" = {"required": ["hold_out", "rest_of"]}))]
pub struct Split {
    /// The file of the input that holds the rows, by its name without the ending. A list is read one after the other.
    pub from: SplitNames,
    /// Hold out some rows of `from`: this split is exactly those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_out: Option<HoldOut>,
    /// All rows of `from` but those of this other split, which holds them out.
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

/// `all` rows, or the first so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Take {
    /// Every row.
    #[default]
    All,
    /// The first so many rows.
    Rows(usize),
}

impl Serialize for Take {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::Rows(rows) => serializer.serialize_u64(*rows as u64),
        }
    }
}

impl<'de> Deserialize<'de> for Take {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Take;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`all`, or a number of rows above zero")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Take, E> {
                match text {
                    "all" => Ok(Take::All),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_u64<E: de::Error>(self, rows: u64) -> Result<Take, E> {
                match usize::try_from(rows) {
                    Ok(rows) if rows > 0 => Ok(Take::Rows(rows)),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(rows), &self)),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Take {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Take".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "`all` rows, or the first so many.",
            "anyOf": [{ "const": "all" }, { "type": "integer", "minimum": 1 }],
        })
    }
}

impl Kind for Preprocess {
    const VERSION: u32 = 1;
    const PROGRAM: Program = Program::Engine;

    fn inputs(&self) -> Vec<Input<'_>> {
        vec![Input::follow("input", &self.input).of_kind(&["download"])]
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
            if split.hold_out.as_ref().is_some_and(|held| held.rows == 0) {
                faults.push(Fault::new(at("hold_out.rows"), "holds out no row", "give a number above zero"));
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
