//! What `schedule` may say: the learning rate over the steps.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::{Duration, Fault};

crate::one_of! {
    /// The learning rate over the steps, after a linear warm-up.
    pub enum Schedule {
        /// Falls in a straight line to zero.
        linear => Linear(Warmup),
        /// Falls as half a cosine to zero.
        cosine => Cosine(Warmup),
        /// Stays the same.
        constant => Constant(Warmup),
    }
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Linear(Warmup::default())
    }
}

/// A linear rise from zero before the schedule proper.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Warmup {
    /// How long the rate rises. Without it, not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup: Option<Duration>,
}

impl Schedule {
    /// The warm-up, whatever follows it.
    pub fn warmup(&self) -> Option<&Duration> {
        match self {
            Self::Linear(shape) | Self::Cosine(shape) | Self::Constant(shape) => shape.warmup.as_ref(),
        }
    }

    /// Mistakes that no type can express; paths begin at the schedule's name.
    pub fn faults(&self) -> Vec<Fault> {
        match self.warmup() {
            Some(Duration::Ratio(ratio)) if !(0.0..=1.0).contains(ratio) => vec![Fault::new(
                format!("{}.warmup.ratio", self.name()),
                format!("{ratio} is no part of all steps"),
                "give a number from 0 to 1, or `{steps: …}`",
            )],
            _ => Vec::new(),
        }
    }
}
