//! What the protocol `span` may say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Finds the answer in the pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// How many of the best starts and ends are put together.
    #[serde(default = "default_candidates")]
    #[schemars(range(min = 1))]
    pub candidates: u64,
    /// The most tokens of an answer.
    #[serde(default = "default_answer_tokens")]
    #[schemars(range(min = 1))]
    pub max_answer_tokens: u64,
    /// Whether the empty answer is a candidate: SQuAD 2.0 has questions without an answer.
    #[serde(default)]
    pub no_answer: NoAnswer,
}

/// Whether the empty answer is a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoAnswer {
    /// It is taken where the first token is a likelier start and end than the best answer.
    #[default]
    Candidate,
    /// Every question has an answer.
    Never,
}

fn default_candidates() -> u64 {
    20
}

fn default_answer_tokens() -> u64 {
    30
}

impl Default for Span {
    fn default() -> Self {
        Self {
            candidates: default_candidates(),
            max_answer_tokens: default_answer_tokens(),
            no_answer: NoAnswer::default(),
        }
    }
}
