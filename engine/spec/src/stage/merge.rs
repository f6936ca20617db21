//! What a `merge` stage may say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fault, Input, Kind, Program};
use crate::reference::Reference;

/// Merges an adapter into the model it was trained on.
///
/// Leaves a plain model in Hugging Face's layout, in the kind of numbers of the model's files, with its tokenizer. It is
/// computed in float32; how far its logits are from the adapter's is measured, and refused where it is too far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Merge {
    /// A stage that left an adapter; the model that it belongs to comes with it.
    pub model: Reference,
    /// The most that a logit may be off, relative to the largest. Without it 0.001, for float16 0.01 and for bfloat16 0.05,
    /// whose rounding shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub max_error: Option<f64>,
}

impl Kind for Merge {
    const VERSION: u32 = 2;
    const PROGRAM: Program = Program::Worker;

    fn inputs(&self) -> Vec<Input<'_>> {
        vec![Input::follow("model", &self.model).of_kind(&["train"]).merged()]
    }

    fn faults(&self) -> Vec<Fault> {
        match self.max_error {
            Some(bound) if !(bound > 0.0 && bound.is_finite()) => {
                vec![Fault::new("max_error", "the bound must be above zero", "leave `max_error` out for the usual one")]
            }
            _ => Vec::new(),
        }
    }
}
