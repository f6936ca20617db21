//! The metrics: one file each, and the registry that lists them. Knows their options, not how they count.

mod perplexity;
mod squad_v2;

pub use perplexity::Perplexity;
pub use squad_v2::SquadV2;

use crate::protocol::Protocol;

crate::one_of! {
    /// What is counted.
    pub enum Metric {
        /// SQuAD 2.0's exact match and F1.
        squad_v2 => SquadV2(SquadV2),
        /// The exponential of the mean negative log-likelihood of a token.
        perplexity => Perplexity(Perplexity),
    }
}

impl Metric {
    /// Whether the protocol gives what the metric counts.
    pub fn fits(&self, protocol: &Protocol) -> bool {
        match self {
            Self::SquadV2(_) => matches!(protocol, Protocol::Generate(_)),
            Self::Perplexity(_) => matches!(protocol, Protocol::Perplexity(_)),
        }
    }

    /// The protocol that the metric wants, as a hint.
    pub fn wants(&self) -> &'static str {
        match self {
            Self::SquadV2(_) => "it counts texts: use `protocol: {generate: {max_new_tokens: 32}}`",
            Self::Perplexity(_) => "it counts likelihoods: use `protocol: perplexity`",
        }
    }
}
