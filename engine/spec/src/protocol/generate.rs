//! What the protocol `generate` may say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::Empty;

/// Continues the prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Generate {
    /// How the next token is chosen.
    #[serde(default)]
    pub decode: Decode,
    /// The most tokens that are added; an EOS ends earlier.
    #[schemars(range(min = 1))]
    pub max_new_tokens: u64,
}

crate::one_of! {
    /// How the next token is chosen.
    pub enum Decode {
        /// The likeliest.
        greedy => Greedy(Empty),
    }
}

impl Default for Decode {
    fn default() -> Self {
        Self::Greedy(Empty {})
    }
}
