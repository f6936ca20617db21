//! `full`: every weight trains.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Every weight trains; the whole model is saved.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Full {}
