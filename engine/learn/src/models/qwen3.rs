//! The Qwen 3 family: a Llama with norms of each head's queries and keys. Yang et al., Qwen3 Technical Report (arXiv
//! 2505.09388), section 2. Knows nothing of methods.

use serde::Deserialize;
use serde_json::{Value, json};

use super::decoder::attention::{Biases, Projections, SelfAttention};
use super::decoder::config::{Shape, read};
use super::decoder::{like_llama, rms_norm};
use super::{Builder, CausalLm, qwen};
use crate::error::Result;
use crate::weights::Init;

const FAMILY: &str = "Qwen 3";

/// What a Qwen 3's `config.json` says besides its shape and its windows.
#[derive(Debug, Deserialize)]
struct Config {
    #[serde(default)]
    attention_bias: bool,
}

/// Makes a Qwen 3 as `config` (a `config.json`) describes it.
pub fn build(config: &Value, builder: &mut Builder) -> Result<Box<dyn CausalLm>> {
    let mut defaults = qwen::defaults();
    defaults["head_dim"] = json!(128);
    let shape: Shape = read(config, &defaults, FAMILY)?;
    let keys: Config = read(config, &defaults, FAMILY)?;
    shape.check()?;
    let (spans, of_layers) = qwen::spans(config, &shape, FAMILY, builder.device())?;
    let (heads, init) = (shape.heads(), Init::Normal(shape.initializer_range));
    let biases = Biases::all(keys.attention_bias);
    let decoder = like_llama(&shape, spans, false, builder, |index, name, builder| {
        let maps = Projections::new(name, shape.hidden_size, heads, biases, init, builder)?;
        let norm = |part: &str, builder: &mut Builder| {
            rms_norm(&format!("{name}.{part}"), heads.width, shape.rms_norm_eps, builder)
        };
        let norms = Some([norm("q_norm", builder)?, norm("k_norm", builder)?]);
        let span = of_layers.get(index).copied().unwrap_or(0);
        Ok((span, SelfAttention { maps, heads, norms, scale: None, dropout: shape.dropout() }))
    })?;
    Ok(Box::new(decoder))
}
