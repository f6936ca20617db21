//! `accuracy`: the part of rows whose class is right.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The part of rows whose class is right, in percent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Accuracy {}
