//! `perplexity`: how surprised a model is by a token.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `exp` of the mean negative log-likelihood over all tokens that count, of all rows together; and their accuracy.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Perplexity {}
