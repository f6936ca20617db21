//! `dora`: weight-decomposed low-rank adaptation (Liu et al. 2024, arXiv 2402.09353).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Targets;

/// Each target's weight is a magnitude times a direction: LoRA moves the direction, the magnitude trains beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dora {
    /// Rows of A and columns of B.
    #[schemars(range(min = 1))]
    pub rank: u64,
    /// The update of the direction is scaled by `alpha / rank`.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub alpha: f64,
    /// The probability with which an input of A is dropped while training.
    #[serde(default)]
    #[schemars(extend("minimum" = 0, "exclusiveMaximum" = 1))]
    pub dropout: f64,
    /// The linear maps that are adapted: a list of roles, `{suffix: [q_proj]}` by the end of the module's name,
    /// `{regex: …}` over whole module names, or `all-linear`, every one but the output head.
    pub targets: Targets,
}
