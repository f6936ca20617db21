//! What `protocol` may say: how a model is asked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{Empty, Fault};

crate::one_of! {
    /// How a model is asked.
    pub enum Protocol {
        /// The prompt is continued, and the text is scored.
        generate => Generate(Generate),
        /// The completion's own probability is scored.
        perplexity => Perplexity(Perplexity),
    }
}

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

/// Scores each row's own tokens.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Perplexity {
    /// The tokens that count.
    #[serde(default)]
    pub loss_on: crate::stage::LossOn,
}

impl Protocol {
    /// Mistakes that no type can express; paths begin at the protocol's name.
    pub fn faults(&self) -> Vec<Fault> {
        match self {
            Self::Generate(Generate { max_new_tokens: 0, .. }) => {
                vec![Fault::new("generate.max_new_tokens", "no token would be generated", "give a number above zero")]
            }
            _ => Vec::new(),
        }
    }
}
