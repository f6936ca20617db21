//! What a `command` stage may say.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Fault, Input, Kind, LocalPath, Program, Read, Splits, WantedSplit};
use crate::{
    names,
    reference::Reference,
    stage_or::{self, StageOr},
};

/// Runs any program as a stage, in a private folder and with a cleared environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The program and its arguments; no shell reads them. `${in.NAME}` and `${out.NAME}` are paths.
    #[serde(deserialize_with = "words")]
    #[schemars(with = "Vec<Word>", length(min = 1))]
    pub run: Vec<String>,
    /// What it reads: by name, a stage (`tokens/dev`) or `{path: …}`, a file or folder of the project.
    #[serde(default, rename = "in", deserialize_with = "sorted", skip_serializing_if = "IndexMap::is_empty")]
    #[schemars(with = "BTreeMap<String, CommandInput>", extend("propertyNames" = {"pattern": names::PATTERN}))]
    pub inputs: IndexMap<String, CommandInput>,
    /// What it writes: by name, a file or folder, relative to the stage's folder.
    #[serde(rename = "out", deserialize_with = "sorted")]
    #[schemars(
        with = "BTreeMap<String, OutputPath>",
        extend("minProperties" = 1, "propertyNames" = {"pattern": names::PATTERN}),
    )]
    pub outputs: IndexMap<String, String>,
    /// The environment it sees, besides `PATH` and `HOME` (an empty folder).
    #[serde(default, deserialize_with = "named_words", skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "BTreeMap<String, Word>")]
    pub env: BTreeMap<String, String>,
}

/// The schema of a path that stays inside the stage's folder; see [`is_inside`].
struct OutputPath;

impl JsonSchema for OutputPath {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OutputPath".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let outside = r"^/|^\.(/|$)|(^|/)\.\.(/|$)";
        schemars::json_schema!({ "type": "string", "minLength": 1, "not": { "pattern": outside } })
    }
}

/// A text, or a number or truth value that is taken as the text that YAML prints for it: `${matrix.seed}` is a word.
struct Word(String);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Word;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a word")
            }

            fn visit_str<E>(self, text: &str) -> Result<Word, E> {
                Ok(Word(text.to_owned()))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Word, E> {
                Ok(Word(value.to_string()))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Word, E> {
                Ok(Word(number.to_string()))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Word, E> {
                Ok(Word(number.to_string()))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Word, E> {
                Ok(Word(serde_yaml::Number::from(number).to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Word {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Word".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Vec::<Word>::deserialize(deserializer)?.into_iter().map(|word| word.0).collect())
}

fn named_words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let words = BTreeMap::<String, Word>::deserialize(deserializer)?;
    Ok(words.into_iter().map(|(name, word)| (name, word.0)).collect())
}

/// A map sorted by its names: their order in the file means nothing. Most have one or two entries, and a tree would take
/// room for eleven.
fn sorted<'de, D: Deserializer<'de>, V: Deserialize<'de>>(deserializer: D) -> Result<IndexMap<String, V>, D::Error> {
    let mut map = IndexMap::deserialize(deserializer)?;
    map.sort_unstable_keys();
    Ok(map)
}

/// What a command reads.
#[derive(Debug, Clone, PartialEq)]
pub enum CommandInput {
    /// What a stage left.
    Stage(Reference),
    /// A file or folder of the project.
    Path(String),
}

crate::one_of! {
    /// A file or folder that no stage left.
    pub enum ProjectFile {
        /// A file or folder, relative to the project's root.
        path => Path(String),
    }
}

impl Serialize for CommandInput {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Stage(reference) => reference.serialize(serializer),
            Self::Path(path) => ProjectFile::Path(path.clone()).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for CommandInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        stage_or::deserialize(deserializer, "a stage, or `{path: …}`").map(|found| match found {
            StageOr::Stage(reference) => Self::Stage(reference),
            StageOr::Other(ProjectFile::Path(path)) => Self::Path(path),
        })
    }
}

impl JsonSchema for CommandInput {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CommandInput".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let stage = generator.subschema_for::<Reference>();
        let file = generator.subschema_for::<ProjectFile>();
        schemars::json_schema!({
            "description": "A stage, or a file or folder of the project: `{path: …}`.",
            "anyOf": [stage, file],
        })
    }
}

impl Kind for Command {
    const VERSION: u32 = 1;
    const PROGRAM: Program = Program::Named;

    fn inputs(&self) -> Vec<Input<'_>> {
        self.inputs
            .iter()
            .filter_map(|(name, input)| match input {
                CommandInput::Stage(reference) => {
                    let role = format!("in.{name}");
                    let splits = reference.part.iter().map(|part| WantedSplit::by_value(&role, part));
                    Some(Input::follow(&role, reference).with_splits(splits))
                }
                CommandInput::Path(_) => None,
            })
            .collect()
    }

    fn local_paths(&self) -> Vec<LocalPath> {
        self.inputs
            .iter()
            .filter_map(|(name, input)| match input {
                CommandInput::Path(path) => {
                    Some(LocalPath { role: format!("in.{name}.path"), path: path.clone(), read: Read::Whole })
                }
                CommandInput::Stage(_) => None,
            })
            .collect()
    }

    fn splits(&self) -> Splits<'_> {
        Splits::Named(self.outputs.keys().map(String::as_str).collect())
    }

    fn part_path(&self, part: &str) -> String {
        self.outputs.get(part).cloned().unwrap_or_else(|| part.to_owned())
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.run.first().is_none_or(String::is_empty) {
            faults.push(Fault::new("run", "no program", "write `run: [program, argument, …]`"));
        }
        if self.outputs.is_empty() {
            faults.push(Fault::new("out", "no output", "name what the program writes: `out: {text: out.txt}`"));
        }
        let ins = self.inputs.keys().map(|name| ("in", name));
        for (side, name) in ins.chain(self.outputs.keys().map(|name| ("out", name))) {
            if !names::is_name(name) {
                let message = format!("`{name}` is no name for what a command reads or writes");
                faults.push(Fault::of_map(format!("{side}.{name}"), message, names::RULE));
            }
        }
        for (name, path) in self.outputs.iter().filter(|(_, path)| !is_inside(path)) {
            faults.push(Fault::new(
                format!("out.{name}"),
                format!("`{path}` leads out of the stage's folder"),
                "write a relative path without `..`",
            ));
        }
        for (index, word) in self.run.iter().enumerate() {
            for (side, name) in placeholders(word) {
                let known: Vec<&String> = match side {
                    "in" => self.inputs.keys().collect(),
                    _ => self.outputs.keys().collect(),
                };
                if !known.iter().any(|k| *k == name) {
                    faults.push(Fault::new(
                        format!("run.{index}"),
                        format!("`${{{side}.{name}}}`: `{side}` has no `{name}`"),
                        crate::suggest::did_you_mean(name, known),
                    ));
                }
            }
        }
        faults
    }
}

/// Whether a path stays inside the folder it is relative to.
fn is_inside(path: &str) -> bool {
    let mut parts = std::path::Path::new(path).components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, std::path::Component::Normal(_)))
}

/// The `${in.NAME}` and `${out.NAME}` of a word, as (`in` or `out`, NAME).
pub fn placeholders(word: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = word;
    while let Some(open) = rest.find("${") {
        let inner = &rest[open + 2..];
        let Some(close) = inner.find('}') else { break };
        if let Some((side @ ("in" | "out"), name)) = inner[..close].split_once('.') {
            found.push((side, name));
        }
        rest = &inner[close + 1..];
    }
    found
}
