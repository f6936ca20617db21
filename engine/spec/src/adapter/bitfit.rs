//! `bitfit`: the biases alone (Ben Zaken et al. 2021, arXiv 2106.10199).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Every bias of the model trains, those of norms with them, and a head whole. The model must have biases: BERT and
/// RoBERTa have, Llama and T5 have none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BitFit {}
