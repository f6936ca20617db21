//! `hf_bleu`: BLEU as Hugging Face's `evaluate` counts it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// BLEU as Hugging Face's `bleu` counts it, from 0 to 1: 13a words, the shortest reference, no smoothing. Its numbers are
/// others than those of `bleu`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HfBleu {
    /// The longest n-grams.
    #[serde(default = "default_order")]
    #[schemars(range(min = 1, max = 16))]
    pub max_order: u32,
    /// What is added to matches and totals.
    #[serde(default)]
    pub smoothing: HfSmoothing,
}

/// What is added to matches and totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HfSmoothing {
    /// Nothing: one order without a match makes the whole zero.
    #[default]
    None,
    /// One, to both of every order: `smooth=True`.
    AddOne,
}

fn default_order() -> u32 {
    4
}

impl Default for HfBleu {
    fn default() -> Self {
        Self { max_order: default_order(), smoothing: HfSmoothing::default() }
    }
}
