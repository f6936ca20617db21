//! The Llama family, 1 to 3: grouped-query attention, rotary embedding with llama3 or linear scaling, gated MLP, tied or
//! untied head. Touvron et al. (arXiv 2302.13971), The Llama 3 Herd of Models (arXiv 2407.21783). Layers are named as in
//! the checkpoints. Knows nothing of methods: its linear maps are what the builder returns.

use serde::Deserialize;
use serde_json::{Value, json};

use super::decoder::attention::{Biases, Projections, SelfAttention};
use super::decoder::config::{RotaryKeys, Shape, check_activation, read};
use super::decoder::{Span, like_llama};
use super::{Builder, CausalLm};
use crate::error::Result;
use crate::layers::Rope;
use crate::weights::Init;

const FAMILY: &str = "Llama";

/// What a Llama's `config.json` says besides its shape. Keys that do not change the network are not read.
#[derive(Debug, Deserialize)]
struct Config {
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    hidden_act: String,
}

/// Makes a Llama as `config` (a `config.json`) describes it.
pub fn build(config: &Value, builder: &mut Builder) -> Result<Box<dyn CausalLm>> {
    let defaults = json!({
        "rms_norm_eps": 1e-6, "initializer_range": 0.02, "max_position_embeddings": 2048, "hidden_act": "silu",
    });
    let shape: Shape = read(config, &defaults, FAMILY)?;
    let keys: Config = read(config, &defaults, FAMILY)?;
    let rotary: RotaryKeys = read(config, &defaults, FAMILY)?;
    shape.check()?;
    check_activation("hidden_act", &keys.hidden_act, "silu", FAMILY)?;
    let (theta, scaling) = rotary.read(shape.max_position_embeddings)?;
    let heads = shape.heads();
    let span = Span { rope: Rope::new(heads.width, theta, scaling, builder.device())?, window: None };
    let (biases, init) = (Biases::all(keys.attention_bias), Init::Normal(shape.initializer_range));
    let decoder = like_llama(&shape, vec![span], keys.mlp_bias, builder, |_, name, builder| {
        let maps = Projections::new(name, shape.hidden_size, heads, biases, init, builder)?;
        Ok((0, SelfAttention { maps, heads, norms: None, scale: None, dropout: shape.dropout() }))
    })?;
    Ok(Box::new(decoder))
}
