//! `bleu`: BLEU as sacreBLEU counts it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Case;
use crate::stage::Empty;

/// BLEU of the whole corpus as sacreBLEU 2 counts it, from 0 to 100, with its signature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bleu {
    /// How texts become words.
    #[serde(default)]
    pub tokenizer: BleuTokenizer,
    /// Whether capital letters differ from small ones.
    #[serde(default)]
    pub case: Case,
    /// What stands for the precision of an order without a match.
    #[serde(default)]
    pub smoothing: Smoothing,
    /// The longest n-grams.
    #[serde(default = "default_order")]
    #[schemars(range(min = 1, max = 16))]
    pub max_order: u32,
    /// The orders that count. Scores of single rows are never of orders that they do not have.
    #[serde(default)]
    pub orders: Orders,
}

/// How texts become words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum BleuTokenizer {
    /// That of WMT, `mteval-v13a`: punctuation of ASCII stands alone.
    #[default]
    #[serde(rename = "13a")]
    V13a,
    /// `mteval-v14`'s international one: all punctuation and symbols of Unicode stand alone.
    #[serde(rename = "intl")]
    International,
    /// Every character is a word.
    #[serde(rename = "char")]
    Characters,
    /// White space alone divides words.
    #[serde(rename = "none")]
    None,
}

crate::one_of! {
    /// What stands for the precision of an order without a match.
    pub enum Smoothing {
        /// A half, a quarter, … of one match, for each such order in turn.
        exp => Exp(Empty),
        /// This many matches; 0.1 is usual.
        floor => Floor(f64) where {"minimum": 0},
        /// This many are added to matches and totals of orders above the first; 1 is usual.
        add_k => AddK(f64) where {"minimum": 0},
        /// Nothing: one such order makes the whole zero.
        none => None(Empty),
    }
}

impl Default for Smoothing {
    fn default() -> Self {
        Self::Exp(Empty {})
    }
}

/// The orders that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Orders {
    /// All up to `max_order`.
    #[default]
    All,
    /// Those that the answers have n-grams of.
    Effective,
}

fn default_order() -> u32 {
    4
}

impl Default for Bleu {
    fn default() -> Self {
        Self {
            tokenizer: BleuTokenizer::default(),
            case: Case::default(),
            smoothing: Smoothing::default(),
            max_order: default_order(),
            orders: Orders::default(),
        }
    }
}
