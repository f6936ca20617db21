//! Where a train stage's model comes from, and the shapes that can be made with random weights. Knows no tensor.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    reference::Reference,
    stage::Fault,
    stage_or::{self, StageOr},
};

/// A stage that left a model or an adapter, or a shape with random weights.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelSource {
    /// What another stage left.
    Stage(Reference),
    /// A shape; its weights are drawn from the train stage's seed.
    Random(RandomModel),
}

crate::one_of! {
    /// A model that no stage left.
    pub enum NewModel {
        /// A shape with random weights.
        random => Random(RandomModel),
    }
}

crate::one_of! {
    /// A shape, by family; the keys are those of the family's `config.json`. The vocabulary is the tokenizer's.
    pub enum RandomModel {
        /// The Llama family: grouped-query attention, rotary positions, gated feed-forward layers.
        llama => Llama(LlamaShape),
    }
}

/// A Llama's shape, in the words of Hugging Face's `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LlamaShape {
    /// Width of the residual stream.
    #[schemars(range(min = 1))]
    pub hidden_size: u64,
    /// Width of the gated feed-forward layer.
    #[schemars(range(min = 1))]
    pub intermediate_size: u64,
    /// Transformer layers.
    #[schemars(range(min = 1))]
    pub num_hidden_layers: u64,
    /// Attention heads.
    #[schemars(range(min = 1))]
    pub num_attention_heads: u64,
    /// Heads of keys and values. Without it, as many as attention heads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub num_key_value_heads: Option<u64>,
    /// Width of a head. Without it, `hidden_size / num_attention_heads`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub head_dim: Option<u64>,
    /// Whether the output head is the embedding.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// The base of the rotary position embedding.
    #[serde(default = "default_rope_theta")]
    pub rope_theta: f64,
    /// Added to the mean square under the root of each norm.
    #[serde(default = "default_rms_norm_eps")]
    pub rms_norm_eps: f64,
    /// The longest row, in tokens.
    #[serde(default = "default_positions")]
    #[schemars(range(min = 1))]
    pub max_position_embeddings: u64,
    /// The standard deviation of new weights.
    #[serde(default = "default_initializer_range")]
    pub initializer_range: f64,
}

fn default_rope_theta() -> f64 {
    10_000.0
}

fn default_rms_norm_eps() -> f64 {
    1e-5
}

fn default_positions() -> u64 {
    2048
}

fn default_initializer_range() -> f64 {
    0.02
}

impl RandomModel {
    /// Mistakes that no type can express; paths begin at the family's name.
    pub fn faults(&self) -> Vec<Fault> {
        let Self::Llama(shape) = self;
        let mut faults = Vec::new();
        for (key, value) in [
            ("hidden_size", shape.hidden_size),
            ("intermediate_size", shape.intermediate_size),
            ("num_hidden_layers", shape.num_hidden_layers),
            ("num_attention_heads", shape.num_attention_heads),
            ("num_key_value_heads", shape.num_key_value_heads.unwrap_or(1)),
            ("head_dim", shape.head_dim.unwrap_or(2)),
            ("max_position_embeddings", shape.max_position_embeddings),
        ] {
            if value == 0 {
                faults.push(Fault::new(format!("llama.{key}"), "zero", "give a number above zero"));
            }
        }
        if !faults.is_empty() {
            return faults;
        }
        let heads = shape.num_attention_heads;
        if shape.head_dim.is_none() && !shape.hidden_size.is_multiple_of(heads) {
            faults.push(Fault::new(
                "llama.num_attention_heads",
                format!("{heads} heads do not divide a width of {}", shape.hidden_size),
                "choose a divisor of `hidden_size`, or set `head_dim`",
            ));
            return faults;
        }
        if let Some(groups) = shape.num_key_value_heads
            && !heads.is_multiple_of(groups)
        {
            faults.push(Fault::new(
                "llama.num_key_value_heads",
                format!("{groups} heads of keys and values do not divide {heads} attention heads"),
                "choose a divisor of `num_attention_heads`",
            ));
        }
        let head_dim = shape.head_dim.unwrap_or(shape.hidden_size / heads);
        if !head_dim.is_multiple_of(2) {
            faults.push(Fault::new(
                if shape.head_dim.is_some() { "llama.head_dim" } else { "llama.hidden_size" },
                format!("a head's width of {head_dim} is odd"),
                "rotary positions turn pairs: make a head's width even",
            ));
        }
        faults
    }
}

impl Serialize for ModelSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Stage(reference) => reference.serialize(serializer),
            Self::Random(shape) => NewModel::Random(shape.clone()).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ModelSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        stage_or::deserialize(deserializer, "a stage that left a model, or `{random: {…}}`").map(|found| match found {
            StageOr::Stage(reference) => Self::Stage(reference),
            StageOr::Other(NewModel::Random(shape)) => Self::Random(shape),
        })
    }
}

impl JsonSchema for ModelSource {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ModelSource".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let stage = generator.subschema_for::<Reference>();
        let new = generator.subschema_for::<NewModel>();
        schemars::json_schema!({
            "description": "A stage that left a model or an adapter, or `{random: {…}}`: a shape with random weights.",
            "anyOf": [stage, new],
        })
    }
}
