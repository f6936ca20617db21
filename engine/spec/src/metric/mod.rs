//! The metrics: one file each, and the registry that lists them. Knows their options, not how they count.

mod accuracy;
mod f1;
mod matthews;
mod normalized_accuracy;
mod pearson;
mod perplexity;
mod spearman;
mod squad_v2;

pub use accuracy::Accuracy;
pub use f1::{F1, F1Of};
pub use matthews::Matthews;
pub use normalized_accuracy::{Measure, NormalizedAccuracy};
pub use pearson::Pearson;
pub use perplexity::Perplexity;
pub use spearman::Spearman;
pub use squad_v2::SquadV2;

use crate::protocol::Protocol;

crate::one_of! {
    /// What is counted.
    pub enum Metric {
        /// SQuAD 2.0's exact match and F1.
        squad_v2 => SquadV2(SquadV2),
        /// The exponential of the mean negative log-likelihood of a token.
        perplexity => Perplexity(Perplexity),
        /// The part of rows whose class is right.
        accuracy => Accuracy(Accuracy),
        /// The part of rows whose right choice is the likeliest for its length.
        normalized_accuracy => NormalizedAccuracy(NormalizedAccuracy),
        /// Precision and recall of classes in one number.
        f1 => F1(F1),
        /// Matthews' correlation of classes.
        matthews => Matthews(Matthews),
        /// Pearson's correlation of numbers.
        pearson => Pearson(Pearson),
        /// Spearman's correlation of numbers.
        spearman => Spearman(Spearman),
    }
}

impl Metric {
    /// The protocols that give what each metric counts, by their names.
    pub(crate) const PROTOCOLS: &[(&str, &[&str])] = &[
        ("squad_v2", &["generate", "span"]),
        ("perplexity", &["perplexity"]),
        ("accuracy", &["classify", "choices"]),
        ("normalized_accuracy", &["choices"]),
        ("f1", &["classify", "choices"]),
        ("matthews", &["classify", "choices"]),
        ("pearson", &["regress"]),
        ("spearman", &["regress"]),
    ];

    /// Whether the protocol gives what the metric counts.
    pub fn fits(&self, protocol: &Protocol) -> bool {
        Self::PROTOCOLS.iter().any(|(metric, protocols)| *metric == self.name() && protocols.contains(&protocol.name()))
    }

    /// The protocol that the metric wants, as a hint.
    pub fn wants(&self) -> &'static str {
        match self {
            Self::SquadV2(_) => "it counts texts: use `protocol: {generate: {max_new_tokens: 32}}`, or `span`",
            Self::Perplexity(_) => "it counts likelihoods: use `protocol: perplexity`",
            Self::Accuracy(_) | Self::F1(_) | Self::Matthews(_) => {
                "it counts classes: use `protocol: classify`, or `choices`"
            }
            Self::NormalizedAccuracy(_) => "it compares the likelihoods of choices: use `protocol: choices`",
            Self::Pearson(_) | Self::Spearman(_) => "it compares numbers: use `protocol: regress`",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_its_protocols() {
        let names: Vec<&str> = Metric::PROTOCOLS.iter().map(|(metric, _)| *metric).collect();
        assert_eq!(names, Metric::NAMES);
        for (_, protocols) in Metric::PROTOCOLS {
            assert!(protocols.iter().all(|protocol| Protocol::NAMES.contains(protocol)), "{protocols:?}");
        }
    }
}
