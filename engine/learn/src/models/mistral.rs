//! The Mistral family: a Llama whose tokens may see a sliding window of the text. Jiang et al., Mistral 7B (arXiv
//! 2310.06825), section 2. Knows nothing of methods.

use serde::Deserialize;
use serde_json::{Value, json};

use super::decoder::attention::{Biases, Projections, SelfAttention};
use super::decoder::config::{RotaryKeys, Shape, check_activation, check_size, read};
use super::decoder::{Span, like_llama};
use super::{Builder, CausalLm};
use crate::error::Result;
use crate::layers::Rope;
use crate::weights::Init;

const FAMILY: &str = "Mistral";

/// What a Mistral's `config.json` says besides its shape.
#[derive(Debug, Deserialize)]
struct Config {
    sliding_window: Option<i64>,
    hidden_act: String,
}

/// Makes a Mistral as `config` (a `config.json`) describes it.
pub fn build(config: &Value, builder: &mut Builder) -> Result<Box<dyn CausalLm>> {
    let defaults = json!({
        "num_key_value_heads": 8, "rms_norm_eps": 1e-6, "initializer_range": 0.02, "max_position_embeddings": 131072,
        "hidden_act": "silu", "sliding_window": 4096,
    });
    let shape: Shape = read(config, &defaults, FAMILY)?;
    let keys: Config = read(config, &defaults, FAMILY)?;
    let rotary: RotaryKeys = read(config, &defaults, FAMILY)?;
    shape.check()?;
    check_activation("hidden_act", &keys.hidden_act, "silu", FAMILY)?;
    keys.sliding_window.map_or(Ok(()), |window| check_size("sliding_window", window))?;
    let (theta, scaling) = rotary.read(shape.max_position_embeddings)?;
    let heads = shape.heads();
    let rope = Rope::new(heads.width, theta, scaling, builder.device())?;
    let span = Span { rope, window: keys.sliding_window };
    let init = Init::Normal(shape.initializer_range);
    let decoder = like_llama(&shape, vec![span], false, builder, |_, name, builder| {
        let maps = Projections::new(name, shape.hidden_size, heads, Biases::all(false), init, builder)?;
        Ok((0, SelfAttention { maps, heads, norms: None, scale: None, dropout: shape.dropout() }))
    })?;
    Ok(Box::new(decoder))
}
