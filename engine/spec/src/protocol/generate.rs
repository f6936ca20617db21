//! What the protocol `generate` may say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::Empty;

/// Continues the prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Generate {
    /// Which part of the text is the answer that metrics compare; without it, all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extract: Option<crate::extract::Extract>,
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
