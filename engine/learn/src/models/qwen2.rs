//! The Qwen 2 and 2.5 families: a Llama whose queries, keys and values have biases, and whose upper layers may see a
//! sliding window. Yang et al., Qwen2 Technical Report (arXiv 2407.10671), section 2.2. Knows nothing of methods.

use serde_json::Value;

use super::decoder::attention::{Biases, Projections, SelfAttention};
use super::decoder::config::{Shape, read};
use super::decoder::like_llama;
use super::{Builder, CausalLm, qwen};
use crate::error::Result;
use crate::weights::Init;

const FAMILY: &str = "Qwen 2";

/// Makes a Qwen 2 as `config` (a `config.json`) describes it.
pub fn build(config: &Value, builder: &mut Builder) -> Result<Box<dyn CausalLm>> {
    let shape: Shape = read(config, &qwen::defaults(), FAMILY)?;
    shape.check()?;
    let (spans, of_layers) = qwen::spans(config, &shape, FAMILY, builder.device())?;
    let (heads, init) = (shape.heads(), Init::Normal(shape.initializer_range));
    let biases = Biases { inputs: true, output: false };
    let decoder = like_llama(&shape, spans, false, builder, |index, name, builder| {
        let maps = Projections::new(name, shape.hidden_size, heads, biases, init, builder)?;
        let span = of_layers.get(index).copied().unwrap_or(0);
        Ok((span, SelfAttention { maps, heads, norms: None, scale: None, dropout: shape.dropout() }))
    })?;
    Ok(Box::new(decoder))
}
