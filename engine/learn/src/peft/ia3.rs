//! The settings of (IA)³ in PEFT's `adapter_config.json`. Knows PEFT's words; no layer.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{AdapterConfig, Saved, targets};
use crate::error::{Error, Result};
use crate::models::Model;
use crate::targets::{Pattern, Place, Targets};

/// PEFT's name of the method.
const PEFT_TYPE: &str = "IA3";

/// The keys of PEFT's `IA3Config` whose meaning is known here; any other must be at rest.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Ia3Config {
    /// A list of suffixes, a pattern over whole names, or `all-linear`.
    #[serde(default)]
    target_modules: Value,
    /// Of these, those whose inputs are scaled: a list of ends of names, or a pattern over whole names.
    #[serde(default)]
    feedforward_modules: Value,
}

impl Ia3Config {
    /// The settings, if they are of this method.
    pub fn read(config: &AdapterConfig) -> Result<Option<Self>> {
        if config.peft_type() != PEFT_TYPE {
            return Ok(None);
        }
        config.refuse(&["exclude_modules", "fan_in_fan_out"])?;
        config.parse().map(Some)
    }

    /// The settings that mean these maps of `model`. PEFT takes `feedforward_modules` by the ends of names, without regard
    /// to their parts, and asks that each is among `target_modules`.
    pub fn new(inputs: Vec<&Place>, outputs: Vec<&Place>, model: &Model) -> Self {
        let all: Vec<&Place> = model.places().chain(model.heads()).collect();
        let (feedforward, rest) = (ends(&inputs, &all), ends(&outputs, &all));
        let targets: BTreeSet<&String> = feedforward.iter().chain(&rest).collect();
        Self { target_modules: json!(targets), feedforward_modules: json!(feedforward) }
    }

    /// What `target_modules` means.
    pub fn targets(&self) -> Result<Targets> {
        targets::read(&self.target_modules)
    }

    /// What `feedforward_modules` means.
    pub fn feedforward(&self) -> Result<Targets> {
        let wrong = |problem: &str| {
            Error::setting("adapter_config.json: feedforward_modules", problem, "give a list of names or a pattern")
        };
        match &self.feedforward_modules {
            Value::Null => Ok(Targets::Suffixes(Vec::new())),
            Value::String(pattern) => Ok(Targets::Pattern(Pattern::new(pattern)?)),
            Value::Array(list) => {
                let names = list.iter().map(|name| name.as_str().map(regex::escape)).collect::<Option<Vec<_>>>();
                let names = names.ok_or_else(|| wrong("holds something that is no name"))?;
                match names.is_empty() {
                    true => Ok(Targets::Suffixes(Vec::new())),
                    false => Ok(Targets::Pattern(Pattern::new(&format!(".*(?:{})", names.join("|")))?)),
                }
            }
            _ => Err(wrong("names no module")),
        }
    }

    /// The whole `adapter_config.json` of what is saved.
    pub fn to_json(&self, saved: &Saved) -> Value {
        let method = json!({
            "exclude_modules": null,
            "fan_in_fan_out": false,
            "feedforward_modules": self.feedforward_modules,
            "init_ia3_weights": true,
            "target_modules": self.target_modules,
        });
        saved.config(PEFT_TYPE, method)
    }
}

/// Of each chosen name the fewest last parts with which no other name ends, sorted.
fn ends(chosen: &[&Place], all: &[&Place]) -> BTreeSet<String> {
    let others: Vec<&&Place> = all.iter().filter(|place| !chosen.iter().any(|one| one.name == place.name)).collect();
    let shortest = |place: &&Place| {
        let tails = place.name.rmatch_indices('.').map(|(dot, _)| place.name.split_at(dot + 1).1);
        let unmistakable = |end: &&str| !others.iter().any(|other| other.name.ends_with(end));
        tails.into_iter().find(unmistakable).unwrap_or(place.name.as_str()).to_owned()
    };
    chosen.iter().map(shortest).collect()
}
