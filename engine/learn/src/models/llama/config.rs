//! The keys of a Llama's `config.json` that the model depends on, with transformers' defaults. Knows no tensors.

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::layers::{Heads, Llama3Scaling};

/// What a Llama's `config.json` says about the network. Keys that do not change it are not read.
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
    /// Heads of the queries.
    pub num_attention_heads: i64,
    /// Heads of the keys and values; as many as queries where absent.
    pub num_key_value_heads: Option<i64>,
    /// Width of a head; `hidden_size / num_attention_heads` where absent.
    pub head_dim: Option<i64>,
    /// Added to the mean square in norms.
    #[serde(default = "defaults::rms_norm_eps")]
    pub rms_norm_eps: f64,
    /// Whether the attention's maps have biases.
    #[serde(default)]
    pub attention_bias: bool,
    /// Whether the MLP's maps have biases.
    #[serde(default)]
    pub mlp_bias: bool,
    /// Dropout on attention weights in training.
    #[serde(default)]
    pub attention_dropout: f64,
    /// Whether the head is the embedding.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// Standard deviation of random weights.
    #[serde(default = "defaults::initializer_range")]
    pub initializer_range: f64,
    /// The token id of padding.
    pub pad_token_id: Option<i64>,
    /// The longest text the model was made for, in tokens.
    #[serde(default = "defaults::max_position_embeddings")]
    pub max_position_embeddings: i64,
    #[serde(default = "defaults::hidden_act")]
    hidden_act: String,
    rope_theta: Option<f64>,
    rope_scaling: Option<RopeParameters>,
    rope_parameters: Option<RopeParameters>,
    quantization_config: Option<Value>,
}

/// Both the old `rope_scaling` (beside `rope_theta`) and the newer `rope_parameters` (which holds it).
#[derive(Debug, Clone, Deserialize)]
struct RopeParameters {
    rope_type: Option<String>,
    /// An older word for `rope_type`; some files have both.
    r#type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    partial_rotary_factor: Option<f64>,
}

mod defaults {
    pub fn rms_norm_eps() -> f64 {
        1e-6
    }
    pub fn initializer_range() -> f64 {
        0.02
    }
    pub fn max_position_embeddings() -> i64 {
        2048
    }
    pub fn hidden_act() -> String {
        "silu".to_owned()
    }
}

impl Config {
    /// Reads and checks a `config.json`.
    pub fn read(config: &Value) -> Result<Self> {
        let config: Self = serde_path_to_error::deserialize(config).map_err(|error| {
            Error::setting(
                format!("config.json: {}", error.path()),
                error.inner().to_string(),
                "compare it with the config.json of a Llama on the Hub",
            )
        })?;
        config.check()?;
        Ok(config)
    }

    /// Heads and their width.
    pub fn heads(&self) -> Heads {
        Heads {
            queries: self.num_attention_heads,
            keys: self.num_key_value_heads.unwrap_or(self.num_attention_heads),
            width: self.head_dim(),
        }
    }

    /// Width of a head.
    pub fn head_dim(&self) -> i64 {
        self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads)
    }

    /// The base of the rotary frequencies.
    pub fn rope_theta(&self) -> Result<f64> {
        let theta =
            self.rope_parameters.as_ref().and_then(|rope| rope.rope_theta).or(self.rope_theta).unwrap_or(10_000.0);
        if theta > 0.0 { Ok(theta) } else { Err(wrong("rope_theta", format!("is {theta}"), "it must be above zero")) }
    }

    /// The scaling of the rotary frequencies.
    pub fn rope_scaling(&self) -> Result<Option<Llama3Scaling>> {
        let (key, rope) = match (&self.rope_parameters, &self.rope_scaling) {
            (Some(rope), _) => ("rope_parameters", rope),
            (None, Some(rope)) => ("rope_scaling", rope),
            (None, None) => return Ok(None),
        };
        if rope.partial_rotary_factor.is_some_and(|part| part != 1.0) {
            return Err(wrong(&format!("{key}.partial_rotary_factor"), "a Llama turns whole heads", "remove the key"));
        }
        let need = |name: &str, value: Option<f64>| {
            value.filter(|value| *value > 0.0).ok_or_else(|| {
                wrong(&format!("{key}.{name}"), "llama3 scaling needs it, above zero", "compare with Llama 3.1's")
            })
        };
        match rope.rope_type.as_deref().or(rope.r#type.as_deref()) {
            None | Some("default") => Ok(None),
            Some("llama3") => {
                let context = rope.original_max_position_embeddings.unwrap_or(self.max_position_embeddings as f64);
                let scaling = Llama3Scaling {
                    factor: need("factor", rope.factor)?,
                    low_frequency: need("low_freq_factor", rope.low_freq_factor)?,
                    high_frequency: need("high_freq_factor", rope.high_freq_factor)?,
                    original_context: need("original_max_position_embeddings", Some(context))?,
                };
                if scaling.low_frequency >= scaling.high_frequency {
                    let problem = "must be above low_freq_factor";
                    return Err(wrong(&format!("{key}.high_freq_factor"), problem, "compare with Llama 3.1's"));
                }
                Ok(Some(scaling))
            }
            Some(other) => Err(wrong(
                &format!("{key}.rope_type"),
                format!("the scaling `{other}` is not known"),
                "known are: default, llama3",
            )),
        }
    }

    fn check(&self) -> Result<()> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", i64::try_from(self.num_hidden_layers).unwrap_or(i64::MAX)),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads.unwrap_or(1)),
            ("head_dim", self.head_dim.unwrap_or(2)),
        ];
        for (key, size) in sizes {
            if !(1..=1 << 24).contains(&size) {
                return Err(wrong(key, format!("is {size}"), "it must be between 1 and 16777216"));
            }
        }
        let heads = self.heads();
        if self.head_dim.is_none() && self.hidden_size % heads.queries != 0 {
            let problem = format!("{} is not a multiple of num_attention_heads, {}", self.hidden_size, heads.queries);
            return Err(wrong("hidden_size", problem, "give a multiple, or give head_dim"));
        }
        if heads.width % 2 != 0 {
            return Err(wrong("head_dim", format!("is {}", heads.width), "rotary embedding needs an even width"));
        }
        if heads.queries % heads.keys != 0 {
            let problem = format!("{} does not divide num_attention_heads, {}", heads.keys, heads.queries);
            return Err(wrong("num_key_value_heads", problem, "give a divisor"));
        }
        if self.hidden_act != "silu" {
            return Err(wrong("hidden_act", format!("is `{}`", self.hidden_act), "a Llama's is `silu`"));
        }
        if !(0.0..1.0).contains(&self.attention_dropout) {
            let problem = format!("is {}", self.attention_dropout);
            return Err(wrong("attention_dropout", problem, "it must be at least 0 and below 1"));
        }
        if self.quantization_config.is_some() {
            return Err(wrong("quantization_config", "quantized weights cannot be read", "take the plain checkpoint"));
        }
        self.rope_theta()?;
        self.rope_scaling()?;
        Ok(())
    }
}

fn wrong(key: &str, problem: impl Into<String>, hint: &str) -> Error {
    Error::setting(format!("config.json: {key}"), problem, hint)
}
