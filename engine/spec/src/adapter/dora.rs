//! `dora`: weight-decomposed low-rank adaptation (Liu et al. 2024, arXiv 2402.09353).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::low_rank::{Bias, LowRank, PlainInit, Scale};
use super::{Size, Targets};
use crate::stage::Fault;

/// Each target's weight is a magnitude times a direction: LoRA moves the direction, the magnitude trains beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dora {
    /// Rows of A and columns of B; or `{parameters_like: {…}}`, as large as another method.
    pub rank: Size,
    /// The update of the direction is scaled by `alpha / rank`.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub alpha: f64,
    /// What alpha is divided by.
    #[serde(default, skip_serializing_if = "Scale::is_standard")]
    pub scale: Scale,
    /// The probability with which an input of A is dropped while training.
    #[serde(default)]
    #[schemars(extend("minimum" = 0, "exclusiveMaximum" = 1))]
    pub dropout: f64,
    /// The linear maps that are adapted: a list of roles, `{suffix: [q_proj]}` by the end of the module's name,
    /// `{regex: …}` over whole module names, or `all-linear`, every one but the output head.
    pub targets: Targets,
    /// Those of the targets that are left as they are; written as `targets`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Targets>,
    /// The layers whose maps are adapted, by number from 0 on; of an encoder–decoder, of both. Without it, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub layers: Option<Vec<u64>>,
    /// Ranks of single maps, by the end of the module's name or a pattern for it. No map may have two.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("additionalProperties" = {"type": "integer", "minimum": 1}))]
    pub rank_pattern: BTreeMap<String, u64>,
    /// Alphas of single maps, likewise.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("additionalProperties" = {"type": "number", "exclusiveMinimum": 0}))]
    pub alpha_pattern: BTreeMap<String, f64>,
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
        let low_rank = LowRank {
            method: "dora",
            rank: &self.rank,
            alpha: self.alpha,
            dropout: self.dropout,
            targets: &self.targets,
            exclude: self.exclude.as_ref(),
            layers: self.layers.as_deref(),
            ranks: &self.rank_pattern,
            alphas: &self.alpha_pattern,
            halves: self.init == PlainInit::Orthogonal,
        };
        low_rank.faults()
    }
}
