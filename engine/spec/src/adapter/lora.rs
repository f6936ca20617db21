//! `lora`: low-rank adaptation (Hu et al. 2021, arXiv 2106.09685).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::low_rank::{Bias, Factor, Init, LowRank, Penalty, Scale, penalty_on_zero};
use super::{Size, Targets};
use crate::stage::Fault;

/// Adds `alpha / rank · B A` to each target; A and B train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lora {
    /// Rows of A and columns of B; or `{parameters_like: {…}}`, as large as another method.
    pub rank: Size,
    /// The update is scaled by `alpha / rank`.
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
    #[serde(default, skip_serializing_if = "Init::is_kaiming")]
    pub init: Init,
    /// Which biases of the model train, too.
    #[serde(default, skip_serializing_if = "Bias::is_none")]
    pub bias: Bias,
    /// The learning rate of B as a multiple of the optimiser's, which A has: LoRA+ (Hayou et al. 2024, arXiv 2402.12354),
    /// where 16 is usual. Without it, 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub learning_rate_ratio: Option<f64>,
    /// What is added to the loss of every step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub penalty: Option<Penalty>,
}

impl Lora {
    /// Mistakes that no type can express; paths begin at the method's name.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = LowRank {
            method: "lora",
            rank: &self.rank,
            alpha: self.alpha,
            dropout: self.dropout,
            targets: &self.targets,
            exclude: self.exclude.as_ref(),
            layers: self.layers.as_deref(),
            ranks: &self.rank_pattern,
            alphas: &self.alpha_pattern,
            halves: self.init == Init::Orthogonal,
        }
        .faults();
        if self.learning_rate_ratio.is_some_and(|ratio| !(ratio > 0.0 && ratio.is_finite())) {
            let hint = "give a number above zero, such as 16, or leave it out";
            faults.push(Fault::new("lora.learning_rate_ratio", "the ratio must be above zero", hint));
        }
        if let Some(penalty) = &self.penalty {
            faults.extend(penalty.faults("lora"));
            if penalty.of() == Factor::B && matches!(self.init, Init::Kaiming | Init::Gaussian) {
                let hint = "hold A to it, `of: a`, or begin with `init: pissa`, `olora` or `orthogonal`";
                faults.push(penalty_on_zero("lora", hint));
            }
        }
        faults
    }
}
