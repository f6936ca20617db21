//! What the Qwen families 2 and 3 have in common: which layers see a sliding window. Knows no tensors.

use serde::Deserialize;
use serde_json::{Value, json};
use tch::Device;

use super::decoder::Span;
use super::decoder::config::{LayerType, RotaryKeys, Shape, check_activation, check_size, layer_types, read, wrong};
use crate::error::Result;
use crate::layers::Rope;

/// What a Qwen's `config.json` says of windows.
#[derive(Debug, Deserialize)]
struct Config {
    use_sliding_window: bool,
    sliding_window: Option<i64>,
    max_window_layers: usize,
    layer_types: Option<Vec<LayerType>>,
    hidden_act: String,
}

/// The keys that both families take when `config.json` has none.
pub fn defaults() -> Value {
    json!({
        "rms_norm_eps": 1e-6, "initializer_range": 0.02, "max_position_embeddings": 32768, "hidden_act": "silu",
        "use_sliding_window": false, "sliding_window": 4096, "max_window_layers": 28,
    })
}

/// The spans of a Qwen's layers, and for each layer which of them it sees.
pub fn spans(config: &Value, shape: &Shape, family: &str, device: Device) -> Result<(Vec<Span>, Vec<usize>)> {
    let keys: Config = read(config, &defaults(), family)?;
    let rotary: RotaryKeys = read(config, &defaults(), family)?;
    check_activation("hidden_act", &keys.hidden_act, "silu", family)?;
    let window = keys.sliding_window.filter(|_| keys.use_sliding_window);
    let types = layer_types(keys.layer_types, shape.num_hidden_layers, |index| {
        if window.is_some() && index >= keys.max_window_layers {
            LayerType::SlidingAttention
        } else {
            LayerType::FullAttention
        }
    })?;
    let (theta, scaling) = rotary.read(shape.max_position_embeddings)?;
    let mut spans = vec![Span { rope: Rope::new(shape.head_dim(), theta, scaling, device)?, window: None }];
    if types.contains(&LayerType::SlidingAttention) {
        let Some(window) = window else {
            let problem = "lists sliding layers, and there is no window";
            return Err(wrong("layer_types", problem, "set use_sliding_window and sliding_window"));
        };
        check_size("sliding_window", window)?;
        spans.push(Span { rope: Rope::new(shape.head_dim(), theta, scaling, device)?, window: Some(window) });
    }
    Ok((spans, types.into_iter().map(|kind| usize::from(kind == LayerType::SlidingAttention)).collect()))
}
