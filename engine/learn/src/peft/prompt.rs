//! The settings of prompt tuning in PEFT's `adapter_config.json`, and the keys of methods that train a prompt. Knows PEFT's
//! words; no layer.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{AdapterConfig, MERGE, Saved, write as write_folder};
use crate::error::{Error, Result};

/// PEFT's name of the method.
pub const PEFT_TYPE: &str = "PROMPT_TUNING";

/// What PEFT puts before the names of a model's own tensors when the method trains a prompt.
pub const PREFIX: &str = "base_model.";

/// PEFT's key of what the method trains.
const KEY: &str = "prompt_embeddings";

/// The keys of PEFT's `PromptTuningConfig` that matter to what a trained prompt does, and one of our own.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PromptConfig {
    /// How many virtual tokens there are.
    pub num_virtual_tokens: i64,
    /// Blocks of so many vectors; a model reads the first.
    pub num_transformer_submodules: Option<i64>,
    /// How many of a text's own tokens stand in front of the virtual ones. PEFT has no such key: there it is none.
    #[serde(default)]
    pub virtual_tokens_after: i64,
    /// What it began with: `RANDOM`, `SAMPLE_VOCAB` or `TEXT`.
    #[serde(default)]
    pub prompt_tuning_init: Option<String>,
    /// The text that it began with.
    #[serde(default)]
    pub prompt_tuning_init_text: Option<String>,
}

impl PromptConfig {
    /// The settings, if they are of this method.
    pub fn read(config: &AdapterConfig) -> Result<Option<Self>> {
        if config.peft_type() != PEFT_TYPE {
            return Ok(None);
        }
        let read: Self = config.parse()?;
        match read.num_transformer_submodules {
            None | Some(1 | 2) => Ok(Some(read)),
            Some(count) => {
                Err(config.error(format!("`num_transformer_submodules` is {count}, where 1 or 2 is known"), MERGE))
            }
        }
    }

    /// The whole `adapter_config.json` of what is saved.
    pub fn to_json(&self, saved: &Saved) -> Result<Value> {
        let sizes = Sizes::of(&saved.model.config)?;
        let mut method = json!({
            "num_attention_heads": sizes.heads,
            "num_layers": sizes.layers,
            "num_transformer_submodules": self.num_transformer_submodules,
            "num_virtual_tokens": self.num_virtual_tokens,
            "prompt_tuning_init": self.prompt_tuning_init,
            "prompt_tuning_init_text": self.prompt_tuning_init_text,
            "token_dim": sizes.width,
            "tokenizer_kwargs": null,
            // PEFT wants one beside a text, and does not open it for a trained prompt.
            "tokenizer_name_or_path": self.prompt_tuning_init_text.as_ref().map(|_| saved.base.unwrap_or(".")),
        });
        if let (Some(method), 1..) = (method.as_object_mut(), self.virtual_tokens_after) {
            method.insert("virtual_tokens_after".to_owned(), json!(self.virtual_tokens_after));
        }
        Ok(saved.config(PEFT_TYPE, method))
    }
}

/// The sizes of a model that PEFT writes beside a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Layers; of an encoder–decoder, those of one of both.
    pub layers: i64,
    /// Heads of the queries.
    pub heads: i64,
    /// Width of the hidden states.
    pub width: i64,
}

impl Sizes {
    /// Those of a `config.json`, of whose several names of a size the first is taken.
    pub fn of(config: &Value) -> Result<Self> {
        let config = config.get("text_config").filter(|text| text.is_object()).unwrap_or(config);
        let size = |names: &[&str]| {
            names.iter().find_map(|name| config.get(name).and_then(Value::as_i64)).ok_or_else(|| {
                let hint = "compare it with the config.json of the model on the Hub";
                Error::setting(format!("config.json: {}", names.join(" or ")), "is not there", hint)
            })
        };
        Ok(Self {
            layers: size(&["num_hidden_layers", "num_layers"])?,
            heads: size(&["num_attention_heads", "num_heads"])?,
            width: size(&["hidden_size", "d_model"])?,
        })
    }
}

/// The parameter with this key; `own` is the one that the method trains itself.
pub fn name_of(key: &str, own: &str) -> Option<String> {
    if key == KEY { Some(own.to_owned()) } else { key.strip_prefix(PREFIX).map(str::to_owned) }
}

/// The key of a parameter.
pub fn key_of(parameter: &str, own: &str) -> String {
    if parameter == own { KEY.to_owned() } else { format!("{PREFIX}{parameter}") }
}

/// Writes the folder of an adapter, which is created.
pub fn write(saved: &Saved, folder: &Path, config: &Value, own: &str) -> Result<()> {
    let keyed = saved.parameters().map(|(name, tensor)| (key_of(name, own), tensor.shallow_clone()));
    write_folder(folder, config, &keyed.collect::<Vec<_>>())
}
