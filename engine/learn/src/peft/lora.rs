//! The settings of LoRA and DoRA in PEFT's `adapter_config.json`. Knows PEFT's words; no layer.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{AdapterConfig, MERGE, Saved, targets};
use crate::error::Result;
use crate::targets::Targets;

/// The keys of PEFT's `LoraConfig` whose meaning is known here; any other than these must be at rest.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct LoraConfig {
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
        config.parse().map(Some)
    }

    /// The alpha that gives this adapter's scale as alpha / rank.
    pub fn effective_alpha(&self) -> f64 {
        if self.use_rslora { self.lora_alpha * (self.r as f64).sqrt() } else { self.lora_alpha }
    }

    /// What `target_modules` means.
    pub fn targets(&self) -> Result<Targets> {
        targets::read(&self.target_modules)
    }

    /// The whole `adapter_config.json` of what is saved.
    pub fn to_json(&self, saved: &Saved) -> Value {
        let whole = self.lora_alpha.fract() == 0.0 && self.lora_alpha.abs() < 1e15;
        let method = json!({
            "alpha_pattern": {},
            "bias": "none",
            "exclude_modules": null,
            "fan_in_fan_out": false,
            "init_lora_weights": true,
            "layers_pattern": null,
            "layers_to_transform": null,
            "lora_alpha": if whole { json!(self.lora_alpha as i64) } else { json!(self.lora_alpha) },
            "lora_dropout": self.lora_dropout,
            "r": self.r,
            "rank_pattern": {},
            "target_modules": self.target_modules,
            "use_dora": self.use_dora,
            "use_rslora": self.use_rslora,
        });
        saved.config(PEFT_TYPE, method)
    }
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

/// Refuses biases, and first values that were taken out of the base model's weights.
fn check_first_values(config: &AdapterConfig) -> Result<()> {
    if let Some(bias) = config.text("bias").filter(|bias| *bias != "none") {
        return Err(config.error(format!("`bias` is \"{bias}\": biases were trained too"), MERGE));
    }
    match config.text("init_lora_weights") {
        Some(init) if !["gaussian", "eva", "orthogonal"].contains(&init) => Err(config.error(
            format!("`init_lora_weights` is `{init}`: the adapter belongs to changed base weights"),
            "convert it with PEFT (path_initial_model_for_weight_conversion) to a plain LoRA",
        )),
        _ => Ok(()),
    }
}
