//! The keys of a BERT's or RoBERTa's `config.json` that the network depends on, with transformers' defaults. Knows no
//! tensors.

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::layers::{Activation, Heads};

/// What a `config.json` says about the network. Keys that do not change it are not read.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// Number of token ids.
    pub vocab_size: i64,
    /// Width of the hidden states.
    pub hidden_size: i64,
    /// Inner width of the MLP.
    pub intermediate_size: i64,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: i64,
    /// The MLP's non-linearity.
    #[serde(default = "defaults::hidden_act")]
    pub hidden_act: Activation,
    /// Dropout on hidden states in training.
    #[serde(default = "defaults::dropout")]
    pub hidden_dropout_prob: f64,
    /// Dropout on attention weights in training.
    #[serde(default = "defaults::dropout")]
    pub attention_probs_dropout_prob: f64,
    /// Dropout before a classifier in training; that on hidden states where absent.
    pub classifier_dropout: Option<f64>,
    /// Number of positions.
    pub max_position_embeddings: i64,
    /// Number of token types.
    pub type_vocab_size: i64,
    /// Added to the variance in norms.
    #[serde(default = "defaults::layer_norm_eps")]
    pub layer_norm_eps: f64,
    /// The token id of padding.
    pub pad_token_id: Option<i64>,
    /// Standard deviation of random weights.
    #[serde(default = "defaults::initializer_range")]
    pub initializer_range: f64,
    #[serde(default = "defaults::position_embedding_type")]
    position_embedding_type: String,
    #[serde(default)]
    is_decoder: bool,
    quantization_config: Option<Value>,
}

mod defaults {
    use crate::layers::Activation;

    pub fn hidden_act() -> Activation {
        Activation::Gelu
    }
    pub fn dropout() -> f64 {
        0.1
    }
    pub fn layer_norm_eps() -> f64 {
        1e-12
    }
    pub fn initializer_range() -> f64 {
        0.02
    }
    pub fn position_embedding_type() -> String {
        "absolute".to_owned()
    }
}

impl Config {
    /// Reads and checks a `config.json`.
    pub fn read(config: &Value) -> Result<Self> {
        let config: Self = serde_path_to_error::deserialize(config).map_err(|error| {
            Error::setting(
                format!("config.json: {}", error.path()),
                error.inner().to_string(),
                "compare it with the config.json of a BERT or a RoBERTa on the Hub",
            )
        })?;
        config.check()?;
        Ok(config)
    }

    /// Heads and their width.
    pub fn heads(&self) -> Heads {
        let (queries, keys) = (self.num_attention_heads, self.num_attention_heads);
        Heads { queries, keys, width: self.hidden_size / self.num_attention_heads }
    }

    /// Dropout before a classifier.
    pub fn classifier_dropout(&self) -> f64 {
        self.classifier_dropout.unwrap_or(self.hidden_dropout_prob)
    }

    fn check(&self) -> Result<()> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", i64::try_from(self.num_hidden_layers).unwrap_or(i64::MAX)),
            ("num_attention_heads", self.num_attention_heads),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ];
        for (key, size) in sizes {
            if !(1..=1 << 24).contains(&size) {
                return Err(wrong(key, format!("is {size}"), "it must be between 1 and 16777216"));
            }
        }
        if self.hidden_size % self.num_attention_heads != 0 {
            let problem =
                format!("{} is not a multiple of num_attention_heads, {}", self.hidden_size, self.num_attention_heads);
            return Err(wrong("hidden_size", problem, "give a multiple"));
        }
        let dropouts = [
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
            ("classifier_dropout", self.classifier_dropout()),
        ];
        for (key, dropout) in dropouts {
            if !(0.0..1.0).contains(&dropout) {
                return Err(wrong(key, format!("is {dropout}"), "it must be at least 0 and below 1"));
            }
        }
        if self.position_embedding_type != "absolute" {
            let problem = format!("positions of the type `{}` are not known", self.position_embedding_type);
            return Err(wrong("position_embedding_type", problem, "take a model with absolute positions"));
        }
        if self.is_decoder {
            return Err(wrong("is_decoder", "a BERT that writes is not known", "take a decoder, such as a Llama"));
        }
        if self.quantization_config.is_some() {
            return Err(wrong("quantization_config", "quantized weights cannot be read", "take the plain checkpoint"));
        }
        Ok(())
    }
}

fn wrong(key: &str, problem: impl Into<String>, hint: &str) -> Error {
    Error::setting(format!("config.json: {key}"), problem, hint)
}
