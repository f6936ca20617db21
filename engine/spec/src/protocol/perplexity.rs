//! What the protocol `perplexity` may say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::Fault;

/// Scores each row's own tokens.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Perplexity {
    /// The tokens that count; of an encoder–decoder, which writes no prompt, always the completion's.
    #[serde(default)]
    pub loss_on: crate::stage::LossOn,
    /// Rows that are longer than a model can read, or should, are read in windows; every token still counts once. Unset: each
    /// row is read whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// The windows of long rows, as lm-evaluation-harness has them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The most tokens that are read at once.
    #[schemars(range(min = 1))]
    pub length: u64,
    /// How many tokens stand before the first one that a window predicts, but in the first window; half of `length` makes
    /// windows overlap by half.
    #[serde(default = "default_context")]
    #[schemars(range(min = 1))]
    pub context: u64,
}

fn default_context() -> u64 {
    1
}

impl Perplexity {
    /// Mistakes that no type can express; paths begin at the protocol's name.
    pub fn faults(&self) -> Vec<Fault> {
        let Some(window) = &self.window else { return Vec::new() };
        let mut faults = Vec::new();
        if window.length == 0 {
            faults.push(Fault::new("perplexity.window.length", "no token would be read", "give a number above zero"));
        } else if !(1..=window.length).contains(&window.context) {
            let problem =
                format!("a window of {} tokens cannot have {} before the first", window.length, window.context);
            let hint = format!("give a number from 1 to {}", window.length);
            faults.push(Fault::new("perplexity.window.context", problem, hint));
        }
        faults
    }
}
