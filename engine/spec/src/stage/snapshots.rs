//! What a `train` stage may say of its snapshots: how often. Knows no tensor and no file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Every, Fault};

/// What trains, kept as it was at some steps, to be looked at by an `inspect` stage or by other programs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Snapshots {
    /// How often; always before the first step and after the last, too.
    pub every: Every,
}

impl Snapshots {
    /// Mistakes that no type can express.
    pub(super) fn faults(&self) -> Vec<Fault> {
        self.every.faults("every")
    }
}
