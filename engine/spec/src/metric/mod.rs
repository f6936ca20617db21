//! The metrics: one file each, and the registry that lists them. Knows their options, not how they count.

mod accuracy;
mod bleu;
mod chrf;
mod exact_match;
mod f1;
mod hf_bleu;
mod letters;
mod matthews;
mod meteor;
mod normalized_accuracy;
mod pearson;
mod perplexity;
mod rouge;
mod spearman;
mod squad_v1;
mod squad_v2;
mod token_accuracy;

pub use accuracy::Accuracy;
pub use bleu::{Bleu, BleuTokenizer, Orders, Smoothing};
pub use chrf::{Chrf, ChrfSmoothing, Whitespace};
pub use exact_match::{ExactMatch, Punctuation};
pub use f1::{F1, F1Of};
pub use hf_bleu::{HfBleu, HfSmoothing};
pub use letters::Case;
pub use matthews::Matthews;
pub use meteor::{Meteor, MeteorStem, MeteorTokenizer};
pub use normalized_accuracy::{Measure, NormalizedAccuracy};
pub use pearson::Pearson;
pub use perplexity::Perplexity;
pub use rouge::{Rouge, RougeTokenizer};
pub use spearman::Spearman;
pub use squad_v1::SquadV1;
pub use squad_v2::SquadV2;
pub use token_accuracy::TokenAccuracy;

use std::collections::BTreeMap;

use crate::protocol::Protocol;
use crate::reference::Reference;
use crate::stage::{Fault, Input};

crate::one_of! {
    /// What is counted.
    pub enum Metric {
        /// SQuAD 2.0's exact match and F1.
        squad_v2 => SquadV2(SquadV2),
        /// SQuAD 1.1's exact match and F1.
        squad_v1 => SquadV1(SquadV1),
        /// The part of answers that are one of their references.
        exact_match => ExactMatch(ExactMatch),
        /// BLEU as sacreBLEU counts it.
        bleu => Bleu(Bleu),
        /// BLEU as Hugging Face's `evaluate` counts it.
        hf_bleu => HfBleu(HfBleu),
        /// chrF, and with `word_order` chrF++.
        chrf => Chrf(Chrf),
        /// ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum.
        rouge => Rouge(Rouge),
        /// METEOR.
        meteor => Meteor(Meteor),
        /// The exponential of the mean negative log-likelihood of a token, a word and a byte.
        perplexity => Perplexity(Perplexity),
        /// How often the right token is the likeliest.
        token_accuracy => TokenAccuracy(TokenAccuracy),
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
        ("squad_v1", &["generate", "span"]),
        ("exact_match", &["generate", "span"]),
        ("bleu", &["generate", "span"]),
        ("hf_bleu", &["generate", "span"]),
        ("chrf", &["generate", "span"]),
        ("rouge", &["generate", "span"]),
        ("meteor", &["generate", "span"]),
        ("perplexity", &["perplexity"]),
        ("token_accuracy", &["perplexity"]),
        ("accuracy", &["classify", "choices"]),
        ("normalized_accuracy", &["choices"]),
        ("f1", &["classify", "choices"]),
        ("matthews", &["classify", "choices"]),
        ("pearson", &["regress"]),
        ("spearman", &["regress"]),
    ];

    /// The figures of each metric that tables, locks and progress show, the first of them first.
    pub const HEADLINES: &[(&str, &[&str])] = &[
        ("squad_v2", &["exact", "f1", "has_ans_exact", "no_ans_exact"]),
        ("squad_v1", &["exact", "f1"]),
        ("exact_match", &["exact_match"]),
        ("bleu", &["bleu"]),
        ("hf_bleu", &["bleu"]),
        ("chrf", &["chrf"]),
        ("rouge", &["rouge1", "rouge2", "rougeL", "rougeLsum"]),
        ("meteor", &["meteor"]),
        ("perplexity", &["perplexity", "token_accuracy"]),
        ("token_accuracy", &["token_accuracy"]),
        ("accuracy", &["accuracy"]),
        ("normalized_accuracy", &["normalized_accuracy"]),
        ("f1", &["f1"]),
        ("matthews", &["matthews"]),
        ("pearson", &["pearson"]),
        ("spearman", &["spearman"]),
    ];

    /// Whether the protocol gives what the metric counts.
    pub fn fits(&self, protocol: &Protocol) -> bool {
        Self::PROTOCOLS.iter().any(|(metric, protocols)| *metric == self.name() && protocols.contains(&protocol.name()))
    }

    /// The stage whose files the metric reads.
    pub fn input(&self) -> Option<&Reference> {
        match self {
            Self::Meteor(settings) => settings.synonyms.as_ref(),
            _ => None,
        }
    }

    /// Where the stage is named, in the stage and in its job, that the metric at this place of the list `metrics` reads.
    pub fn input_role(metrics: &str, index: usize) -> String {
        format!("{metrics}.{index}.meteor.synonyms")
    }

    /// The inputs of metrics that stand in the list `at`.
    pub(crate) fn inputs<'a>(at: &str, metrics: &'a [Self]) -> impl Iterator<Item = Input<'a>> {
        metrics.iter().enumerate().filter_map(move |(index, metric)| {
            Some(Input::follow(Self::input_role(at, index), metric.input()?).of_kind(&["download"]))
        })
    }

    /// Mistakes that no type can express; paths begin at the metric's name.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut least = |key: &str, value: f64, least: f64, most: f64| {
            if !(least..=most).contains(&value) {
                let problem = format!("{value} is not from {least} to {most}");
                faults.push(Fault::new(format!("{}.{key}", self.name()), problem, "leave it out for the usual value"));
            }
        };
        match self {
            Self::Bleu(settings) => {
                least("max_order", settings.max_order.into(), 1.0, 16.0);
                match settings.smoothing {
                    Smoothing::Floor(value) => least("smoothing.floor", value, 0.0, f64::MAX),
                    Smoothing::AddK(value) => least("smoothing.add_k", value, 0.0, f64::MAX),
                    Smoothing::Exp(_) | Smoothing::None(_) => {}
                }
            }
            Self::HfBleu(settings) => least("max_order", settings.max_order.into(), 1.0, 16.0),
            Self::Chrf(settings) => {
                least("char_order", settings.char_order.into(), 1.0, 16.0);
                least("word_order", settings.word_order.into(), 0.0, 16.0);
                least("beta", settings.beta.into(), 1.0, f64::from(u32::MAX));
            }
            Self::Meteor(settings) => {
                least("alpha", settings.alpha, 0.0, 1.0);
                least("beta", settings.beta, 0.0, f64::MAX);
                least("gamma", settings.gamma, 0.0, 1.0);
            }
            _ => {}
        }
        faults
    }

    /// The protocol that the metric wants, as a hint.
    pub fn wants(&self) -> &'static str {
        match self {
            Self::SquadV2(_)
            | Self::SquadV1(_)
            | Self::ExactMatch(_)
            | Self::Bleu(_)
            | Self::HfBleu(_)
            | Self::Chrf(_)
            | Self::Rouge(_)
            | Self::Meteor(_) => "it counts texts: use `protocol: {generate: {max_new_tokens: 32}}`, or `span`",
            Self::Perplexity(_) | Self::TokenAccuracy(_) => "it counts likelihoods: use `protocol: perplexity`",
            Self::Accuracy(_) | Self::F1(_) | Self::Matthews(_) => {
                "it counts classes: use `protocol: classify`, or `choices`"
            }
            Self::NormalizedAccuracy(_) => "it compares the likelihoods of choices: use `protocol: choices`",
            Self::Pearson(_) | Self::Spearman(_) => "it compares numbers: use `protocol: regress`",
        }
    }
}

/// The name of each metric, as figures are named after: `squad_v2`, and `squad_v2_2` where one stands a second time.
pub fn names(metrics: &[Metric]) -> Vec<String> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let name = |metric: &Metric| {
        let times = seen.entry(metric.name()).or_default();
        *times += 1;
        if *times == 1 { metric.name().to_owned() } else { format!("{}_{times}", metric.name()) }
    };
    metrics.iter().map(name).collect()
}

/// The headline figures of metrics, as `metric.figure`, in the order in which they stand.
pub(crate) fn headlines(metrics: &[Metric]) -> Vec<String> {
    let figures = |metric: &Metric| Metric::HEADLINES.iter().find(|(name, _)| *name == metric.name());
    let of = |(metric, name): (&Metric, String)| {
        let figures = figures(metric).map(|(_, figures)| *figures).unwrap_or_default();
        figures.iter().map(|figure| format!("{name}.{figure}")).collect::<Vec<_>>()
    };
    metrics.iter().zip(names(metrics)).flat_map(of).collect()
}

/// Mistakes of the metrics in the list `at`, counted of a model that is asked by this protocol.
pub(crate) fn faults(at: &str, metrics: &[Metric], protocol: &Protocol) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (index, metric) in metrics.iter().enumerate() {
        let below = |fault: Fault| Fault { path: format!("{at}.{index}.{}", fault.path), ..fault };
        faults.extend(metric.faults().into_iter().map(below));
        if !metric.fits(protocol) {
            let problem = format!("`{}` cannot be counted from the protocol `{}`", metric.name(), protocol.name());
            faults.push(Fault::new(format!("{at}.{index}"), problem, metric.wants()));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_its_protocols() {
        let names: Vec<&str> = Metric::PROTOCOLS.iter().map(|(metric, _)| *metric).collect();
        assert_eq!(names, Metric::NAMES);
        let names: Vec<&str> = Metric::HEADLINES.iter().map(|(metric, _)| *metric).collect();
        assert_eq!(names, Metric::NAMES);
        for (_, protocols) in Metric::PROTOCOLS {
            assert!(protocols.iter().all(|protocol| Protocol::NAMES.contains(protocol)), "{protocols:?}");
        }
    }
}
