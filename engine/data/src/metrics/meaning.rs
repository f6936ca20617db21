//! What a figure means to a reader: its title, its unit, its direction. Each metric's file says it of its own figures; here
//! they are found by name.

use super::{
    accuracy, bleu, chrf, exact_match, f1, hf_bleu, matthews, meteor, normalized_accuracy, pearson, perplexity, rouge,
    spearman, squad_v1, squad_v2, token_accuracy,
};

/// What a figure means to a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meaning {
    /// The figure's name in words.
    pub title: &'static str,
    /// Whether it is a percentage.
    pub is_percent: bool,
    /// Whether more is better.
    pub more_is_better: bool,
}

/// Figures by name and what they mean.
pub(super) type Meanings = &'static [(&'static str, Meaning)];

impl Meaning {
    /// A percentage of what is right.
    pub(super) const fn percent(title: &'static str) -> Self {
        Self { title, is_percent: true, more_is_better: true }
    }

    /// A number of which more is better.
    pub(super) const fn more(title: &'static str) -> Self {
        Self { title, is_percent: false, more_is_better: true }
    }

    /// A number of which less is better.
    pub(super) const fn less(title: &'static str) -> Self {
        Self { title, is_percent: false, more_is_better: false }
    }
}

/// What a figure means, by `metric.figure`; nothing for a figure that no metric here counts, or that is a mere count.
pub fn meaning(name: &str) -> Option<Meaning> {
    let (metric, figure) = name.split_once('.')?;
    of(metric)
        .or_else(|| {
            let (first, times) = metric.rsplit_once('_')?;
            (!times.is_empty() && times.bytes().all(|byte| byte.is_ascii_digit())).then(|| of(first))?
        })?
        .iter()
        .find_map(|(name, meaning)| (*name == figure).then_some(*meaning))
}

fn of(metric: &str) -> Option<Meanings> {
    Some(match metric {
        "squad_v2" => squad_v2::MEANINGS,
        "squad_v1" => squad_v1::MEANINGS,
        "exact_match" => exact_match::MEANINGS,
        "bleu" => bleu::MEANINGS,
        "hf_bleu" => hf_bleu::MEANINGS,
        "chrf" => chrf::MEANINGS,
        "rouge" => rouge::MEANINGS,
        "meteor" => meteor::MEANINGS,
        "perplexity" => perplexity::MEANINGS,
        "token_accuracy" => token_accuracy::MEANINGS,
        "accuracy" => accuracy::MEANINGS,
        "normalized_accuracy" => normalized_accuracy::MEANINGS,
        "f1" => f1::MEANINGS,
        "matthews" => matthews::MEANINGS,
        "pearson" => pearson::MEANINGS,
        "spearman" => spearman::MEANINGS,
        _ => return None,
    })
}
