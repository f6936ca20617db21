//! `lora`: low-rank adaptation (Hu et al. 2021, arXiv 2106.09685).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::low_rank::{Bias, Factor, Init, LowRank, Penalty, Scale, low_rank, penalty_on_zero};
use super::{Size, Targets};
use crate::stage::Fault;

low_rank! {
    /// Adds `alpha / rank · B A` to each target; A and B train.
    Lora as "lora" {
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
}

impl Lora {
    /// Mistakes that no type can express; paths begin at the method's name.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = self.low_rank(self.init == Init::Orthogonal).faults();
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
