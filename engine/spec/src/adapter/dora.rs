//! `dora`: weight-decomposed low-rank adaptation (Liu et al. 2024, arXiv 2402.09353).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::low_rank::{Bias, LowRank, PlainInit, Scale, low_rank};
use super::{Size, Targets};
use crate::stage::Fault;

low_rank! {
    /// Each target's weight is a magnitude times a direction: LoRA moves the direction, the magnitude trains beside it.
    Dora as "dora" {
        /// What A and B begin with.
        #[serde(default, skip_serializing_if = "PlainInit::is_kaiming")]
        pub init: PlainInit,
        /// Whether A trains, or keeps its random values while B and the magnitude train.
        #[serde(default, skip_serializing_if = "TheA::trains")]
        pub a: TheA,
        /// Which biases of the model train, too.
        #[serde(default, skip_serializing_if = "Bias::is_none")]
        pub bias: Bias,
    }
}

/// What becomes of A.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TheA {
    /// It trains.
    #[default]
    Trains,
    /// It keeps its first values, as in LoRA-FA: less memory for activations, and norms that cost less.
    Frozen,
}

impl TheA {
    /// Whether it trains: the default, which is not written.
    pub fn trains(&self) -> bool {
        *self == Self::Trains
    }
}

impl Dora {
    /// Mistakes that no type can express; paths begin at the method's name.
    pub fn faults(&self) -> Vec<Fault> {
        let low_rank = self.low_rank(self.init == PlainInit::Orthogonal);
        low_rank.faults()
    }
}
