//! The settings of prefix tuning in PEFT's `adapter_config.json`. Knows PEFT's words; no layer. Which part of the numbers a
//! layer has is [`Attentions::stride`](crate::adapters::Attentions::stride).

use serde::Deserialize;
use serde_json::{Value, json};

use super::{AdapterConfig, Saved};
use crate::error::Result;
use crate::layers::Prefix;
use crate::models::Network;

/// PEFT's name of the method.
pub const PEFT_TYPE: &str = "PREFIX_TUNING";

/// The keys of PEFT's `PrefixTuningConfig` that matter to what a trained prefix does.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PrefixConfig {
    /// Keys before those of a text.
    pub num_virtual_tokens: i64,
    /// Whether they were computed from smaller vectors while they trained. The file holds the result.
    #[serde(default)]
    pub prefix_projection: bool,
    /// The inner width of what they were computed by.
    #[serde(default)]
    pub encoder_hidden_size: Option<i64>,
}

impl PrefixConfig {
    /// The settings, if they are of this method.
    pub fn read(config: &AdapterConfig) -> Result<Option<Self>> {
        if config.peft_type() != PEFT_TYPE { Ok(None) } else { config.parse().map(Some) }
    }

    /// The whole `adapter_config.json` of what is saved; PEFT writes the sizes of keys and values as those of the model.
    pub fn to_json(&self, saved: &Saved, prefix: &Prefix) -> Value {
        let sizes = prefix.sizes();
        let width = sizes.heads * sizes.width;
        let submodules = if matches!(saved.model.network, Network::Seq2SeqLm(_)) { 2 } else { 1 };
        let method = json!({
            "encoder_hidden_size": self.encoder_hidden_size.unwrap_or(width),
            "init_weights": null,
            "num_attention_heads": sizes.heads,
            "num_layers": sizes.layers,
            "num_transformer_submodules": submodules,
            "num_virtual_tokens": self.num_virtual_tokens,
            "prefix_projection": self.prefix_projection,
            "token_dim": width,
        });
        saved.config(PEFT_TYPE, method)
    }
}
