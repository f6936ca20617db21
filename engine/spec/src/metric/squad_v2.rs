//! `squad_v2`: exact match and F1 as the official SQuAD 2.0 script counts them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Exact match and F1, also apart for answerable (`has_ans_…`) and unanswerable (`no_ans_…`) questions, in percent.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SquadV2 {
    /// The text that means "the passage holds no answer": a prediction that normalises to it counts as no answer.
    /// The official script itself knows only the empty text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_answer: Option<String>,
}
