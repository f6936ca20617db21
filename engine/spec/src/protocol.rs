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
        /// The likeliest class is compared with the row's.
        classify => Classify(Empty),
        /// The number is compared with the row's.
        regress => Regress(Empty),
        /// The likeliest answer in the pair is scored as a text.
        span => Span(Span),
    }
}

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
    /// The tokens that count; of an encoder–decoder, which writes no prompt, always the completion's.
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
            Self::Span(Span { candidates: 0, .. }) => {
                vec![Fault::new("span.candidates", "no start and no end would be looked at", "20 are usual")]
            }
            Self::Span(Span { max_answer_tokens: 0, .. }) => {
                vec![Fault::new("span.max_answer_tokens", "no answer would fit", "30 are usual")]
            }
            _ => Vec::new(),
        }
    }
}
