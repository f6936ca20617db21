//! What the protocol `span` may say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::Fault;

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
    /// The empty answer is taken where its score is above that of the best other one by more than this; below zero, more
    /// often. `squad_v2` prints the best threshold of the split that it scores.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub null_threshold: f64,
    /// Which of a long text's windows may start an answer at a token that several of them have.
    #[serde(default, skip_serializing_if = "Starts::in_any_window")]
    pub starts: Starts,
}

/// Which of a long text's windows may start an answer at a token that several of them have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Starts {
    /// Each of them.
    #[default]
    AnyWindow,
    /// The one in which the token has the most context on both sides, as BERT's own script has it.
    MostContext,
}

impl Starts {
    fn in_any_window(&self) -> bool {
        *self == Self::AnyWindow
    }
}

fn is_zero(threshold: &f64) -> bool {
    *threshold == 0.0
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

impl Span {
    /// Mistakes that no type can express; paths begin at the protocol's name.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.candidates == 0 {
            faults.push(Fault::new("span.candidates", "no start and no end would be looked at", "20 are usual"));
        }
        if self.max_answer_tokens == 0 {
            faults.push(Fault::new("span.max_answer_tokens", "no answer would fit", "30 are usual"));
        }
        if self.no_answer == NoAnswer::Never && self.null_threshold != 0.0 {
            let hint = "leave it out, or leave out `no_answer: never`";
            faults.push(Fault::new("span.null_threshold", "no question is without an answer here", hint));
        }
        if !self.null_threshold.is_finite() {
            let problem = format!("{} is no difference of scores", self.null_threshold);
            faults.push(Fault::new("span.null_threshold", problem, "give a number, such as 1.5"));
        }
        faults
    }
}

impl Default for Span {
    fn default() -> Self {
        Self {
            candidates: default_candidates(),
            max_answer_tokens: default_answer_tokens(),
            no_answer: NoAnswer::default(),
            null_threshold: 0.0,
            starts: Starts::default(),
        }
    }
}
