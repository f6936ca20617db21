//! `exact_match`: the part of answers that are one of their references.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Case;

/// The part of rows whose text is one of the references, in percent; white space at both ends does not count. A text that
/// `extract` finds nothing in is wrong.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExactMatch {
    /// Whether capital letters differ from small ones.
    #[serde(default)]
    pub case: Case,
    /// Whether the 32 punctuation characters of ASCII count.
    #[serde(default)]
    pub punctuation: Punctuation,
}

/// Whether punctuation counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Punctuation {
    /// Texts are compared with it.
    #[default]
    Kept,
    /// It is taken out of both sides.
    Dropped,
}
