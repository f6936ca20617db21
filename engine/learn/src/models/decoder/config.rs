//! The keys of a `config.json` that decoder families have in common, with their checks. Knows no tensors and no family.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::layers::{Heads, Llama3Scaling, RopeScaling};

/// Reads those keys of a `config.json` that `T` names. Where one is absent, that of `defaults` stands in. `family` is
/// whose file it is, for messages.
pub fn read<T: DeserializeOwned>(config: &Value, defaults: &Value, family: &str) -> Result<T> {
    let mut config = config.clone();
    if let (Some(config), Some(defaults)) = (config.as_object_mut(), defaults.as_object()) {
        for (key, value) in defaults {
            config.entry(key).or_insert_with(|| value.clone());
        }
    }
    serde_path_to_error::deserialize(&config).map_err(|error| {
        let hint = format!("compare it with the config.json of a {family} on the Hub");
        Error::setting(format!("config.json: {}", error.path()), error.inner().to_string(), hint)
    })
}

/// An error in a key of `config.json`.
pub fn wrong(key: &str, problem: impl Into<String>, hint: &str) -> Error {
    Error::setting(format!("config.json: {key}"), problem, hint)
}

/// The sizes of a decoder and what else all families say.
#[derive(Debug, Clone, Deserialize)]
pub struct Shape {
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
    pub rms_norm_eps: f64,
    /// Dropout on attention weights in training.
    #[serde(default)]
    pub attention_dropout: Option<f64>,
    /// Whether the head is the embedding.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// Standard deviation of random weights.
    pub initializer_range: f64,
    /// The token id of padding.
    pub pad_token_id: Option<i64>,
    /// The longest text the model was made for, in tokens.
    pub max_position_embeddings: i64,
    quantization_config: Option<Value>,
}

impl Shape {
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

    /// Dropout on attention weights in training.
    pub fn dropout(&self) -> f64 {
        self.attention_dropout.unwrap_or(0.0)
    }

    /// The embedding's row that padding has, where it has one.
    pub fn padding_id(&self) -> Option<i64> {
        self.pad_token_id.filter(|&id| id < self.vocab_size)
    }

    /// Refuses sizes that no model can have.
    pub fn check(&self) -> Result<()> {
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
            check_size(key, size)?;
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
        if !(0.0..1.0).contains(&self.dropout()) {
            let problem = format!("is {}", self.dropout());
            return Err(wrong("attention_dropout", problem, "it must be at least 0 and below 1"));
        }
        if self.quantization_config.is_some() {
            return Err(wrong("quantization_config", "quantized weights cannot be read", "take the plain checkpoint"));
        }
        Ok(())
    }
}

/// Refuses a size that no model can have.
pub fn check_size(key: &str, size: i64) -> Result<()> {
    if (1..=1 << 24).contains(&size) {
        return Ok(());
    }
    Err(wrong(key, format!("is {size}"), "it must be between 1 and 16777216"))
}

/// Refuses another activation of the MLP than the one that the family has.
pub fn check_activation(key: &str, found: &str, wanted: &str, family: &str) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(wrong(key, format!("is `{found}`"), &format!("a {family}'s is `{wanted}`")))
}

/// What a layer sees of a text, in the words of `layer_types`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerType {
    /// All that stands before.
    FullAttention,
    /// A window of it.
    SlidingAttention,
}

/// The type of each layer: as `layer_types` lists them, else by index.
pub fn layer_types(
    listed: Option<Vec<LayerType>>,
    layers: usize,
    by_index: impl Fn(usize) -> LayerType,
) -> Result<Vec<LayerType>> {
    match listed {
        None => Ok((0..layers).map(by_index).collect()),
        Some(types) if types.len() == layers => Ok(types),
        Some(types) => {
            let problem = format!("lists {} layers, num_hidden_layers is {layers}", types.len());
            Err(wrong("layer_types", problem, "give one type for each layer"))
        }
    }
}

/// The keys of a rotary embedding: `rope_theta` beside `rope_scaling`, or the newer `rope_parameters`, which holds both.
#[derive(Debug, Clone, Deserialize)]
pub struct RotaryKeys {
    rope_theta: Option<f64>,
    rope_scaling: Option<RopeParameters>,
    rope_parameters: Option<RopeParameters>,
    partial_rotary_factor: Option<f64>,
}

impl RotaryKeys {
    /// The base of the frequencies, and how they are scaled. `positions` is the longest text the model was made for.
    pub fn read(&self, positions: i64) -> Result<(f64, Option<RopeScaling>)> {
        let theta = self.rope_parameters.as_ref().and_then(|rope| rope.rope_theta).or(self.rope_theta);
        let scaling = match (&self.rope_parameters, &self.rope_scaling) {
            (Some(rope), _) => rope.scaling("rope_parameters", positions)?,
            (None, Some(rope)) => rope.scaling("rope_scaling", positions)?,
            (None, None) => None,
        };
        Ok((check_theta("rope_theta", theta.unwrap_or(10_000.0))?, scaling))
    }

    /// The base of the frequencies, and how much of a head of this `width` is turned, of a family that turns parts of heads
    /// and scales no frequencies.
    pub fn read_partial(&self, width: i64) -> Result<(f64, i64)> {
        let (key, rope) = match (&self.rope_parameters, &self.rope_scaling) {
            (Some(rope), _) => ("rope_parameters", rope.clone()),
            (None, Some(rope)) => ("rope_scaling", rope.clone()),
            (None, None) => ("rope_scaling", RopeParameters::default()),
        };
        rope.unscaled(key)?;
        let theta = rope.rope_theta.or(self.rope_theta).unwrap_or(10_000.0);
        let part = rope.partial_rotary_factor.or(self.partial_rotary_factor).unwrap_or(1.0);
        // As transformers rounds it.
        let turned = (width as f64 * part) as i64;
        if !(part > 0.0 && part <= 1.0) || turned < 2 || turned % 2 != 0 {
            let problem = format!("is {part}: it would turn {turned} of the {width} numbers of a head");
            return Err(wrong("partial_rotary_factor", problem, "give a part of a head that is an even width"));
        }
        Ok((check_theta("rope_theta", theta)?, turned))
    }
}

/// The base of rotary frequencies, when it can be one.
pub fn check_theta(key: &str, theta: f64) -> Result<f64> {
    if theta > 0.0 { Ok(theta) } else { Err(wrong(key, format!("is {theta}"), "it must be above zero")) }
}

/// One group of settings of a rotary embedding.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct RopeParameters {
    rope_type: Option<String>,
    /// An older word for `rope_type`; some files have both.
    r#type: Option<String>,
    /// The base of the frequencies.
    pub rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    partial_rotary_factor: Option<f64>,
}

impl RopeParameters {
    fn kind(&self) -> &str {
        self.rope_type.as_deref().or(self.r#type.as_deref()).unwrap_or("default")
    }

    /// Refuses every scaling of the frequencies; `key` is where these settings stand.
    fn unscaled(&self, key: &str) -> Result<()> {
        let key = format!("{key}.rope_type");
        match self.kind() {
            "default" => Ok(()),
            // What transformers makes of both in a Phi-3.
            kind @ ("longrope" | "su" | "yarn") => Err(wrong(
                &key,
                format!(
                    "`{kind}` scaling has other frequencies for long texts than for short ones, and is not supported"
                ),
                "take a checkpoint whose rope_scaling is null, such as Phi-3-mini-4k-instruct or phi-4",
            )),
            kind => Err(wrong(&key, format!("the scaling `{kind}` is not known of this family"), "known is: default")),
        }
    }

    /// The scaling of the frequencies; `key` is where these settings stand.
    pub fn scaling(&self, key: &str, positions: i64) -> Result<Option<RopeScaling>> {
        if self.partial_rotary_factor.is_some_and(|part| part != 1.0) {
            let key = format!("{key}.partial_rotary_factor");
            return Err(wrong(&key, "only whole heads can be turned", "take a model that does without it"));
        }
        let kind = self.kind();
        let need = |name: &str, value: Option<f64>| {
            value.filter(|value| *value > 0.0).ok_or_else(|| {
                let problem = format!("{kind} scaling needs it, above zero");
                wrong(&format!("{key}.{name}"), problem, "compare with the model's config.json on the Hub")
            })
        };
        let known = "known are: default, linear, llama3";
        match kind {
            "default" => Ok(None),
            "linear" => Ok(Some(RopeScaling::Linear(need("factor", self.factor)?))),
            "llama3" => {
                let context = self.original_max_position_embeddings.unwrap_or(positions as f64);
                let scaling = Llama3Scaling {
                    factor: need("factor", self.factor)?,
                    low_frequency: need("low_freq_factor", self.low_freq_factor)?,
                    high_frequency: need("high_freq_factor", self.high_freq_factor)?,
                    original_context: need("original_max_position_embeddings", Some(context))?,
                };
                if scaling.low_frequency >= scaling.high_frequency {
                    let problem = "must be above low_freq_factor";
                    return Err(wrong(&format!("{key}.high_freq_factor"), problem, "compare with Llama 3.1's"));
                }
                Ok(Some(RopeScaling::Llama3(scaling)))
            }
            "dynamic" => Err(wrong(
                &format!("{key}.rope_type"),
                "`dynamic` scaling changes the frequencies while a text grows, so that what was computed before is wrong",
                known,
            )),
            other => Err(wrong(&format!("{key}.rope_type"), format!("the scaling `{other}` is not known"), known)),
        }
    }
}
