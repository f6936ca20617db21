//! `meteor`: METEOR as NLTK counts it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reference::Reference;

/// METEOR as NLTK counts it, the mean over rows of the best reference's, in percent: words that are the same, have the same
/// stem or are synonyms, and a penalty for words that stand apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Meteor {
    /// How texts become words.
    #[serde(default)]
    pub tokenizer: MeteorTokenizer,
    /// How words become stems.
    #[serde(default)]
    pub stem: MeteorStem,
    /// A stage that brings WordNet's folder (`index.noun`, `data.noun` and the others): words of one set of synonyms match.
    /// Without it, none do. It is a stage because what is installed differs between machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synonyms: Option<Reference>,
    /// How much precision counts beside recall.
    #[serde(default = "default_alpha")]
    #[schemars(range(min = 0, max = 1))]
    pub alpha: f64,
    /// How steep the penalty is.
    #[serde(default = "default_beta")]
    #[schemars(range(min = 0))]
    pub beta: f64,
    /// The greatest penalty.
    #[serde(default = "default_gamma")]
    #[schemars(range(min = 0, max = 1))]
    pub gamma: f64,
}

/// How texts become words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MeteorTokenizer {
    /// NLTK's rules for words of one sentence: punctuation and clitics stand alone. It is not cut into sentences first.
    #[default]
    Nltk,
    /// White space alone divides words.
    Whitespace,
}

/// How words become stems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MeteorStem {
    /// `russian` where a reference has a Russian letter, else `porter`.
    #[default]
    Auto,
    /// Porter's, with NLTK's extensions.
    Porter,
    /// Snowball's for Russian; other words stay.
    Russian,
    /// Words stay as they are.
    None,
}

fn default_alpha() -> f64 {
    0.9
}

fn default_beta() -> f64 {
    3.0
}

fn default_gamma() -> f64 {
    0.5
}

impl Default for Meteor {
    fn default() -> Self {
        Self {
            tokenizer: MeteorTokenizer::default(),
            stem: MeteorStem::default(),
            synonyms: None,
            alpha: default_alpha(),
            beta: default_beta(),
            gamma: default_gamma(),
        }
    }
}
