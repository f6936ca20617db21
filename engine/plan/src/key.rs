//! The key of a stage: everything that decides what it leaves, and nothing else. Two runs with the same key leave the same
//! bytes; what differs between two keys is why a stage is stale. Knows no store.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use spec::{job::Failure, stage::Stage};

use crate::digest::{Digest, Framed};

/// The layout of the key; a part of every key's digest.
const FORMAT: u32 = 1;

/// Everything that decides what a stage leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The stage's kind.
    pub kind: String,
    /// The version of the code of that kind.
    pub version: u32,
    /// Settings by path, as JSON, defaults filled in; without those that name stages and files.
    pub settings: BTreeMap<String, String>,
    /// What is read of other stages, by role: digests of contents.
    pub inputs: BTreeMap<String, Digest>,
    /// What is read of the project's files, by role: digests of contents.
    pub files: BTreeMap<String, Digest>,
    /// The machine, of a stage that measures time; else empty, and no part of the digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub machine: BTreeMap<String, String>,
}

/// What kind of part of a key differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The version of the code of the stage's kind.
    Code,
    /// A setting; its values are JSON.
    Setting,
    /// What another stage left; its values are the beginnings of digests.
    Input,
    /// A file or folder of the project; its values are the beginnings of digests.
    File,
    /// The machine that time is measured on.
    Machine,
}

/// One part in which two keys differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// What kind of part it is.
    pub part: Part,
    /// Which part: a setting's path, an input's or a file's role.
    pub what: String,
    /// What it was; nothing where it is new.
    pub old: Option<String>,
    /// What it is; nothing where it is gone.
    pub new: Option<String>,
}

impl Key {
    /// The key of a stage's settings; inputs and files are added by whoever knows their contents.
    ///
    /// # Errors
    /// A setting that has no JSON form.
    pub fn of(stage: &Stage) -> Result<Self, serde_json::Error> {
        let inputs = stage.inputs().into_iter().map(|input| input.role);
        let named: Vec<String> = inputs.chain(stage.local_paths().into_iter().map(|path| path.role)).collect();
        let mut settings = BTreeMap::new();
        flatten(&stage.settings()?, &mut String::new(), &named, &mut settings);
        Ok(Self {
            kind: stage.kind().to_owned(),
            version: stage.version(),
            settings,
            inputs: BTreeMap::new(),
            files: BTreeMap::new(),
            machine: BTreeMap::new(),
        })
    }

    /// The key as JSON: how a record keeps it.
    ///
    /// # Errors
    /// When it has no JSON form.
    pub fn as_json(&self) -> Result<Value, Failure> {
        serde_json::to_value(self).map_err(|error| Failure {
            message: format!("the key has no JSON form: {error}"),
            place: None,
            hint: None,
        })
    }

    /// The digest under which the result is recorded.
    pub fn digest(&self) -> Digest {
        let mut framed = Framed::new("key", FORMAT);
        framed.field("kind", &self.kind).number("version", self.version.into());
        framed.number("settings", self.settings.len() as u64);
        for (path, value) in &self.settings {
            framed.field(path, value);
        }
        framed.number("inputs", self.inputs.len() as u64);
        for (role, digest) in &self.inputs {
            framed.digest(role, digest);
        }
        framed.number("files", self.files.len() as u64);
        for (role, digest) in &self.files {
            framed.digest(role, digest);
        }
        if !self.machine.is_empty() {
            framed.number("machine", self.machine.len() as u64);
            for (part, value) in &self.machine {
                framed.field(part, value);
            }
        }
        framed.finish()
    }

    /// The parts in which this key differs from an older one.
    pub fn differences(&self, old: &Self) -> Vec<Difference> {
        let mut differences = Vec::new();
        let version = |key: &Self| format!("{} {}", key.kind, key.version);
        push(&mut differences, Part::Code, "code", Some(version(old)), Some(version(self)));
        let settings: BTreeSet<&String> = self.settings.keys().chain(old.settings.keys()).collect();
        for path in settings {
            push(
                &mut differences,
                Part::Setting,
                path,
                old.settings.get(path).cloned(),
                self.settings.get(path).cloned(),
            );
        }
        let parts: BTreeSet<&String> = self.machine.keys().chain(old.machine.keys()).collect();
        for part in parts {
            let (old, new) = (old.machine.get(part).cloned(), self.machine.get(part).cloned());
            push(&mut differences, Part::Machine, &format!("machine.{part}"), old, new);
        }
        let digests = [(Part::Input, &self.inputs, &old.inputs), (Part::File, &self.files, &old.files)];
        for (part, now, before) in digests {
            let roles: BTreeSet<&String> = now.keys().chain(before.keys()).collect();
            for role in roles {
                push(
                    &mut differences,
                    part,
                    role,
                    before.get(role).map(Digest::short),
                    now.get(role).map(Digest::short),
                );
            }
        }
        differences
    }
}

fn push(differences: &mut Vec<Difference>, part: Part, what: &str, old: Option<String>, new: Option<String>) {
    if old != new {
        differences.push(Difference { part, what: what.to_owned(), old, new });
    }
}

/// All settings by path, as JSON; also those that name stages and files.
pub fn leaves(settings: &Value) -> BTreeMap<String, String> {
    let mut leaves = BTreeMap::new();
    flatten(settings, &mut String::new(), &[], &mut leaves);
    leaves
}

/// Leaves by their paths. A list keeps its order in its paths; an empty list or map is a leaf of its own.
fn flatten(value: &Value, path: &mut String, without: &[String], leaves: &mut BTreeMap<String, String>) {
    if without.contains(path) {
        return;
    }
    let here = path.len();
    let below = |path: &mut String, step: &str| {
        path.truncate(here);
        if here > 0 {
            path.push('.');
        }
        path.push_str(step);
    };
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                below(path, &escaped(key));
                flatten(value, path, without, leaves);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for (index, value) in list.iter().enumerate() {
                below(path, &index.to_string());
                flatten(value, path, without, leaves);
            }
        }
        leaf => {
            let text = serde_json::to_string(leaf).unwrap_or_else(|_| leaf.to_string());
            leaves.insert(path.clone(), text);
        }
    }
    path.truncate(here);
}

/// A map's key as one step of a path, so that no two different settings have the same paths: a dot inside the key is
/// doubled, and a key of digits is told from a place in a list.
fn escaped(key: &str) -> Cow<'_, str> {
    if key.contains('.') {
        Cow::Owned(key.replace('.', ".."))
    } else if key.bytes().all(|byte| byte.is_ascii_digit()) {
        Cow::Owned(format!("`{key}`"))
    } else {
        Cow::Borrowed(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str, kind: &str) -> Key {
        let value: serde_yaml::Value = serde_yaml::from_str(text).unwrap();
        Key::of(&Stage::deserialize(kind, value).unwrap().unwrap()).unwrap()
    }

    #[test]
    fn names_of_stages_and_files_are_no_settings() {
        let one = key("{run: [cat, '${in.a}'], in: {a: one, b: {path: x}}, out: {o: f}}", "command");
        let two = key("{run: [cat, '${in.a}'], in: {a: two, b: {path: y}}, out: {o: f}}", "command");
        assert_eq!(one.digest(), two.digest());
        assert_eq!(one.settings["run.1"], "\"${in.a}\"");
    }

    #[test]
    fn the_order_of_arguments_counts() {
        let one = key("{run: [x, a, b], out: {o: f}}", "command");
        let two = key("{run: [x, b, a], out: {o: f}}", "command");
        assert_ne!(one.digest(), two.digest());
        let what: Vec<_> = two.differences(&one).into_iter().map(|d| d.what).collect();
        assert_eq!(what, ["run.1", "run.2"]);
    }

    #[test]
    fn a_list_is_not_a_map_of_digits() {
        let flat = |text: &str| {
            let mut leaves = BTreeMap::new();
            flatten(&serde_json::from_str(text).unwrap(), &mut String::new(), &[], &mut leaves);
            leaves
        };
        assert_ne!(flat("[1]"), flat("{\"0\": 1}"));
        assert_ne!(flat("{\"a.b\": 1}"), flat("{\"a\": {\"b\": 1}}"));
        assert_ne!(flat("{\"a\": []}"), flat("{\"a\": {}}"));
        assert_ne!(flat("{\"a\": \"1\"}"), flat("{\"a\": 1}"));
    }

    #[test]
    fn a_machine_is_in_the_key_where_it_is_named_and_nowhere_else() {
        let scores = |measure: &str| {
            let text = format!("{{model: m, data: d/test, protocol: perplexity, metrics: [perplexity]{measure}}}");
            key(&text, "evaluate")
        };
        let plain = scores("");
        assert!(!plain.as_json().unwrap().as_object().unwrap().contains_key("machine"));
        let on = |processor: &str, cores: &str| Key {
            machine: [("processor", processor), ("cores", cores)].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            ..scores(", measure: {latency: {batch: [1]}}")
        };
        let (here, there) = (on("A 1", "2"), on("A 1", "16"));
        assert_ne!(here.digest(), there.digest());
        assert_ne!(on("A 1", "2").digest(), on("A", "1 2").digest());
        assert_eq!(
            there.differences(&here),
            [Difference {
                part: Part::Machine,
                what: "machine.cores".into(),
                old: Some("2".into()),
                new: Some("16".into())
            }]
        );
        let read: Key = serde_json::from_value(here.as_json().unwrap()).unwrap();
        assert_eq!(read, here);
        let read: Key = serde_json::from_value(plain.as_json().unwrap()).unwrap();
        assert_eq!(read.digest(), plain.digest());
    }

    #[test]
    fn a_changed_setting_is_named_with_both_values() {
        let lora = |rank: u32| {
            key(
                &format!(
                    "{{model: m, data: d, epochs: 1, adapter: {{lora: {{rank: {rank}, alpha: 8, targets: all-linear}}}}}}"
                ),
                "train",
            )
        };
        let difference = lora(16).differences(&lora(8));
        assert_eq!(
            difference,
            [Difference {
                part: Part::Setting,
                what: "adapter.lora.rank".into(),
                old: Some("8".into()),
                new: Some("16".into())
            }]
        );
    }
}
