//! What the protocol `generate` may say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Decode;
use crate::extract::Extract;
use crate::stage::Fault;

/// Continues the prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Generate {
    /// Which part of the text is the answer that metrics compare; without it, all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extract: Option<Extract>,
    /// How the next token is chosen.
    #[serde(default)]
    pub decode: Decode,
    /// The most tokens that are added; an EOS ends earlier.
    #[schemars(range(min = 1))]
    pub max_new_tokens: u64,
    /// No EOS before so many tokens are added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub min_new_tokens: Option<u64>,
    /// No EOS before the text has so many tokens: prompt and new ones together, or of an encoder–decoder the answer with
    /// its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub min_length: Option<u64>,
    /// What makes tokens less likely that the text holds already, the prompt with it: their scores are divided by this, or
    /// multiplied where they are negative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub repetition_penalty: Option<f64>,
    /// No run of so many tokens stands in the text twice, the prompt with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub no_repeat_ngram: Option<u64>,
    /// Strings that end an answer and are no part of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(length(min = 1)))]
    pub stop: Vec<String>,
}

impl Generate {
    /// The likeliest tokens, at most so many.
    pub fn greedy(max_new_tokens: u64) -> Self {
        Self {
            extract: None,
            decode: Decode::default(),
            max_new_tokens,
            min_new_tokens: None,
            min_length: None,
            repetition_penalty: None,
            no_repeat_ngram: None,
            stop: Vec::new(),
        }
    }

    /// Mistakes that no type can express; paths begin at the protocol's name.
    pub fn faults(&self) -> Vec<Fault> {
        let at = |key: &str| format!("generate.{key}");
        let decode = self.decode.faults().into_iter();
        let mut faults: Vec<Fault> =
            decode.map(|fault| Fault { path: at(&format!("decode.{}", fault.path)), ..fault }).collect();
        if self.max_new_tokens == 0 {
            faults.push(Fault::new(at("max_new_tokens"), "no token would be generated", "give a number above zero"));
        }
        for (key, least) in [("min_new_tokens", self.min_new_tokens), ("min_length", self.min_length)] {
            if least == Some(0) {
                faults.push(Fault::new(at(key), "an EOS may always come", "give a number above zero, or leave it out"));
            }
        }
        if let Some(least) = self.min_new_tokens.filter(|least| *least > self.max_new_tokens) {
            let problem =
                format!("no text may end before {least} tokens, and none has more than {}", self.max_new_tokens);
            faults.push(Fault::new(at("min_new_tokens"), problem, "give at most `max_new_tokens`"));
        }
        if let Some(penalty) = self.repetition_penalty.filter(|penalty| !(*penalty > 0.0 && penalty.is_finite())) {
            let hint = "give a number above zero: more than 1 makes repetition rarer, 1.1 to 1.3 are usual";
            faults.push(Fault::new(at("repetition_penalty"), format!("{penalty} is no penalty"), hint));
        }
        if self.no_repeat_ngram == Some(0) {
            let hint = "give a number above zero, or leave it out";
            faults.push(Fault::new(at("no_repeat_ngram"), "a run of no token", hint));
        }
        for (index, _) in self.stop.iter().enumerate().filter(|(_, string)| string.is_empty()) {
            let problem = "every text holds the empty string: no token would be generated";
            faults.push(Fault::new(at(&format!("stop.{index}")), problem, "give a text, such as \"\\n\""));
        }
        for fault in self.extract.iter().flat_map(Extract::faults) {
            let place = if fault.path.is_empty() { "extract".to_owned() } else { format!("extract.{}", fault.path) };
            faults.push(Fault { path: at(&place), ..fault });
        }
        faults
    }
}
