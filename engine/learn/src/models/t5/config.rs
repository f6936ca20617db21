//! The keys of a T5's `config.json` that the network depends on, with transformers' defaults. Knows no tensors.

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::layers::{Activation, Heads};

/// What a T5's `config.json` says about the network. Keys that do not change it are not read.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// Number of token ids.
    pub vocab_size: i64,
    /// Width of the hidden states.
    pub d_model: i64,
    /// Width of a head.
    pub d_kv: i64,
    /// Inner width of the MLP.
    pub d_ff: i64,
    /// Layers of the encoder.
    pub num_layers: usize,
    /// Layers of the decoder; as many as the encoder's where absent.
    pub num_decoder_layers: Option<usize>,
    /// Attention heads.
    pub num_heads: i64,
    /// How many classes of distances the attention tells apart.
    #[serde(default = "defaults::buckets")]
    pub relative_attention_num_buckets: i64,
    /// The distance from which on all are one class.
    #[serde(default = "defaults::max_distance")]
    pub relative_attention_max_distance: i64,
    /// Dropout in training.
    #[serde(default = "defaults::dropout")]
    pub dropout_rate: f64,
    /// Added to the mean square in norms.
    #[serde(default = "defaults::epsilon")]
    pub layer_norm_epsilon: f64,
    /// The factor of the deviations of random weights.
    #[serde(default = "defaults::factor")]
    pub initializer_factor: f64,
    /// Whether the head is the embedding.
    #[serde(default = "defaults::tied")]
    pub tie_word_embeddings: bool,
    /// The token id of padding.
    #[serde(default)]
    pub pad_token_id: Option<i64>,
    decoder_start_token_id: Option<i64>,
    scale_decoder_outputs: Option<bool>,
    #[serde(default = "defaults::feed_forward")]
    feed_forward_proj: String,
    quantization_config: Option<Value>,
}

mod defaults {
    pub fn buckets() -> i64 {
        32
    }
    pub fn max_distance() -> i64 {
        128
    }
    pub fn dropout() -> f64 {
        0.1
    }
    pub fn epsilon() -> f64 {
        1e-6
    }
    pub fn factor() -> f64 {
        1.0
    }
    pub fn tied() -> bool {
        true
    }
    pub fn feed_forward() -> String {
        "relu".to_owned()
    }
}

/// How the MLP is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeedForward {
    /// One map in, v1.0's.
    Plain(Activation),
    /// A gate beside it, v1.1's.
    Gated(Activation),
}

impl Config {
    /// Reads and checks a `config.json`.
    pub fn read(config: &Value) -> Result<Self> {
        let config: Self = serde_path_to_error::deserialize(config).map_err(|error| {
            Error::setting(
                format!("config.json: {}", error.path()),
                error.inner().to_string(),
                "compare it with the config.json of a T5 on the Hub",
            )
        })?;
        config.check()?;
        Ok(config)
    }

    /// Heads and their width.
    pub fn heads(&self) -> Heads {
        Heads { queries: self.num_heads, keys: self.num_heads, width: self.d_kv }
    }

    /// The id that every answer begins with.
    pub fn start_id(&self) -> i64 {
        self.decoder_start_token_id.or(self.pad_token_id).unwrap_or(0)
    }

    /// Whether the head's inputs are scaled: where it is the embedding, unless the file says it itself.
    pub fn scaled(&self) -> bool {
        self.scale_decoder_outputs.unwrap_or(self.tie_word_embeddings)
    }

    /// How the MLP is made. `gated-gelu` has always meant the `tanh` form.
    pub fn feed_forward(&self) -> Result<FeedForward> {
        let named = |name: &str| {
            serde_json::from_value(Value::from(name)).map_err(|_| {
                let problem = format!("`{}` is not known", self.feed_forward_proj);
                wrong("feed_forward_proj", problem, "known are: relu, gelu, silu, gated-gelu, gated-relu, gated-silu")
            })
        };
        match self.feed_forward_proj.strip_prefix("gated-") {
            Some("gelu") => Ok(FeedForward::Gated(Activation::GeluTanh)),
            Some(name) => Ok(FeedForward::Gated(named(name)?)),
            None => Ok(FeedForward::Plain(named(&self.feed_forward_proj)?)),
        }
    }

    fn check(&self) -> Result<()> {
        let count = |layers: usize| i64::try_from(layers).unwrap_or(i64::MAX);
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("d_model", self.d_model),
            ("d_kv", self.d_kv),
            ("d_ff", self.d_ff),
            ("num_layers", count(self.num_layers)),
            ("num_decoder_layers", count(self.num_decoder_layers.unwrap_or(1))),
            ("num_heads", self.num_heads),
        ];
        for (key, size) in sizes {
            if !(1..=1 << 24).contains(&size) {
                return Err(wrong(key, format!("is {size}"), "it must be between 1 and 16777216"));
            }
        }
        let (buckets, distance) = (self.relative_attention_num_buckets, self.relative_attention_max_distance);
        if buckets < 4 || buckets % 2 != 0 {
            let problem = format!("is {buckets}");
            return Err(wrong("relative_attention_num_buckets", problem, "it must be even and at least 4"));
        }
        if distance <= buckets / 2 {
            let problem = format!("is {distance}");
            return Err(wrong("relative_attention_max_distance", problem, "it must be above half the buckets"));
        }
        if !(0.0..1.0).contains(&self.dropout_rate) {
            let problem = format!("is {}", self.dropout_rate);
            return Err(wrong("dropout_rate", problem, "it must be at least 0 and below 1"));
        }
        if !(0..self.vocab_size).contains(&self.start_id()) {
            let problem = format!("{} is no token id of the model", self.start_id());
            return Err(wrong("decoder_start_token_id", problem, "a T5's is 0"));
        }
        if self.quantization_config.is_some() {
            return Err(wrong("quantization_config", "quantized weights cannot be read", "take the plain checkpoint"));
        }
        self.feed_forward().map(drop)
    }
}

fn wrong(key: &str, problem: impl Into<String>, hint: &str) -> Error {
    Error::setting(format!("config.json: {key}"), problem, hint)
}
