//! Bottleneck adapters in the files of adapter-hub's `adapters`: `adapter_config.json` with their settings under `config`,
//! `adapter.safetensors` (or `pytorch_adapter.bin`), and a head in `head_config.json` and `model_head.safetensors` (or
//! `pytorch_model_head.bin`). Knows its words and keys; no layer.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};
use tch::{Device, Kind, Tensor};
use tensor_files::TensorFile;

use super::{AdapterConfig, CONFIG, Saved, task_type};
use crate::adapters::{Bottleneck, First, Norms, Size, Style};
use crate::error::{Error, Result, nearest};
use crate::layers::Activation;
use crate::models::Task;
use crate::parameters::Parameters;
use crate::sublayers::Role;
use crate::weights::{read_tensor, shape_of, write_json, write_tensors};

const WEIGHTS: [&str; 2] = ["adapter.safetensors", "pytorch_adapter.bin"];
const HEAD_WEIGHTS: [&str; 2] = ["model_head.safetensors", "pytorch_model_head.bin"];
const HEAD_CONFIG: &str = "head_config.json";

/// The output head of a language model in a head's file. Where it is tied to the embedding, it is frozen as that is.
const LM_HEAD: &str = "lm_head.weight";

/// The name of the adapter in files that are written here.
const NAME: &str = "default";

/// The version of the library whose files are written.
const VERSION: &str = "adapters.1.3.0";

/// First values by their names.
const INITS: [(&str, First); 3] = [("bert", First::Bert), ("houlsby", First::Houlsby), ("mam_adapter", First::Zero)];

/// What to do with a setting that is not understood.
const TRAIN: &str = "train a bottleneck adapter without it: seq_bn, double_seq_bn and par_bn are known";

/// The keys of its `BnConfig` whose meaning is known here; others must be at rest.
#[derive(Debug, Clone, Deserialize)]
struct Settings {
    mh_adapter: bool,
    output_adapter: bool,
    #[serde(default)]
    cross_adapter: bool,
    reduction_factor: f64,
    non_linearity: Activation,
    #[serde(default)]
    original_ln_before: bool,
    #[serde(default = "yes")]
    original_ln_after: bool,
    #[serde(default)]
    ln_before: bool,
    #[serde(default)]
    ln_after: bool,
    #[serde(default)]
    is_parallel: bool,
    #[serde(default = "one")]
    scaling: f64,
    #[serde(default = "yes")]
    residual_before_ln: bool,
    #[serde(default)]
    leave_out: Vec<usize>,
    #[serde(default)]
    dropout: f64,
    #[serde(default)]
    init_weights: Option<String>,
    #[serde(default)]
    stochastic_depth: f64,
    #[serde(default)]
    adapter_residual_before_ln: bool,
}

fn yes() -> bool {
    true
}

fn one() -> f64 {
    1.0
}

/// The adapter that `config` describes, if it is one of this library.
pub fn read(config: &AdapterConfig) -> Result<Option<Bottleneck>> {
    let Some(settings) = config.within("config") else { return Ok(None) };
    if let Some(architecture) = settings.text("architecture") {
        return Err(config.error(format!("its architecture is `{architecture}`, not a bottleneck"), TRAIN));
    }
    settings.refuse(&["inv_adapter", "phm_layer", "use_gating"])?;
    for key in ["scaling", "residual_before_ln"] {
        if let Some(word) = settings.text(key) {
            return Err(config.error(format!("`{key}` is \"{word}\", which is not known here"), TRAIN));
        }
    }
    let settings: Settings = settings.parse()?;
    if settings.stochastic_depth != 0.0 {
        return Err(config.error("`stochastic_depth` is set, which is not known here", TRAIN));
    }
    if settings.adapter_residual_before_ln && settings.ln_after {
        return Err(config.error("`adapter_residual_before_ln` is set, which is not known here", TRAIN));
    }
    let style = match (settings.is_parallel, settings.original_ln_before) {
        _ if !settings.original_ln_after || !settings.residual_before_ln => {
            let problem = "without `original_ln_after` and `residual_before_ln` it is no style that is known here";
            return Err(config.error(problem, TRAIN));
        }
        (true, _) => Style::Parallel,
        (false, true) => Style::Pfeiffer,
        (false, false) => Style::Houlsby,
    };
    let roles = [
        (settings.mh_adapter, Role::Attention),
        (settings.cross_adapter, Role::CrossAttention),
        (settings.output_adapter, Role::Mlp),
    ];
    let first = INITS.iter().find(|(word, _)| Some(*word) == settings.init_weights.as_deref());
    Ok(Some(Bottleneck {
        style,
        size: Size::Reduction(settings.reduction_factor),
        activation: settings.non_linearity,
        scale: settings.scaling,
        dropout: settings.dropout,
        norms: Norms { before: settings.ln_before, after: settings.ln_after },
        first: first.map_or(First::Bert, |(_, first)| *first),
        sublayers: roles.into_iter().filter_map(|(there, role)| there.then_some(role)).collect(),
        leave_out: settings.leave_out,
        output_head: open(config.folder(), HEAD_WEIGHTS)?.is_some_and(|head| head.tensors().contains_key(LM_HEAD)),
    }))
}

/// The factor by which the library finds this size: a whole one where there is one.
fn reduction(size: Size, width: i64) -> Value {
    let units = size.of(width).max(1);
    match size {
        Size::Reduction(factor) if factor.fract() == 0.0 => json!(factor as i64),
        Size::Reduction(factor) => json!(factor),
        Size::Units(_) if width % units == 0 => json!(width / units),
        // In the middle between the two factors that round down to this size.
        Size::Units(_) => json!(width as f64 / (units as f64 + 0.5)),
    }
}

fn settings(method: &Bottleneck, width: i64) -> Value {
    let there = |role: Role| method.sublayers.contains(&role);
    json!({
        "adapter_residual_before_ln": false,
        "cross_adapter": there(Role::CrossAttention),
        "dropout": method.dropout,
        "factorized_phm_W": true,
        "factorized_phm_rule": false,
        "hypercomplex_nonlinearity": "glorot-uniform",
        "init_weights": INITS.iter().find(|(_, first)| *first == method.first).map(|(word, _)| word),
        "init_weights_seed": null,
        "inv_adapter": null,
        "inv_adapter_reduction_factor": null,
        "is_parallel": method.style == Style::Parallel,
        "learn_phm": true,
        "leave_out": method.leave_out,
        "ln_after": method.norms.after,
        "ln_before": method.norms.before,
        "mh_adapter": there(Role::Attention),
        "non_linearity": match method.activation {
            Activation::Silu => "swish",
            other => other.name(),
        },
        "original_ln_after": true,
        "original_ln_before": method.style == Style::Pfeiffer,
        "output_adapter": there(Role::Mlp),
        "phm_bias": true,
        "phm_c_init": "normal",
        "phm_dim": 4,
        "phm_init_range": 0.0001,
        "phm_layer": false,
        "phm_rank": 1,
        "reduction_factor": reduction(method.size, width),
        "residual_before_ln": true,
        "scaling": method.scale,
        "shared_W_phm": false,
        "shared_phm_rule": true,
        "stochastic_depth": 0.0,
        "use_gating": false,
    })
}

/// Ends of the names of sublayers, and what the library calls the module of their adapters where it is another.
const MODULES: [(&str, &str); 2] = [(".self_attn", ".attention_adapters"), (".mlp", ".output_adapters")];

/// The name in the model of a parameter with this key; `normed` where the bottleneck begins with a norm, which then stands
/// before the map down in a list of modules.
pub fn parameter(key: &str, normed: bool) -> Option<String> {
    let (module, rest) = key.split_once(".adapters.")?;
    let (_, part) = rest.split_once('.')?;
    let module = match MODULES.iter().find_map(|(ours, theirs)| Some((ours, module.strip_suffix(theirs)?))) {
        Some((ours, front)) => format!("{front}{ours}"),
        None => module.to_owned(),
    };
    let part = match part.strip_prefix("adapter_down.").and_then(|rest| rest.split_once('.')) {
        Some(("0", end)) if normed => format!("adapter_norm_before.{end}"),
        Some((number, end)) if number == if normed { "1" } else { "0" } => format!("adapter_down.{end}"),
        Some(_) => return None,
        None => part.to_owned(),
    };
    Some(format!("{module}.{part}"))
}

/// The keys of the parameter `name`.
fn keys(name: &str, normed: bool) -> Vec<String> {
    let Some(at) = name.rfind(".adapter_") else { return Vec::new() };
    let (module, part) = name.split_at(at);
    let module = match MODULES.iter().find_map(|(ours, theirs)| Some((module.strip_suffix(ours)?, theirs))) {
        Some((front, theirs)) => format!("{front}{theirs}"),
        None => module.to_owned(),
    };
    let key = |part: &str| format!("{module}.adapters.{NAME}.{part}");
    let part = part.trim_start_matches('.');
    let end = part.rsplit('.').next().unwrap_or_default();
    if part.starts_with("adapter_down.") {
        return vec![key(&format!("adapter_down.{}.{end}", usize::from(normed)))];
    }
    match part.starts_with("adapter_norm_before.") {
        true => vec![key(part), key(&format!("adapter_down.0.{end}"))],
        false => vec![key(part)],
    }
}

/// The key of the parameter `name`; a head's own name where it is of one.
pub fn key(name: &str, normed: bool) -> String {
    keys(name, normed).into_iter().next().unwrap_or_else(|| name.to_owned())
}

/// Where the tensors of the adapter in `folder` are.
pub fn file(folder: &Path) -> PathBuf {
    let [safe, pickled] = WEIGHTS.map(|name| folder.join(name));
    if !safe.is_file() && pickled.is_file() { pickled } else { safe }
}

/// The classes of transformers by `model_type`, without what they are for.
const CLASSES: [(&str, &str); 9] = [
    ("bert", "Bert"),
    ("gemma3_text", "Gemma3"),
    ("llama", "Llama"),
    ("mistral", "Mistral"),
    ("phi3", "Phi3"),
    ("qwen2", "Qwen2"),
    ("qwen3", "Qwen3"),
    ("roberta", "Roberta"),
    ("t5", "T5"),
];

/// Settings that stand in every file of the library.
fn common(saved: &Saved) -> Map<String, Value> {
    let config = &saved.model.config;
    let model_type = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
    let class = CLASSES.iter().find(|(known, _)| *known == model_type).map_or("", |(_, class)| class);
    let purpose = match task_type(saved.model) {
        "SEQ_2_SEQ_LM" => "ForConditionalGeneration",
        "CAUSAL_LM" => "ForCausalLM",
        "SEQ_CLS" => "ForSequenceClassification",
        _ => "ForQuestionAnswering",
    };
    let mut common = Map::new();
    common.insert("hidden_size".to_owned(), config.get("hidden_size").cloned().unwrap_or(Value::Null));
    common.insert("model_class".to_owned(), json!(format!("{class}{purpose}")));
    common.insert("model_name".to_owned(), json!(saved.base.unwrap_or_default()));
    common.insert("model_type".to_owned(), json!(model_type));
    common.insert("version".to_owned(), json!(VERSION));
    common
}

/// Writes the folder of an adapter, which is created. A head goes into files of its own.
pub fn write(method: &Bottleneck, saved: &Saved, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, error))?;
    let width = ["hidden_size", "d_model"].iter().find_map(|key| saved.model.config.get(key)?.as_i64()).unwrap_or(1);
    let mut config = common(saved);
    config.insert("config".to_owned(), settings(method, width));
    config.insert("name".to_owned(), json!(NAME));
    config.insert("task_type".to_owned(), json!(task_type(saved.model)));
    write_json(&folder.join(CONFIG), &Value::Object(config))?;
    let (mut adapter, mut head) = (Vec::new(), Vec::new());
    for (name, tensor) in saved.parameters() {
        let keys = keys(name, method.norms.before);
        if keys.is_empty() {
            head.push((name.to_owned(), tensor.shallow_clone()));
        }
        adapter.extend(keys.into_iter().map(|key| (key, tensor.shallow_clone())));
    }
    write_tensors(&folder.join(WEIGHTS[0]), &adapter)?;
    if head.is_empty() {
        return Ok(());
    }
    let mut config = common(saved);
    config.insert("config".to_owned(), Value::Null);
    config.insert("name".to_owned(), Value::Null);
    if let Task::SequenceClassification { labels } = saved.model.task {
        config.insert("num_labels".to_owned(), json!(labels));
    }
    let labels = saved.model.config.get("label2id").cloned();
    config.insert("label2id".to_owned(), labels.unwrap_or(Value::Null));
    write_json(&folder.join(HEAD_CONFIG), &Value::Object(config))?;
    write_tensors(&folder.join(HEAD_WEIGHTS[0]), &head)
}

/// The first of these files that is in `folder`.
fn open(folder: &Path, names: [&str; 2]) -> Result<Option<TensorFile>> {
    let [safe, pickled] = names.map(|name| folder.join(name));
    match (safe.is_file(), pickled.is_file()) {
        (true, _) => Ok(Some(TensorFile::safetensors(&safe)?)),
        (false, true) => Ok(Some(TensorFile::torch(&pickled)?)),
        (false, false) => Ok(None),
    }
}

/// Loads the adapter in `folder`, and its head where there is one, into those parameters of a model made with `method`
/// whose names are `wanted`. Each key of these must match one. Returns the names of those that were there.
pub fn load(
    folder: &Path,
    method: &Bottleneck,
    wanted: &dyn Fn(&str) -> bool,
    parameters: &mut Parameters,
) -> Result<BTreeSet<String>> {
    let Some(file) = open(folder, WEIGHTS)? else {
        let problem = format!("holds neither {} nor {}", WEIGHTS[0], WEIGHTS[1]);
        return Err(Error::file(folder, problem, "save the adapter again"));
    };
    let normed = method.norms.before;
    let all: Vec<&String> = file.tensors().keys().collect();
    let mut found = set(&file, &all, normed, |key| parameter(key, normed), parameters)?;
    if let Some(head) = open(folder, HEAD_WEIGHTS)? {
        let tied = parameters.get(LM_HEAD).is_none();
        let chosen = |key: &&String| wanted(key) && !(tied && *key == LM_HEAD);
        let chosen: Vec<&String> = head.tensors().keys().filter(chosen).collect();
        found.extend(set(&head, &chosen, normed, |key| Some(key.to_owned()), parameters)?);
    }
    Ok(found)
}

/// Sets parameters to these tensors of `file`.
fn set(
    file: &TensorFile,
    chosen: &[&String],
    normed: bool,
    name_of: impl Fn(&str) -> Option<String>,
    parameters: &mut Parameters,
) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for key in chosen {
        let Some(name) = name_of(key).filter(|name| parameters.get(name).is_some()) else {
            let known: Vec<String> = parameters.iter().flat_map(|(name, _)| keys(name, normed)).collect();
            let hint = match nearest(key, known.iter().map(String::as_str)) {
                Some(near) => format!("the nearest one that the model has is `{near}`; check base model and settings"),
                None => "check that the adapter belongs to this base model".to_owned(),
            };
            return Err(Error::file(file.path(), format!("the key `{key}` matches nothing in the model"), hint));
        };
        let size = parameters.get(&name).map(Tensor::size).unwrap_or_default();
        let shape = file.tensors().get(*key).and_then(shape_of).unwrap_or_default();
        if shape != size {
            return Err(Error::file(
                file.path(),
                format!("the tensor `{key}` has shape {shape:?}, the model's has {size:?}"),
                "check that base model and reduction factor are those the adapter was trained with",
            ));
        }
        parameters.set(&name, &read_tensor(file, key, Device::Cpu, Kind::Float)?)?;
        found.insert(name);
    }
    Ok(found)
}

/// What the adapter in `folder` was trained for, where its files say it.
pub fn task(config: &AdapterConfig) -> Result<Task> {
    let class = config.text("model_class").unwrap_or_default();
    if class.ends_with("ForQuestionAnswering") {
        return Ok(Task::QuestionAnswering);
    }
    if !class.ends_with("ForSequenceClassification") {
        return Ok(Task::LanguageModel);
    }
    let heads = ["classifier.weight", "classifier.out_proj.weight", "score.weight"];
    let file = open(config.folder(), HEAD_WEIGHTS)?;
    let labels = file.as_ref().and_then(|file| {
        let stored = heads.iter().find_map(|name| file.tensors().get(*name))?;
        shape_of(stored)?.first().copied()
    });
    match labels {
        Some(labels) => Ok(Task::SequenceClassification { labels }),
        None => Err(config.error(
            "was trained for classes, and there is no head beside it",
            "save the head too: model.save_head(folder)",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_names_belong_to_each_other() {
        let pairs = [
            ("roberta.encoder.layer.0.output", "roberta.encoder.layer.0.output"),
            ("model.layers.3.self_attn", "model.layers.3.attention_adapters"),
            ("model.layers.3.mlp", "model.layers.3.output_adapters"),
            ("decoder.block.1.layer.2", "decoder.block.1.layer.2"),
        ];
        for (ours, theirs) in pairs {
            for (part, key) in
                [("adapter_down.weight", "adapter_down.0.weight"), ("adapter_up.bias", "adapter_up.bias")]
            {
                let name = format!("{ours}.{part}");
                assert_eq!(keys(&name, false), [format!("{theirs}.adapters.default.{key}")]);
                assert_eq!(parameter(&format!("{theirs}.adapters.mine.{key}"), false).unwrap(), name);
            }
        }
        let normed = keys("a.output.adapter_norm_before.bias", true);
        assert_eq!(normed[0], "a.output.adapters.default.adapter_norm_before.bias");
        assert_eq!(normed[1], "a.output.adapters.default.adapter_down.0.bias");
        assert!(normed.iter().all(|key| parameter(key, true).unwrap() == "a.output.adapter_norm_before.bias"));
        assert_eq!(keys("a.output.adapter_down.bias", true), ["a.output.adapters.default.adapter_down.1.bias"]);
        assert_eq!(parameter("a.output.adapters.x.adapter_down.1.bias", false), None);
        assert!(keys("classifier.dense.weight", false).is_empty());
    }

    #[test]
    fn a_reduction_factor_gives_back_the_size() {
        for width in [16, 17, 768, 1023] {
            for units in [1, 3, 5, 7, 16] {
                let factor = reduction(Size::Units(units), width).as_f64().unwrap();
                assert_eq!(Size::Reduction(factor).of(width), units, "{units} of {width}: {factor}");
            }
        }
    }
}
