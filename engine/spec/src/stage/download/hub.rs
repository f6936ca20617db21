//! What a download from the Hugging Face Hub may say, also as `hf://owner/name@revision`. Knows how models, data sets and
//! revisions may be named; nothing of how they are fetched.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Fault;

/// How a short address of the Hub begins.
pub const HUB_SCHEME: &str = "hf://";
/// What stands behind it before the name of a data set.
const DATASETS: &str = "datasets/";
/// The same address as a regular expression, for the JSON Schema.
pub(super) const PATTERN: &str = r"^hf://(datasets/)?[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?(@[^\s~^:?*\[\\]+)?$";

/// A model or a data set of the Hugging Face Hub, the files of it that are needed. Without further settings also in one
/// text: `hf://owner/name`, `hf://datasets/owner/name@revision`.
///
/// Of a model that is `config.json`, `generation_config.json`, the tokenizer's files and the weights: safetensors, else
/// `pytorch_model.bin`, whole or in shards; of an adapter, its own files. Of a data set it is the files of each split, named
/// after it: `train.parquet`, or `train-00000-of-00002.parquet` and so on. A data set that is a program is taken from the
/// Parquet files into which the Hub converts it.
///
/// The revision is resolved to its commit, which the lock pins until `engine run FILE --update STAGE`. Files are kept in
/// the cache that Hugging Face's own tools use. `HF_TOKEN` or the saved token opens what is gated or private; `HF_HOME`,
/// `HF_HUB_CACHE`, `HF_ENDPOINT` and `HF_HUB_OFFLINE` mean what they mean there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["model"]}, {"required": ["dataset"]}]))]
pub struct Hub {
    /// The model's name: `owner/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?$"))]
    pub model: Option<String>,
    /// The data set's name: `owner/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?$"))]
    pub dataset: Option<String>,
    /// Which configuration of the data set. Without it, the only one, or the one that is the default there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub config: Option<String>,
    /// Which splits of the data set. Without it, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub splits: Option<Vec<String>>,
    /// A branch, a tag or a commit. Without it, the branch `main`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub revision: Option<String>,
    /// Exactly these files, by path or pattern (`*` within a folder, `**` across folders), instead of those that are chosen
    /// without it. They keep their paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub files: Option<Vec<String>>,
}

/// What a repository of the Hub holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepositoryKind {
    /// A model.
    Model,
    /// A data set.
    Dataset,
}

/// A repository of the Hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repository<'a> {
    /// What it holds.
    pub kind: RepositoryKind,
    /// `owner/name`, or the name alone.
    pub name: &'a str,
}

impl Hub {
    /// Reads `hf://owner/name@revision` or `hf://datasets/owner/name@revision`.
    ///
    /// # Errors
    /// Text that is no such address: what is wrong, and behind a semicolon what to do.
    pub fn parse(address: &str) -> Result<Self, String> {
        let refused = |fault: &Fault| format!("{}; {}", fault.message, fault.hint);
        let rest = address.strip_prefix(HUB_SCHEME).unwrap_or(address);
        let (name, revision) = match rest.split_once('@') {
            Some((name, revision)) => (name, Some(revision.to_owned())),
            None => (rest, None),
        };
        let hub = match name.strip_prefix(DATASETS) {
            Some(name) => Self { dataset: Some(name.to_owned()), revision, ..Self::default() },
            None => Self { model: Some(name.to_owned()), revision, ..Self::default() },
        };
        match hub.faults("").first() {
            Some(fault) => Err(refused(fault)),
            None => Ok(hub),
        }
    }

    /// The repository, where exactly one is named.
    pub fn repository(&self) -> Option<Repository<'_>> {
        match (&self.model, &self.dataset) {
            (Some(name), None) => Some(Repository { kind: RepositoryKind::Model, name }),
            (None, Some(name)) => Some(Repository { kind: RepositoryKind::Dataset, name }),
            _ => None,
        }
    }

    /// Where the files come from and which they are, for people and for the lock.
    pub fn shown(&self) -> String {
        let mut text = self.repository().map_or_else(|| HUB_SCHEME.to_owned(), |repository| repository.address());
        if let Some(revision) = &self.revision {
            text.push('@');
            text.push_str(revision);
        }
        let list = |word: &str, names: &Option<Vec<String>>| {
            names.as_ref().map(|names| format!("{word} {}", names.join(" "))).into_iter()
        };
        let chosen: Vec<String> = self
            .config
            .iter()
            .map(|config| format!("config {config}"))
            .chain(list("splits", &self.splits))
            .chain(list("files", &self.files))
            .collect();
        if chosen.is_empty() { text } else { format!("{text} ({})", chosen.join(", ")) }
    }

    /// Mistakes that no type can express; `at` is where the setting stands.
    pub(super) fn faults(&self, at: &str) -> Vec<Fault> {
        let mut faults = Vec::new();
        let below = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
        match (&self.model, &self.dataset) {
            (Some(_), Some(_)) => faults.push(Fault::of_map(
                at,
                "a model and a data set in one download",
                "keep one of them, or make each a part of `parts`",
            )),
            (None, None) => faults.push(Fault::of_map(
                at,
                "neither a model nor a data set",
                "name one: `{model: owner/name}` or `{dataset: owner/name}`",
            )),
            (Some(name), None) => faults.extend(name_fault(name).map(|why| named(below("model"), name, why))),
            (None, Some(name)) => faults.extend(name_fault(name).map(|why| named(below("dataset"), name, why))),
        }
        if let Some(revision) = &self.revision
            && !is_revision(revision)
        {
            faults.push(Fault::new(
                below("revision"),
                format!("`{revision}` is no revision"),
                "give a branch, a tag or a commit, such as `main`",
            ));
        }
        let of_data = [("config", self.config.is_some()), ("splits", self.splits.is_some())];
        for (key, _) in of_data.into_iter().filter(|(_, is_set)| *is_set) {
            if self.model.is_some() && self.dataset.is_none() {
                faults.push(Fault::new(
                    below(key),
                    format!("`{key}` of a model"),
                    "only data sets have it; take it out",
                ));
            } else if self.files.is_some() {
                faults.push(Fault::new(
                    below(key),
                    format!("`{key}` beside `files`"),
                    "`files` names exactly what is brought; keep one of them",
                ));
            }
        }
        if self.config.as_ref().is_some_and(String::is_empty) {
            faults.push(Fault::new(below("config"), "no name", "give the configuration's name, or take it out"));
        }
        for (key, list) in [("splits", &self.splits), ("files", &self.files)] {
            if list.as_ref().is_some_and(|list| list.is_empty() || list.iter().any(String::is_empty)) {
                faults.push(Fault::new(below(key), "nothing is named", "name at least one, or take it out"));
            }
        }
        faults
    }
}

impl Repository<'_> {
    /// `hf://owner/name` or `hf://datasets/owner/name`.
    pub fn address(&self) -> String {
        match self.kind {
            RepositoryKind::Model => format!("{HUB_SCHEME}{}", self.name),
            RepositoryKind::Dataset => format!("{HUB_SCHEME}{DATASETS}{}", self.name),
        }
    }
}

fn named(path: String, name: &str, why: &str) -> Fault {
    Fault::new(path, format!("`{name}` names nothing at the Hub: {why}"), "write `owner/name` as its page shows it")
}

/// Why a text is no repository's name.
fn name_fault(name: &str) -> Option<&'static str> {
    let parts: Vec<&str> = name.split('/').collect();
    let is_part = |part: &&str| {
        (1..=96).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
            && !part.starts_with(['-', '.'])
            && !part.ends_with(['-', '.'])
            && !part.contains("--")
            && !part.contains("..")
    };
    if parts.len() > 2 {
        Some("it has more than an owner and a name")
    } else if !parts.iter().all(is_part) {
        Some("it is no name of letters, digits, `-`, `_` and `.`")
    } else if parts.len() == 2 && matches!(parts[0], "datasets" | "models" | "spaces") {
        Some("its owner is missing")
    } else {
        None
    }
}

/// What git takes for a branch, a tag or a commit, and nothing that leads anywhere else.
fn is_revision(text: &str) -> bool {
    let is_step = |step: &str| !step.is_empty() && !step.starts_with('.') && !step.ends_with(".lock");
    text.len() <= 200
        && !text.starts_with('-')
        && !text.ends_with('.')
        && !text.contains("..")
        && !text.contains("@{")
        && !text.chars().any(|c| c.is_whitespace() || c.is_control() || "~^:?*[\\".contains(c))
        && text.split('/').all(is_step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_addresses_are_read_and_shown() {
        for address in ["hf://google/gemma-3-1b-it", "hf://gpt2@v1.0", "hf://datasets/nyu-mll/glue@refs/pr/5"] {
            assert_eq!(Hub::parse(address).unwrap().shown(), address);
        }
        let set = Hub::parse("hf://datasets/squad").unwrap();
        assert_eq!(set, Hub { dataset: Some("squad".into()), ..Hub::default() });
        let chosen = Hub { config: Some("mrpc".into()), splits: Some(vec!["train".into(), "test".into()]), ..set };
        assert_eq!(chosen.shown(), "hf://datasets/squad (config mrpc, splits train test)");
    }

    #[test]
    fn what_leads_elsewhere_is_no_address() {
        for address in [
            "hf://",
            "hf://a/b/c",
            "hf://../x",
            "hf://a/..",
            "hf://a/b--c",
            "hf://datasets/",
            "hf://spaces/x",
            "hf://a/b c",
            "hf://a/b@",
            "hf://a/b@../x",
            "hf://a/b@/x",
            "hf://a/b@x/./y",
            "hf://a/b@-x",
            "hf://a/b@x y",
            "hf://a/b?token=x",
        ] {
            let refused = Hub::parse(address).unwrap_err();
            assert!(refused.contains("; "), "{address}: {refused}");
        }
    }
}
