//! `normalized_accuracy`: the part of rows whose right choice is the likeliest for its length.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The part of rows whose right choice has the highest log-likelihood divided by its length, in percent: what
/// lm-evaluation-harness calls `acc_norm`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NormalizedAccuracy {
    /// What a choice's length is counted in.
    #[serde(default)]
    pub by: Measure,
}

/// What lengths are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Characters of the choice, as `acc_norm`.
    #[default]
    Characters,
    /// Its bytes in UTF-8, as `acc_bytes`.
    Bytes,
    /// Its tokens, with those of what stands between it and the prompt.
    Tokens,
}
