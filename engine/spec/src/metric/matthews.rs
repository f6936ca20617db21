//! `matthews`: the correlation of predicted and right classes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Matthews' correlation coefficient of all classes, from −1 to 1; 0 where one side is constant.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Matthews {}
