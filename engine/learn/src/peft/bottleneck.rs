//! The settings of bottlenecks on linear maps as the PEFT of LLM-Adapters (arXiv 2304.01933) has them. Knows its words; no
//! layer.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{AdapterConfig, MERGE, Saved, targets};
use crate::adapters::Neck;
use crate::error::Result;
use crate::layers::Activation;
use crate::models::Model;
use crate::targets::Targets;

/// Its name of the method.
const PEFT_TYPE: &str = "BOTTLENECK";

/// The keys of its `BottleneckConfig`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct BottleneckConfig {
    /// Numbers in the middle.
    pub bottleneck_size: i64,
    /// What stands there.
    pub non_linearity: Activation,
    /// Dropout on what comes in.
    #[serde(default)]
    pub adapter_dropout: f64,
    /// Whether bottlenecks stand beside the maps, not in series.
    #[serde(default)]
    pub use_parallel_adapter: bool,
    /// What the result is multiplied with.
    #[serde(default = "one")]
    pub scaling: f64,
    /// A list of suffixes, or a pattern over whole names.
    #[serde(default)]
    target_modules: Value,
}

fn one() -> f64 {
    1.0
}

impl BottleneckConfig {
    /// The settings, if they are of this method.
    pub fn read(config: &AdapterConfig) -> Result<Option<Self>> {
        if config.peft_type() != PEFT_TYPE {
            return Ok(None);
        }
        if config.text("scaling").is_some() {
            return Err(config.error("`scaling` is learned, which is not known here", "train it with a number"));
        }
        if let Some(bias) = config.text("bias").filter(|bias| *bias != "none") {
            return Err(config.error(format!("`bias` is \"{bias}\": biases were trained too"), MERGE));
        }
        config.parse().map(Some)
    }

    /// The settings of such bottlenecks on `targets` of `model`.
    pub fn new(neck: &Neck, parallel: bool, targets: &Targets, model: &Model) -> Self {
        Self {
            bottleneck_size: neck.size,
            non_linearity: neck.activation,
            adapter_dropout: neck.dropout,
            use_parallel_adapter: parallel,
            scaling: neck.scale,
            target_modules: targets::write(targets, model),
        }
    }

    /// What `target_modules` means.
    pub fn targets(&self) -> Result<Targets> {
        targets::read(&self.target_modules)
    }

    /// The whole `adapter_config.json` of what is saved.
    pub fn to_json(&self, saved: &Saved) -> Value {
        let method = json!({
            "adapter_dropout": self.adapter_dropout,
            "bias": "none",
            "bottleneck_size": self.bottleneck_size,
            "init_weights": "bert",
            "non_linearity": self.non_linearity.name(),
            "scaling": self.scaling,
            "target_modules": self.target_modules,
            "use_parallel_adapter": self.use_parallel_adapter,
        });
        saved.config(PEFT_TYPE, method)
    }
}
