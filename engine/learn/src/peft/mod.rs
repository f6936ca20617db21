//! Adapters in PEFT's folders: `adapter_config.json` and the file of tensors beside it. Knows what the configurations of all
//! methods have in common, and the keys of tensors; what a method's own settings mean is in the files beside.

pub mod adapter_hub;
pub mod bottleneck;
pub mod file;
pub mod ia3;
pub mod learned;
pub mod lora;
pub mod prefix;
pub mod prompt;
pub mod slices;
pub mod targets;
pub mod vera;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tch::Tensor;

use crate::adapters::Method;
use crate::error::{Error, Result, nearest, some_of};
use crate::models::{Model, Network, Task};
use crate::parameters::Parameters;
use crate::targets::Place;
use crate::weights::{write_json, write_tensors};
pub use file::AdapterFile;

/// The file of an adapter's settings.
pub const CONFIG: &str = "adapter_config.json";

/// The file of an adapter's tensors.
pub const WEIGHTS: &str = "adapter_model.safetensors";

/// PEFT puts this before the name a tensor has in the model.
pub const PREFIX: &str = "base_model.model.";

/// What to do with an adapter that is not understood.
pub const MERGE: &str = "merge the adapter with PEFT (merge_and_unload) and take the merged model";

/// The settings of an adapter as they were read.
#[derive(Debug, Clone)]
pub struct AdapterConfig {
    path: PathBuf,
    all: Map<String, Value>,
}

impl AdapterConfig {
    /// Reads the settings of the adapter in `folder`.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG);
        let text = std::fs::read(&path).map_err(|error| Error::io("read", &path, error))?;
        let all = serde_json::from_slice(&text)
            .map_err(|error| Error::file(&path, format!("is no valid JSON object: {error}"), COMPARE))?;
        let config = Self { path, all };
        if config.text("peft_type").is_none() && config.within("config").is_none() {
            return Err(config.error("peft_type: is not there, so the method is unknown", COMPARE));
        }
        let saved = config.all.get("modules_to_save").and_then(Value::as_array).into_iter().flatten();
        if let Some(module) = saved.filter_map(Value::as_str).find(|name| !HEADS.contains(name)) {
            let problem = format!("`modules_to_save` names `{module}`, which is no module of a head here");
            return Err(config.error(problem, MERGE));
        }
        Ok(config)
    }

    /// The folder that it is in.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// The settings under a key, where these are some.
    pub fn within(&self, key: &str) -> Option<Self> {
        let all = self.all.get(key)?.as_object()?.clone();
        Some(Self { path: self.path.clone(), all })
    }

    /// PEFT's name of the method, such as `LORA`; nothing where another tool wrote the file.
    pub fn peft_type(&self) -> &str {
        self.text("peft_type").unwrap_or_default()
    }

    /// The value of a key that is a text.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.all.get(key).and_then(Value::as_str)
    }

    /// Whether a switch is on.
    pub fn switched_on(&self, key: &str) -> bool {
        self.all.get(key).and_then(Value::as_bool).unwrap_or(false)
    }

    /// The settings as `T`; errors name the key.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        serde_path_to_error::deserialize(Value::Object(self.all.clone()))
            .map_err(|error| self.error(format!("{}: {}", error.path(), error.inner()), COMPARE))
    }

    /// The same of the keys that are not null: PEFT writes null for what is not set.
    pub fn parse_known<T: DeserializeOwned>(&self) -> Result<T> {
        let set = self.all.iter().filter(|(_, value)| !value.is_null());
        let all = set.map(|(key, value)| (key.clone(), value.clone())).collect();
        Self { path: self.path.clone(), all }.parse()
    }

    /// Refuses settings of which any is not at rest: null, false or empty.
    pub fn refuse(&self, keys: &[&str]) -> Result<()> {
        match keys.iter().find(|key| self.all.get(**key).is_some_and(|value| !at_rest(value))) {
            Some(key) => Err(self.error(format!("`{key}` is set, and its meaning is not known here"), MERGE)),
            None => Ok(()),
        }
    }

    /// An error of this file.
    pub fn error(&self, problem: impl Into<String>, hint: impl Into<String>) -> Error {
        Error::file(&self.path, problem, hint)
    }
}

const COMPARE: &str = "compare it with what PEFT's save_pretrained writes";

/// What is saved of a model: the parameters of one method, or of one part of a combined one.
#[derive(Debug, Clone, Copy)]
pub struct Saved<'a> {
    /// The model.
    pub model: &'a Model,
    /// The part of a combined method; 0 of any other.
    pub part: usize,
    /// The name or path of the base model, where it is known.
    pub base: Option<&'a str>,
}

impl<'a> Saved<'a> {
    /// What was trained of `model`.
    pub fn of(model: &'a Model, base: Option<&'a str>) -> Self {
        Self { model, part: 0, base }
    }

    /// The parameters by their names in the model.
    pub fn parameters(&self) -> impl Iterator<Item = (&'a str, &'a Tensor)> {
        self.model.trainable.of_part(self.part)
    }

    /// The settings that PEFT writes whatever the method, with those of `method` among them, by name.
    pub fn config(&self, peft_type: &str, method: Value) -> Value {
        let heads: Vec<_> = if self.part == 0 { self.model.heads().collect() } else { Vec::new() };
        let mut config = json!({
            "auto_mapping": null,
            "base_model_name_or_path": self.base,
            "inference_mode": true,
            "modules_to_save": modules(&heads),
            "peft_type": peft_type,
            "revision": null,
            "task_type": task_type(self.model),
        });
        if let (Some(all), Value::Object(method)) = (config.as_object_mut(), method) {
            all.extend(method);
            all.sort_keys();
        }
        config
    }

    /// Writes the folder of an adapter, which is created: its settings, and its parameters under PEFT's keys.
    pub fn write(&self, folder: &Path, config: &Value) -> Result<()> {
        let keyed = self.parameters().map(|(name, tensor)| (format!("{PREFIX}{name}"), tensor.shallow_clone()));
        write(folder, config, &keyed.collect::<Vec<_>>())
    }
}

/// Writes the folder of an adapter, which is created, with these tensors.
pub fn write(folder: &Path, config: &Value, tensors: &[(String, Tensor)]) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, error))?;
    write_json(&folder.join(CONFIG), config)?;
    write_tensors(&folder.join(WEIGHTS), tensors)
}

/// The name in the model of a parameter with this key in PEFT's files.
pub fn name_of(key: &str) -> Option<&str> {
    key.strip_prefix(PREFIX)
}

/// Whether a key holds nothing that was learned: with `bias: all` PEFT saves the biases of a head also as they were, and a
/// second time as they are.
fn is_untrained(key: &str) -> bool {
    key.contains(".original_module.") || key.contains(".modules_to_save.")
}

/// Whether a key holds the base's own weight beside factors: PEFT saves it of embeddings and heads that are targets.
fn is_base_of_factors(key: &str, parameters: &Parameters) -> bool {
    let map = name_of(key).and_then(|name| name.strip_suffix(".base_layer.weight"));
    map.is_some_and(|map| {
        ["lora_embedding_A", "lora_A.weight"].iter().any(|end| parameters.get(&format!("{map}.{end}")).is_some())
    })
}

/// Loads the adapter in `folder` into the parameters of a model that was made with `method`, those whose names are `wanted`.
/// Each of these must match a parameter. Returns the names of those that were loaded.
pub fn load_keys(
    folder: &Path,
    method: &(impl Method + ?Sized),
    wanted: &dyn Fn(&str) -> bool,
    parameters: &mut Parameters,
) -> Result<BTreeSet<String>> {
    let file = AdapterFile::open_slices(folder)?;
    let path = file.path();
    let mut found = BTreeSet::new();
    for key in file.keys() {
        if is_untrained(key) || is_base_of_factors(key, parameters) || method.knows(key) {
            continue;
        }
        let name = method.parameter(key);
        if name.as_ref().is_some_and(|name| !wanted(name)) {
            continue;
        }
        let Some(name) = name.filter(|name| parameters.get(name).is_some()) else {
            let known: Vec<_> = parameters.iter().map(|(name, _)| method.key(name)).collect();
            let hint = match nearest(key, known.iter().map(String::as_str)) {
                Some(near) => format!("the nearest one that the model has is `{near}`; check base model and targets"),
                None => "check that the adapter belongs to this base model and these targets".to_owned(),
            };
            return Err(Error::file(path, format!("the key `{key}` matches nothing in the model"), hint));
        };
        let wanted = parameters.get(&name).map(|tensor| tensor.size()).unwrap_or_default();
        let stored = file.shape(key).unwrap_or_default();
        if stored != wanted {
            return Err(Error::file(
                path,
                format!("the tensor `{key}` has shape {stored:?}, the model's has {wanted:?}"),
                "check that base model and rank are those the adapter was trained with",
            ));
        }
        parameters.set(&name, &file.tensor(key)?)?;
        found.insert(name);
    }
    Ok(found)
}

/// Checks that each of the parameters `wanted` was `found` in the file of `method` in `folder`.
pub fn check_all_found<'a>(
    folder: &Path,
    method: &dyn Method,
    found: &BTreeSet<String>,
    wanted: impl Iterator<Item = &'a str>,
) -> Result<()> {
    let names: Vec<_> = wanted.filter(|name| !found.contains(*name)).map(|name| method.key(name)).collect();
    let Some(first) = names.first() else { return Ok(()) };
    let keys: Vec<_> = found.iter().map(|name| method.key(name)).collect();
    let hint = match nearest(first, keys.iter().map(String::as_str)) {
        Some(near) => {
            format!("the nearest key there is `{near}`; check that the targets are those it was trained with")
        }
        None => "check that the targets are those the adapter was trained with".to_owned(),
    };
    let list = some_of(names.iter().map(String::as_str));
    let count = if names.len() == 1 { "a tensor".to_owned() } else { format!("{} tensors", names.len()) };
    let are = if names.len() == 1 { "is" } else { "are" };
    Err(Error::file(&method.file(folder), format!("{count} of the adapter {are} missing: {list}"), hint))
}

/// The modules that heads are made of. Only these may be saved whole beside an adapter.
const HEADS: &[&str] = &["classifier", "pooler", "qa_outputs", "score"];

/// Whether a tensor is the weight or the bias of a head, of any task.
pub fn is_of_head(name: &str) -> bool {
    let mut parts = name.split('.').skip_while(|part| !HEADS.contains(part)).skip(1).peekable();
    let within = |part: &str| ["dense", "out_proj", "weight", "bias"].contains(&part);
    parts.peek().is_some() && parts.all(within)
}

/// What PEFT calls the task of a model.
fn task_type(model: &Model) -> &'static str {
    match (model.task, &model.network) {
        (Task::LanguageModel, Network::Seq2SeqLm(_)) => "SEQ_2_SEQ_LM",
        (Task::LanguageModel, _) => "CAUSAL_LM",
        (Task::SequenceClassification { .. }, _) => "SEQ_CLS",
        (Task::QuestionAnswering, _) => "QUESTION_ANS",
    }
}

/// What the adapter in `folder` was trained for.
pub fn task(folder: &Path) -> Result<Task> {
    let config = AdapterConfig::read(folder)?;
    if config.peft_type().is_empty() {
        return adapter_hub::task(&config);
    }
    match config.text("task_type") {
        Some("SEQ_CLS") => {
            let file = AdapterFile::open(folder)?;
            let heads = ["classifier.weight", "classifier.out_proj.weight", "score.weight"];
            let keys = heads.iter().flat_map(|name| [PREFIX, prompt::PREFIX].map(|prefix| format!("{prefix}{name}")));
            let outputs = keys.filter_map(|key| file.shape(&key)?.first().copied()).next();
            match outputs {
                Some(labels) => Ok(Task::SequenceClassification { labels }),
                None => Err(Error::file(
                    file.path(),
                    "holds no classifier, though it was trained for classes",
                    "train again",
                )),
            }
        }
        Some("QUESTION_ANS") => Ok(Task::QuestionAnswering),
        _ => Ok(Task::LanguageModel),
    }
}

/// The modules that hold the head's linear maps, as PEFT finds them: by the end of a module's name.
fn modules(heads: &[&Place]) -> Option<Vec<String>> {
    let module = |place: &&Place| {
        let known = place.name.split('.').find(|part| HEADS.contains(part));
        known.unwrap_or(place.name.as_str()).to_owned()
    };
    let modules: BTreeSet<String> = heads.iter().map(module).collect();
    (!modules.is_empty()).then(|| modules.into_iter().collect())
}

fn at_rest(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}
