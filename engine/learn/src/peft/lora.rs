//! The settings of the low-rank methods in PEFT's `adapter_config.json`. Knows PEFT's words; no layer.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{AdapterConfig, MERGE, Saved, targets};
use crate::adapters::first_values::{FirstValues, Gaussian, Kaiming, Olora, Orthogonal, Pissa};
use crate::error::{Error, Result};
use crate::targets::{Layers, Targets};

/// The keys of PEFT's `LoraConfig` whose meaning is known here; any other than these must be at rest.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct LoraConfig {
    /// The rank.
    pub r: i64,
    /// The numerator of the scale.
    pub lora_alpha: f64,
    /// Dropout on the adapter's input.
    pub lora_dropout: f64,
    /// Whether it is DoRA.
    pub use_dora: bool,
    /// Whether the scale is alpha / √rank instead of alpha / rank.
    pub use_rslora: bool,
    /// A list of suffixes, a pattern over whole names, or `all-linear`.
    pub target_modules: Value,
    /// Those that are left out again: a list of suffixes, or a pattern over whole names.
    pub exclude_modules: Value,
    /// The layers whose maps are meant: a number or a list.
    pub layers_to_transform: Value,
    /// The names that layers are counted by: one or a list.
    pub layers_pattern: Value,
    /// Ranks by patterns.
    pub rank_pattern: Map<String, Value>,
    /// Alphas by patterns.
    pub alpha_pattern: Map<String, Value>,
    /// Which biases train.
    pub bias: Option<String>,
    /// What the factors began with.
    pub init_lora_weights: Value,
}

/// PEFT's name of the method.
pub const PEFT_TYPE: &str = "LORA";

impl LoraConfig {
    /// The settings, if they are of this method. A key that asks for something unknown here is an error, never passed over.
    pub fn read(config: &AdapterConfig) -> Result<Option<Self>> {
        if config.peft_type() != PEFT_TYPE {
            return Ok(None);
        }
        config.refuse(UNKNOWN_SETTINGS)?;
        check_first_values(config)?;
        let found: Self = config.parse_known()?;
        if found.r == 0 {
            return Err(config.error("r: is not there, so the rank is unknown", "compare it with what PEFT writes"));
        }
        Ok(Some(found))
    }

    /// What `target_modules` means, within `layers_to_transform` and without `exclude_modules`.
    pub fn targets(&self) -> Result<Targets> {
        let mut targets = targets::read(&self.target_modules)?;
        let layers = whole_numbers(&self.layers_to_transform)?;
        // A pattern over whole names says itself which layers it means.
        if !layers.is_empty() && !self.target_modules.is_string() {
            let layers = Layers::of_peft(layers, &words(&self.layers_pattern))?;
            targets = Targets::InLayers(Box::new(targets), layers);
        }
        match super::at_rest(&self.exclude_modules) {
            true => Ok(targets),
            false => Ok(Targets::Except(Box::new(targets), Box::new(targets::read(&self.exclude_modules)?))),
        }
    }

    /// The ranks of single maps, in the file's order.
    pub fn ranks(&self) -> Result<Vec<(String, i64)>> {
        let read = |(pattern, value): (&String, &Value)| match value.as_i64() {
            Some(rank) => Ok((pattern.clone(), rank)),
            None => Err(wrong("rank_pattern", value)),
        };
        self.rank_pattern.iter().map(read).collect()
    }

    /// The alphas of single maps, in the file's order.
    pub fn alphas(&self) -> Result<Vec<(String, f64)>> {
        let read = |(pattern, value): (&String, &Value)| match value.as_f64() {
            Some(alpha) => Ok((pattern.clone(), alpha)),
            None => Err(wrong("alpha_pattern", value)),
        };
        self.alpha_pattern.iter().map(read).collect()
    }

    /// What the factors began with. Of those that took something out of the base this is what the base is made of again.
    pub fn first_values(&self) -> Box<dyn FirstValues> {
        match self.init_lora_weights.as_str() {
            Some("gaussian") => Box::new(Gaussian),
            Some("orthogonal") => Box::new(Orthogonal),
            Some("pissa") => Box::new(Pissa),
            Some("olora") => Box::new(Olora),
            _ => Box::new(Kaiming),
        }
    }

    /// The whole `adapter_config.json` of what is saved.
    pub fn to_json(&self, saved: &Saved) -> Value {
        let method = json!({
            "alpha_pattern": self.alpha_pattern,
            "bias": self.bias,
            "exclude_modules": null,
            "fan_in_fan_out": false,
            "init_lora_weights": self.init_lora_weights,
            "layers_pattern": null,
            "layers_to_transform": null,
            "lora_alpha": number(self.lora_alpha),
            "lora_dropout": self.lora_dropout,
            "r": self.r,
            "rank_pattern": self.rank_pattern,
            "target_modules": self.target_modules,
            "use_dora": self.use_dora,
            "use_rslora": self.use_rslora,
        });
        saved.config(PEFT_TYPE, method)
    }
}

/// A number as PEFT writes it: a whole one without a dot.
pub fn number(value: f64) -> Value {
    let whole = value.fract() == 0.0 && value.abs() < 1e15;
    if whole { json!(value as i64) } else { json!(value) }
}

fn wrong(setting: &str, value: &Value) -> Error {
    Error::setting(format!("adapter_config.json: {setting}"), format!("`{value}` is no number for it"), MERGE)
}

/// A number or a list of numbers, nothing where it is null.
fn whole_numbers(value: &Value) -> Result<Vec<u64>> {
    let one = |value: &Value| value.as_u64().ok_or_else(|| wrong("layers_to_transform", value));
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(list) => list.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}

/// A word or a list of words, nothing where it is null or empty.
fn words(value: &Value) -> Vec<String> {
    let list = match value {
        Value::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    list.iter().filter_map(Value::as_str).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Settings that change what the adapter computes or saves, and that no method here knows.
const UNKNOWN_SETTINGS: &[&str] = &[
    "alora_invocation_tokens",
    "arrow_config",
    "fan_in_fan_out",
    "layer_replication",
    "lora_bias",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
];

/// Refuses first values that were taken out of the base model's weights in a way that cannot be done again.
fn check_first_values(config: &AdapterConfig) -> Result<()> {
    let init = config.text("init_lora_weights");
    let known = ["gaussian", "eva", "orthogonal", "pissa", "olora"];
    let changes = ["pissa", "olora"];
    match init {
        Some(init) if !known.contains(&init) || (config.switched_on("use_dora") && changes.contains(&init)) => {
            Err(config.error(
                format!("`init_lora_weights` is `{init}`: the adapter belongs to changed base weights"),
                "convert it with PEFT (path_initial_model_for_weight_conversion) to a plain LoRA",
            ))
        }
        _ => Ok(()),
    }
}
