//! `pearson`: the linear correlation of numbers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Pearson's correlation of predicted and right numbers, from −1 to 1.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pearson {}
