//! What the protocol `perplexity` may say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Scores each row's own tokens.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Perplexity {
    /// The tokens that count; of an encoder–decoder, which writes no prompt, always the completion's.
    #[serde(default)]
    pub loss_on: crate::stage::LossOn,
}
