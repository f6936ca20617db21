//! `squad_v1`: exact match and F1 as the official SQuAD 1.1 script counts them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Exact match and F1 of questions that all have an answer, in percent. T5's `squad` counts the same.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SquadV1 {}
