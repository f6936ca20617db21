//! What `optimizer` may say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::Fault;

crate::one_of! {
    /// The optimiser.
    pub enum Optimizer {
        /// Adam with decoupled weight decay.
        adamw => AdamW(AdamW),
    }
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::AdamW(AdamW::default())
    }
}

/// Adam with decoupled weight decay (Loshchilov and Hutter 2017, arXiv 1711.05101).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdamW {
    /// The highest learning rate; the schedule scales it.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub learning_rate: f64,
    /// The part of a weight that each step takes away, times the learning rate.
    #[schemars(range(min = 0))]
    pub weight_decay: f64,
    /// Decay of the mean of gradients.
    #[schemars(extend("minimum" = 0, "exclusiveMaximum" = 1))]
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    #[schemars(extend("minimum" = 0, "exclusiveMaximum" = 1))]
    pub beta2: f64,
    /// Added to the root in the denominator.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub epsilon: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self { learning_rate: 2e-4, weight_decay: 0.0, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

impl Optimizer {
    /// Mistakes that no type can express; paths begin at the optimiser's name.
    pub fn faults(&self) -> Vec<Fault> {
        let Self::AdamW(adamw) = self;
        let mut faults = Vec::new();
        let mut check = |key: &str, value: f64, holds: bool, hint: &str| {
            if !holds {
                faults.push(Fault::new(format!("adamw.{key}"), format!("{value} is out of range"), hint));
            }
        };
        let AdamW { learning_rate, weight_decay, beta1, beta2, epsilon } = *adamw;
        check(
            "learning_rate",
            learning_rate,
            learning_rate > 0.0 && learning_rate.is_finite(),
            "give a rate above zero, such as 2e-4",
        );
        check(
            "weight_decay",
            weight_decay,
            weight_decay >= 0.0 && weight_decay.is_finite(),
            "give a number from zero on",
        );
        check("beta1", beta1, (0.0..1.0).contains(&beta1), "give a number from 0 up to, not including, 1");
        check("beta2", beta2, (0.0..1.0).contains(&beta2), "give a number from 0 up to, not including, 1");
        check("epsilon", epsilon, epsilon > 0.0 && epsilon.is_finite(), "give a number above zero, such as 1e-8");
        faults
    }
}
