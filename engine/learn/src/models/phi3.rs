//! The Phi-3 family: a Llama whose queries, keys and values are rows of one weight, as are the gate and what it gates; a
//! sliding window where the checkpoint has one. Abdin et al., Phi-3 Technical Report (arXiv 2404.14219), section 2. Knows
//! nothing of methods.

use serde::Deserialize;
use serde_json::{Value, json};

use super::decoder::attention::{Biases, Projections, SelfAttention};
use super::decoder::config::{RotaryKeys, Shape, check_activation, check_size, read, wrong};
use super::decoder::mlp::GatedMlp;
use super::decoder::{Span, like_llama_but};
use super::{Builder, CausalLm};
use crate::error::Result;
use crate::layers::{Activation, Rope};
use crate::weights::Init;

const FAMILY: &str = "Phi-3";

/// What a Phi-3's `config.json` says besides its shape.
#[derive(Debug, Deserialize)]
struct Config {
    sliding_window: Option<i64>,
    hidden_act: String,
    /// Dropout on what each sublayer adds.
    #[serde(default)]
    resid_pdrop: f64,
}

/// Makes a Phi-3 as `config` (a `config.json`) describes it.
pub fn build(config: &Value, builder: &mut Builder) -> Result<Box<dyn CausalLm>> {
    let defaults = json!({
        "rms_norm_eps": 1e-5, "initializer_range": 0.02, "max_position_embeddings": 4096, "hidden_act": "silu",
        "pad_token_id": 32000,
    });
    let shape: Shape = read(config, &defaults, FAMILY)?;
    let keys: Config = read(config, &defaults, FAMILY)?;
    let rotary: RotaryKeys = read(config, &defaults, FAMILY)?;
    shape.check()?;
    check_activation("hidden_act", &keys.hidden_act, "silu", FAMILY)?;
    keys.sliding_window.map_or(Ok(()), |window| check_size("sliding_window", window))?;
    if keys.resid_pdrop != 0.0 {
        let problem = format!("is {}: dropout between layers is not known here", keys.resid_pdrop);
        return Err(wrong("resid_pdrop", problem, "set it to 0, as the published models have it"));
    }
    let heads = shape.heads();
    let (theta, turned) = rotary.read_partial(heads.width)?;
    let span = Span { rope: Rope::new(turned, theta, None, builder.device())?, window: keys.sliding_window };
    let init = Init::Normal(shape.initializer_range);
    let attention = |_, name: &str, builder: &mut Builder| {
        let maps = Projections::fused(name, shape.hidden_size, heads, Biases::all(false), init, builder)?;
        Ok((0, SelfAttention { maps, heads, norms: None, scale: None, dropout: shape.dropout() }))
    };
    let mlp = |name: &str, builder: &mut Builder| {
        let sizes = [shape.hidden_size, shape.intermediate_size];
        GatedMlp::fused(name, sizes, false, Activation::Silu, init, builder)
    };
    Ok(Box::new(like_llama_but(&shape, vec![span], builder, attention, mlp)?))
}
