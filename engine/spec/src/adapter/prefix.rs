//! `prefix`: prefix tuning (Li and Liang 2021, arXiv 2101.00190).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Size;
use crate::stage::Fault;

/// Keys and values that train stand before those of the text in the attention of each layer; the model stays as it is. An
/// encoder–decoder has them before its answers. They take positions, and do not count in `max_length`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prefix {
    /// How many keys and values each layer gets; or `{parameters_like: {…}}`, as large as another method.
    #[serde(default = "default_tokens")]
    pub tokens: Size,
    /// Whether they are computed from smaller vectors by two maps with a tanh between, while they train: steadier, with many
    /// more parameters. What is saved is the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection: Option<Projection>,
}

/// The maps that the keys and values of a prefix come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Projection {
    /// The inner width, PEFT's `encoder_hidden_size`.
    #[schemars(range(min = 1))]
    pub width: u64,
}

fn default_tokens() -> Size {
    Size::Number(20)
}

impl Prefix {
    /// Mistakes that no type can express; paths begin at the method's name.
    pub fn faults(&self) -> Vec<Fault> {
        let hint = "give a number from 1 on; 20 is usual";
        let mut faults = self.tokens.faults("prefix.tokens", "a prefix of no token trains nothing", hint);
        if self.projection.as_ref().is_some_and(|projection| projection.width == 0) {
            faults.push(Fault::new(
                "prefix.projection.width",
                "maps of no width give nothing",
                "give a number from 1 on, such as 512, or leave `projection` out",
            ));
        }
        faults
    }
}
