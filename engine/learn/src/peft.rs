//! Adapters in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`. Knows PEFT's words and keys; no
//! method and no layer.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tch::{Device, Kind};

use crate::error::{Error, Result, nearest, some_of};
use crate::models::{Model, Network, Task};
use crate::parameters::Parameters;
use crate::targets::{Pattern, Place, Targets};
use crate::weights::{SafetensorsFile, write_json, write_tensors};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// PEFT puts this before the name a tensor has in the model.
const PREFIX: &str = "base_model.model.";

/// The keys of PEFT's `LoraConfig` whose meaning is known here; any other than these must be at rest.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct AdapterConfig {
    /// The kind of adapter, `LORA` for LoRA and DoRA.
    pub peft_type: String,
    /// Name or path of the base model.
    pub base_model_name_or_path: Option<String>,
    /// The rank.
    pub r: i64,
    /// The numerator of the scale.
    pub lora_alpha: f64,
    /// Dropout on the adapter's input.
    #[serde(default)]
    pub lora_dropout: f64,
    /// Whether it is DoRA.
    #[serde(default)]
    pub use_dora: bool,
    /// Whether the scale is alpha / √rank instead of alpha / rank.
    #[serde(default)]
    pub use_rslora: bool,
    /// A list of suffixes, a pattern over whole names, or `all-linear`.
    #[serde(default)]
    pub target_modules: Value,
    /// What the model is for, in PEFT's words.
    #[serde(default)]
    pub task_type: Option<String>,
    /// The modules of a head, which are saved whole.
    #[serde(default)]
    pub modules_to_save: Option<Vec<String>>,
}

impl AdapterConfig {
    /// The configuration of a LoRA adapter on `targets` among the linear maps of `model`. Targets are written as the list
    /// of suffixes that means the same maps to PEFT.
    pub fn new(rank: i64, alpha: f64, dropout: f64, targets: &Targets, model: &Model) -> Self {
        let (places, heads): (Vec<_>, Vec<_>) = (model.places().collect(), model.heads().collect());
        Self {
            peft_type: "LORA".to_owned(),
            base_model_name_or_path: None,
            r: rank,
            lora_alpha: alpha,
            lora_dropout: dropout,
            use_dora: false,
            use_rslora: false,
            target_modules: json!(suffixes(targets, &places, &heads)),
            task_type: Some(task_type(model).to_owned()),
            modules_to_save: modules(&heads),
        }
    }

    /// With the base model's name or path.
    pub fn with_base(mut self, base: Option<&str>) -> Self {
        self.base_model_name_or_path = base.map(str::to_owned);
        self
    }

    /// With DoRA's magnitudes.
    pub fn with_dora(mut self) -> Self {
        self.use_dora = true;
        self
    }

    /// The alpha that gives this adapter's scale as alpha / rank.
    pub fn effective_alpha(&self) -> f64 {
        if self.use_rslora { self.lora_alpha * (self.r as f64).sqrt() } else { self.lora_alpha }
    }

    /// What `target_modules` means.
    pub fn targets(&self) -> Result<Targets> {
        match &self.target_modules {
            Value::String(text) if text == "all-linear" => Ok(Targets::AllLinear),
            Value::String(pattern) => Ok(Targets::Pattern(Pattern::new(pattern)?)),
            Value::Array(list) => {
                let names = list.iter().map(|name| name.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
                names.map(Targets::Suffixes).ok_or_else(|| not_targets("holds something that is no name"))
            }
            _ => Err(not_targets("names no module")),
        }
    }

    fn to_json(&self) -> Value {
        let whole = self.lora_alpha.fract() == 0.0 && self.lora_alpha.abs() < 1e15;
        json!({
            "alpha_pattern": {},
            "auto_mapping": null,
            "base_model_name_or_path": self.base_model_name_or_path,
            "bias": "none",
            "exclude_modules": null,
            "fan_in_fan_out": false,
            "inference_mode": true,
            "init_lora_weights": true,
            "layers_pattern": null,
            "layers_to_transform": null,
            "lora_alpha": if whole { json!(self.lora_alpha as i64) } else { json!(self.lora_alpha) },
            "lora_dropout": self.lora_dropout,
            "modules_to_save": self.modules_to_save,
            "peft_type": self.peft_type,
            "r": self.r,
            "rank_pattern": {},
            "revision": null,
            "target_modules": self.target_modules,
            "task_type": self.task_type,
            "use_dora": self.use_dora,
            "use_rslora": self.use_rslora,
        })
    }
}

/// Saves the parameters of an adapter into `folder`, which is created.
pub fn save(folder: &Path, config: &AdapterConfig, parameters: &Parameters) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, error))?;
    write_json(&folder.join(CONFIG), &config.to_json())?;
    let tensors: Vec<_> =
        parameters.iter().map(|(name, tensor)| (format!("{PREFIX}{name}"), tensor.shallow_clone())).collect();
    write_tensors(&folder.join(WEIGHTS), &tensors)
}

/// Reads `adapter_config.json` of `folder`. A key that asks for something unknown here is an error, never passed over.
pub fn read_config(folder: &Path) -> Result<AdapterConfig> {
    let path = folder.join(CONFIG);
    let text = std::fs::read(&path).map_err(|error| Error::io("read", &path, error))?;
    let hint = "compare it with what PEFT's save_pretrained writes";
    let value: Value = serde_json::from_slice(&text)
        .map_err(|error| Error::file(&path, format!("is no valid JSON: {error}"), hint))?;
    let config: AdapterConfig = serde_path_to_error::deserialize(&value)
        .map_err(|error| Error::file(&path, format!("{}: {}", error.path(), error.inner()), hint))?;
    if let Some(all) = value.as_object() {
        for key in UNKNOWN_SETTINGS {
            if all.get(*key).is_some_and(|value| !at_rest(value)) {
                return Err(Error::file(
                    &path,
                    format!("`{key}` is set, and its meaning is not known here"),
                    "merge the adapter with PEFT (merge_and_unload) and take the merged model",
                ));
            }
        }
        check_first_values(&path, all)?;
    }
    if let Some(module) = config.modules_to_save.iter().flatten().find(|name| !HEADS.contains(&name.as_str())) {
        return Err(Error::file(
            &path,
            format!("`modules_to_save` names `{module}`, which is no module of a head here"),
            "merge the adapter with PEFT (merge_and_unload) and take the merged model",
        ));
    }
    Ok(config)
}

/// Loads the adapter in `folder` into the parameters of a model that was made with the same method. Every key must
/// match a parameter, and every parameter must be there.
pub fn load(folder: &Path, parameters: &mut Parameters) -> Result<()> {
    let path = folder.join(WEIGHTS);
    if !path.is_file() && folder.join("adapter_model.bin").is_file() {
        let hint = "load it with PEFT and save it with save_pretrained, which writes safetensors";
        return Err(Error::file(folder, "has its weights only as adapter_model.bin", hint));
    }
    let file = SafetensorsFile::open(&path)?;
    let mut absent: BTreeSet<String> = parameters.iter().map(|(name, _)| name.to_owned()).collect();
    let keys = file.names();
    for key in &keys {
        let known = key.strip_prefix(PREFIX).filter(|name| parameters.get(name).is_some());
        let Some(name) = known else {
            let wanted: Vec<_> = parameters.iter().map(|(name, _)| format!("{PREFIX}{name}")).collect();
            let hint = match nearest(key, wanted.iter().map(String::as_str)) {
                Some(near) => format!("the nearest one that the model has is `{near}`; check base model and targets"),
                None => "check that the adapter belongs to this base model and these targets".to_owned(),
            };
            return Err(Error::file(&path, format!("the key `{key}` matches nothing in the model"), hint));
        };
        let wanted = parameters.get(name).map(|tensor| tensor.size()).unwrap_or_default();
        let stored = file.shape(key).unwrap_or_default();
        if stored != wanted {
            return Err(Error::file(
                &path,
                format!("the tensor `{key}` has shape {stored:?}, the model's has {wanted:?}"),
                "check that base model and rank are those the adapter was trained with",
            ));
        }
        parameters.set(name, &file.tensor(key, Device::Cpu, Kind::Float)?)?;
        absent.remove(name);
    }
    if absent.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = absent.iter().map(|name| format!("{PREFIX}{name}")).collect();
    let near = names.first().and_then(|name| nearest(name, keys.iter().map(String::as_str)));
    let hint = match near {
        Some(near) => {
            format!("the nearest key there is `{near}`; check that the targets are those it was trained with")
        }
        None => "check that the targets are those the adapter was trained with".to_owned(),
    };
    let list = some_of(names.iter().map(String::as_str));
    Err(Error::file(&path, format!("{} tensors of the adapter are missing: {list}", names.len()), hint))
}

/// Settings that change what the adapter computes or saves, and that no method here knows.
const UNKNOWN_SETTINGS: &[&str] = &[
    "alora_invocation_tokens",
    "alpha_pattern",
    "arrow_config",
    "exclude_modules",
    "fan_in_fan_out",
    "layer_replication",
    "layers_to_transform",
    "lora_bias",
    "rank_pattern",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
];

/// The modules that heads are made of. Only these may be saved whole beside an adapter.
const HEADS: &[&str] = &["classifier", "pooler", "qa_outputs", "score"];

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
    let config = read_config(folder)?;
    match config.task_type.as_deref() {
        Some("SEQ_CLS") => {
            let file = SafetensorsFile::open(&folder.join(WEIGHTS))?;
            let heads = ["classifier.weight", "classifier.out_proj.weight", "score.weight"];
            let outputs = heads.iter().find_map(|name| file.shape(&format!("{PREFIX}{name}"))?.first().copied());
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

/// Refuses biases, and first values that were taken out of the base model's weights.
fn check_first_values(path: &Path, all: &Map<String, Value>) -> Result<()> {
    if let Some(bias) = all.get("bias").filter(|bias| bias.as_str().is_some_and(|bias| bias != "none")) {
        let hint = "merge the adapter with PEFT (merge_and_unload) and take the merged model";
        return Err(Error::file(path, format!("`bias` is {bias}: biases were trained too"), hint));
    }
    match all.get("init_lora_weights") {
        Some(Value::String(init)) if !["gaussian", "eva", "orthogonal"].contains(&init.as_str()) => Err(Error::file(
            path,
            format!("`init_lora_weights` is `{init}`: the adapter belongs to changed base weights"),
            "convert it with PEFT (path_initial_model_for_weight_conversion) to a plain LoRA",
        )),
        _ => Ok(()),
    }
}

fn not_targets(problem: &str) -> Error {
    Error::setting("adapter_config.json: target_modules", problem, "give a list of names, a pattern, or `all-linear`")
}

/// The sorted suffixes that mean exactly the chosen maps and nothing of the head: of each name the fewest last parts that
/// mean no other map.
fn suffixes(targets: &Targets, places: &[&Place], heads: &[&Place]) -> Vec<String> {
    if let Targets::Suffixes(suffixes) = targets {
        return suffixes.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect();
    }
    let (chosen, others): (Vec<&Place>, Vec<&Place>) = places.iter().partition(|place| targets.contain(place));
    let shortest = |place: &&Place| {
        let ends = place.name.rmatch_indices('.').map(|(dot, _)| place.name.split_at(dot + 1).1);
        let unmistakable = |end: &&str| {
            let meant = Targets::Suffixes(vec![(*end).to_owned()]);
            !others.iter().chain(heads).any(|other| meant.contain(other))
        };
        ends.into_iter().find(unmistakable).unwrap_or(place.name.as_str()).to_owned()
    };
    chosen.iter().map(shortest).collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::Role;

    #[test]
    fn targets_are_written_as_the_suffixes_that_mean_the_same() {
        let places: Vec<Place> =
            [("m.0.q_proj", Role::AttentionQ), ("m.1.q_proj", Role::AttentionQ), ("m.0.up", Role::MlpUp)]
                .map(|(name, role)| Place { name: name.to_owned(), role })
                .into();
        let places: Vec<&Place> = places.iter().collect();
        assert_eq!(suffixes(&Targets::Roles(vec![Role::AttentionQ]), &places, &[]), ["q_proj"]);
        assert_eq!(suffixes(&Targets::AllLinear, &places, &[]), ["q_proj", "up"]);
        let first = Targets::Pattern(Pattern::new(r"m\.0\..*").unwrap());
        assert_eq!(suffixes(&first, &places, &[]), ["0.q_proj", "up"], "q_proj alone would mean layer 1 too");
        let head = Place { name: "classifier.up".to_owned(), role: Role::Head };
        let up = Targets::Roles(vec![Role::MlpUp]);
        assert_eq!(suffixes(&up, &places, &[&head]), ["0.up"], "up alone would mean a part of the head");
    }
}
