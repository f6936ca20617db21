//! `f1`: precision and recall of classes in one number.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The harmonic mean of precision and recall, of one class or of all, in percent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct F1 {
    /// The classes that count.
    #[serde(default)]
    pub of: F1Of,
}

crate::one_of! {
    /// The classes that count.
    pub enum F1Of {
        /// This one, by its name.
        class => Class(String),
        /// All alike: the mean of their F1, of classes without rows too.
        macro_mean => MacroMean(crate::stage::Empty),
        /// The same mean, each class as heavy as it has rows.
        weighted_mean => WeightedMean(crate::stage::Empty),
        /// The second of two, as GLUE has it.
        second => Second(crate::stage::Empty),
    }
}

impl Default for F1Of {
    fn default() -> Self {
        Self::Second(crate::stage::Empty {})
    }
}
