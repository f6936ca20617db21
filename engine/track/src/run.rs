//! What a member of a pipeline is to a tracker: a run with parameters, tags, figures by step, and files. Knows no tracker.

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::Value;

/// A member, as a tracker shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What tells it from all others: the same member with the same settings and inputs has the same key.
    pub key: String,
    /// The stage and its member, for people: `tuned[method=dora,seed=0]`.
    pub name: String,
    /// The same as a path of folders: `tuned/method=dora,seed=0`.
    pub folder: PathBuf,
    /// What it does.
    pub kind: Kind,
    /// The pipeline, with its variant.
    pub pipeline: String,
    /// Its axes and labels.
    pub coordinates: Vec<(String, String)>,
    /// Its settings, one a path: `adapter.lora.rank`.
    pub parameters: Vec<(String, String)>,
}

/// What a run does, where trackers tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It trains a model.
    Training,
    /// It scores one.
    Evaluation,
    /// It shows others.
    Report,
}

impl Kind {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Evaluation => "evaluation",
            Self::Report => "report",
        }
    }
}

/// What a run that is done left.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Left {
    /// The figures by step: one JSON object a line, with `step`.
    pub history: Option<PathBuf>,
    /// The last step.
    pub steps: u64,
    /// The figures of the whole.
    pub figures: BTreeMap<String, f64>,
    /// Files to keep there, by the path they get.
    pub files: Vec<(String, PathBuf)>,
    /// The trained weights: the file, and where it is to be found where it is not sent.
    pub model: Option<PathBuf>,
    /// When it began and ended, in seconds since 1970.
    pub span: (f64, f64),
}

/// A figure of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// What it is: `loss`, `metrics.accuracy`.
    pub name: String,
    /// The step, from 1 on.
    pub step: u64,
    /// How much.
    pub value: f64,
    /// When, in seconds since 1970.
    pub at: f64,
}

/// The numbers within a value, by their paths: `{a: {b: 1}}` is `a.b`.
pub fn numbers(value: &Value) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    leaves(value, "", &mut |path, leaf| {
        found.extend(leaf.as_f64().filter(|number| number.is_finite()).map(|number| (path.to_owned(), number)));
    });
    found
}

/// What is set within a value, by path: `{lora: {rank: 8}}` is `lora.rank`. Lists and empty maps are written as they are.
pub fn parameters(value: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    leaves(value, "", &mut |path, leaf| {
        let text = leaf.as_str().map_or_else(|| leaf.to_string(), str::to_owned);
        found.push((path.to_owned(), text));
    });
    found
}

fn leaves(value: &Value, path: &str, tell: &mut dyn FnMut(&str, &Value)) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, inner) in map {
                let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                leaves(inner, &below, tell);
            }
        }
        leaf => tell(path, leaf),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_and_figures_have_paths() {
        let value =
            json!({"adapter": {"lora": {"rank": 8, "targets": ["q", "v"]}}, "seed": {}, "loss": 0.5, "by": "x"});
        let expected = [
            ("adapter.lora.rank", "8"),
            ("adapter.lora.targets", r#"["q","v"]"#),
            ("seed", "{}"),
            ("loss", "0.5"),
            ("by", "x"),
        ];
        assert_eq!(parameters(&value), expected.map(|(path, text)| (path.to_owned(), text.to_owned())));
        let expected = [("adapter.lora.rank".to_owned(), 8.0), ("loss".to_owned(), 0.5)];
        assert_eq!(numbers(&value), BTreeMap::from(expected));
    }
}
