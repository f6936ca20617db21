//! `vera`: vectors around random matrices that all targets share (Kopiczko et al. 2024, arXiv 2310.11454).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Size, Targets, low_rank::LowRank};
use crate::stage::Fault;

/// Adds `diag(b) B diag(d) A` to each target; A and B are random, frozen and shared by all targets, the vectors b and d
/// train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vera {
    /// Rows of A and columns of B, or `{parameters_like: {…}}`. It costs one number a target, so it is larger than LoRA's:
    /// 256 is usual.
    pub rank: Size,
    /// The first value of d; b begins with zero.
    #[serde(default = "d_initial")]
    #[schemars(extend("not" = {"const": 0}))]
    pub d_initial: f64,
    /// What A and B are drawn from: PEFT's `projection_prng_key`, which gives the same ones. They are saved, too.
    #[serde(default)]
    pub projection_seed: u64,
    /// The probability with which an input of A is dropped while training.
    #[serde(default)]
    #[schemars(extend("minimum" = 0, "exclusiveMaximum" = 1))]
    pub dropout: f64,
    /// The linear maps that are adapted, named as those of `lora`; no slices of fused maps.
    pub targets: Targets,
}

fn d_initial() -> f64 {
    0.1
}

impl Vera {
    pub(super) fn faults(&self) -> Vec<Fault> {
        // Alpha is LoRA's own.
        let none = (BTreeMap::new(), BTreeMap::new());
        let settings = LowRank {
            method: "vera",
            rank: &self.rank,
            alpha: 1.0,
            dropout: self.dropout,
            targets: &self.targets,
            exclude: None,
            layers: None,
            ranks: &none.0,
            alphas: &none.1,
            halves: false,
        };
        let mut faults = settings.faults();
        if !(self.d_initial.is_finite() && self.d_initial != 0.0) {
            faults.push(Fault::new(
                "vera.d_initial",
                format!("{} would leave the vector b without a gradient", self.d_initial),
                "give a number other than zero; 0.1 is usual",
            ));
        }
        faults
    }
}
