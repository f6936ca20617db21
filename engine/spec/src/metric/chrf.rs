//! `chrf`: the F-score of character n-grams, and with words chrF++.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Case;

/// chrF of the whole corpus as sacreBLEU 2 counts it, from 0 to 100; with `word_order: 2` it is chrF++.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Chrf {
    /// The longest n-grams of characters.
    #[serde(default = "default_char_order")]
    #[schemars(range(min = 1, max = 16))]
    pub char_order: u32,
    /// The longest n-grams of words; 0 counts no words.
    #[serde(default)]
    #[schemars(range(max = 16))]
    pub word_order: u32,
    /// How many times as important recall is as precision.
    #[serde(default = "default_beta")]
    #[schemars(range(min = 1))]
    pub beta: u32,
    /// Whether capital letters differ from small ones.
    #[serde(default)]
    pub case: Case,
    /// Whether white space is a character.
    #[serde(default)]
    pub whitespace: Whitespace,
    /// What an order without n-grams counts as.
    #[serde(default)]
    pub smoothing: ChrfSmoothing,
}

/// Whether white space is a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Whitespace {
    /// It is taken out.
    #[default]
    Dropped,
    /// It counts.
    Kept,
}

/// What an order without n-grams counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChrfSmoothing {
    /// Nothing: the mean is over the orders that both sides have.
    #[default]
    Effective,
    /// 10⁻¹⁶, as in `chrF++.py`.
    Epsilon,
}

fn default_char_order() -> u32 {
    6
}

fn default_beta() -> u32 {
    2
}

impl Default for Chrf {
    fn default() -> Self {
        Self {
            char_order: default_char_order(),
            word_order: 0,
            beta: default_beta(),
            case: Case::default(),
            whitespace: Whitespace::default(),
            smoothing: ChrfSmoothing::default(),
        }
    }
}
