//! What a `merge` stage may say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Input, Kind, Program};
use crate::reference::Reference;

/// Merges an adapter into the model it was trained on.
///
/// Leaves a plain model in Hugging Face's layout, with its tokenizer; how far its logits are from the adapter's is
/// measured and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Merge {
    /// A stage that left an adapter; the model that it belongs to comes with it.
    pub model: Reference,
}

impl Kind for Merge {
    const VERSION: u32 = 1;
    const PROGRAM: Program = Program::Worker;

    fn inputs(&self) -> Vec<Input<'_>> {
        vec![Input::follow("model", &self.model).of_kind(&["train"])]
    }
}
