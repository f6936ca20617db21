//! `token_accuracy`: how often the right token is the likeliest.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The part of the tokens that count whose right one the model holds the likeliest, of all rows together, in percent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenAccuracy {}
