//! `lora_fa`: low-rank adaptation with a frozen A (Zhang et al. 2023, arXiv 2308.03303).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::low_rank::{Bias, Factor, LowRank, Penalty, Scale, low_rank, penalty_on_zero};
use super::{Size, Targets};
use crate::stage::{Empty, Fault};

low_rank! {
    /// LoRA whose A keeps its first values: B alone trains, and of an adapted map's input only its product with A is kept for
    /// the backward pass. Saved as a LoRA, with the file `learned.json` that says so.
    LoraFa as "lora_fa" {
        /// What A is, and what B begins with.
        #[serde(default, skip_serializing_if = "LoraFaInit::is_random")]
        pub init: LoraFaInit,
        /// What the optimiser is given as the gradient of B.
        #[serde(default, skip_serializing_if = "Gradient::is_plain")]
        pub gradient: Gradient,
        /// Which biases of the model train, too.
        #[serde(default, skip_serializing_if = "Bias::is_none")]
        pub bias: Bias,
        /// What is added to the loss of every step. A is constant, so only B can be held to something.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub penalty: Option<Penalty>,
    }
}

crate::one_of! {
    /// What A is, and what B begins with.
    pub enum LoraFaInit {
        /// A uniform between ±1/√inputs, B zero.
        random => Random(Empty),
        /// A of the largest singular values of the base's weight and their right vectors.
        svd => Svd(Svd),
        /// A random as with `random`, made as long as that of `svd`: what tells the directions from the length, which
        /// alone acts as a larger learning rate. B zero.
        scaled_random => ScaledRandom(ScaledRandom),
    }
}

impl LoraFaInit {
    /// Whether it is the default, which is not written.
    pub fn is_random(&self) -> bool {
        matches!(self, Self::Random(_))
    }
}

impl Default for LoraFaInit {
    fn default() -> Self {
        Self::Random(Empty {})
    }
}

/// A made of the largest singular values S of the weight and their right vectors V; s is the update's scale.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Svd {
    /// How much of the singular values A has; B has the rest, where the base is the residual.
    #[serde(default)]
    pub singular_values: SingularValues,
    /// What becomes of the base.
    #[serde(default)]
    pub base: Base,
}

/// A random A of the length that the one by singular values would have.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaledRandom {
    /// How much of the singular values that one would have.
    #[serde(default)]
    pub singular_values: SingularValues,
}

/// How much of the singular values A has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SingularValues {
    /// Nothing: A = Vᵀ, of length √rank.
    #[default]
    None,
    /// The root: A = √(S/s) Vᵀ.
    Sqrt,
    /// All: A = S/s Vᵀ.
    All,
}

/// What becomes of the base's weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Base {
    /// It stays, and B begins as zero.
    #[default]
    Untouched,
    /// The largest singular values are taken out of it, and B begins with what makes up for them. Without weight decay and
    /// rounding this learns what `untouched` learns. Saved as a plain LoRA for the untouched base.
    Residual,
}

/// What the optimiser is given as the gradient of B.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Gradient {
    /// The gradient, as in the paper.
    #[default]
    Plain,
    /// The one whose update of the weight is nearest to the whole weight's gradient: `s⁻² · g · (A Aᵀ)⁻¹`, as PEFT's
    /// optimiser for LoRA-FA has it.
    Projected,
}

impl Gradient {
    /// Whether it is the default, which is not written.
    pub fn is_plain(&self) -> bool {
        *self == Self::Plain
    }
}

impl LoraFa {
    /// Mistakes that no type can express; paths begin at the method's name.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = self.low_rank(false).faults();
        if let Some(penalty) = &self.penalty {
            faults.extend(penalty.faults("lora_fa"));
            let residual = matches!(&self.init, LoraFaInit::Svd(svd) if svd.base == Base::Residual);
            match penalty.of() {
                Factor::A => faults.push(Fault::new(
                    "lora_fa.penalty.orthogonality.of",
                    "A does not train, so that ‖AAᵀ − I‖² is a constant",
                    "take `lora` to train A, or `init: {svd: {singular_values: none}}`, whose A is orthogonal",
                )),
                Factor::B if !residual => faults.push(penalty_on_zero(
                    "lora_fa",
                    "begin with `init: {svd: {base: residual}}`, where B is not zero",
                )),
                Factor::B => {}
            }
        }
        faults
    }
}
