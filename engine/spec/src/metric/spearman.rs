//! `spearman`: the correlation of ranks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Spearman's correlation of predicted and right numbers: Pearson's of their ranks, equal numbers sharing one.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spearman {}
