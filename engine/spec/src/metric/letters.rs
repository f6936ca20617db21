//! Whether capital letters differ from small ones where texts are compared.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether capital letters differ from small ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Case {
    /// `A` and `a` differ.
    #[default]
    Mixed,
    /// Texts are compared in lower case.
    Lower,
}
