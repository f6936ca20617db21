//! What `extract` may say: which part of a generated text is the answer. Knows no text.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::Fault;

/// Takes the answer out of what was generated. Where it finds nothing, the row's answer is wrong.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("minProperties" = 1))]
pub struct Extract {
    /// The answer stands behind the last of this; a text without it is taken whole. White space at both ends is cut off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub after: Option<String>,
    /// The answer is the one of these that begins first in the text, as it is written, also within a word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(min = 1)))]
    pub first_of: Vec<String>,
}

impl Extract {
    /// Mistakes that no type can express; paths begin at this map.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.after.is_none() && self.first_of.is_empty() {
            let hint = "say where the answer stands: `{after: \"Answer:\"}`, or what it is: `{first_of: [yes, no]}`";
            faults.push(Fault::new("", "nothing would be taken out", hint));
        }
        if self.after.as_deref() == Some("") {
            faults.push(Fault::new("after", "an empty text stands everywhere", "leave it out"));
        }
        if let Some(index) = self.first_of.iter().position(String::is_empty) {
            faults.push(Fault::new(format!("first_of.{index}"), "an empty text stands everywhere", "leave it out"));
        }
        faults
    }
}
