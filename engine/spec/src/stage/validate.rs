//! What a `train` stage may say of its validation: how often, on what, what is asked besides the loss, and what that decides.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Empty, EvaluateBatch, Fault, Objective, evaluate};
use crate::metric::{self, Metric};
use crate::one_of::listed;
use crate::protocol::Protocol;
use crate::suggest;

/// Loss, and figures of metrics, on a split that is not learned from, and what they decide.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map such as `{on: …}`")]
#[schemars(extend(
    "not" = {"anyOf": evaluate::all_mixed()},
    "dependentRequired" = {"rows": ["protocol"], "batch": ["protocol"], "metrics": ["protocol"], "protocol": ["metrics"]},
))]
pub struct Validate {
    /// The split. Its rows select; a report marks scores on the same rows.
    pub on: String,
    /// How often; always at the end, too.
    #[serde(default)]
    pub every: Every,
    /// How the model is asked, to count `metrics`: as an `evaluate` stage asks, with the seed 0. `generate` and `perplexity`
    /// go with the objectives `language_model` and `seq2seq`, and `classify`, `regress` and `span` each with their own.
    /// Without it, only the loss is computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// What is counted of the answers. The headline figures are in `history.jsonl`, and those of the kept state in
    /// `summary.json`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub metrics: Vec<Metric>,
    /// How many rows are asked, the first of the split; the loss is of all. Without it, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub rows: Option<u64>,
    /// How many rows are asked at once; changes no result beyond rounding. Without it, as an `evaluate` stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<EvaluateBatch>,
    /// Which state is kept in the end.
    #[serde(default)]
    pub keep: Keep,
    /// Stop after so many validations without a new best figure: that of `keep: {best: …}`, else the loss. Without it,
    /// never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub patience: Option<u64>,
}

crate::one_of! {
    /// How often something is done.
    pub enum Every {
        /// After so many optimiser steps.
        steps => Steps(u64) where {"minimum": 1},
        /// After so many epochs.
        epochs => Epochs(u64) where {"minimum": 1},
    }
}

impl Every {
    /// Mistakes that no type can express; `path` is where it stands.
    pub(super) fn faults(&self, path: &str) -> Vec<Fault> {
        match self {
            Self::Steps(0) | Self::Epochs(0) => {
                let (unit, hint) = (self.name(), "give a number above zero");
                vec![Fault::new(format!("{path}.{unit}"), format!("every zero {unit}"), hint)]
            }
            Self::Steps(_) | Self::Epochs(_) => Vec::new(),
        }
    }
}

impl Default for Every {
    fn default() -> Self {
        Self::Epochs(1)
    }
}

crate::one_of! {
    /// Which state is kept.
    pub enum Keep {
        /// The one after the last step.
        last => Last(Empty),
        /// The one with the best validation figure: `loss`, or a headline figure of `metrics`, such as `squad_v2.f1`. Of
        /// equal ones the first.
        best => Best(KeepBest),
    }
}

impl Default for Keep {
    fn default() -> Self {
        Self::Last(Empty {})
    }
}

/// The figure that decides which state is best.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeepBest {
    /// The validation loss.
    Loss,
    /// A figure of a metric, as `metric.figure`.
    Figure(String),
}

impl Serialize for KeepBest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(match self {
            Self::Loss => "loss",
            Self::Figure(name) => name,
        })
    }
}

impl<'de> Deserialize<'de> for KeepBest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = KeepBest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`loss`, or a figure such as `squad_v2.f1`")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<KeepBest, E> {
                Ok(match name {
                    "loss" => KeepBest::Loss,
                    name => KeepBest::Figure(name.to_owned()),
                })
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for KeepBest {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "KeepBest".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "`loss`, or a headline figure of a metric: `squad_v2.f1`.",
            "type": "string",
            "pattern": r"^(loss|[a-z0-9_]+\.[A-Za-z0-9_]+)$",
        })
    }
}

impl Validate {
    /// The figure that decides which state is best, and when to stop.
    pub fn best(&self) -> &KeepBest {
        match &self.keep {
            Keep::Best(best) => best,
            Keep::Last(_) => &KeepBest::Loss,
        }
    }

    /// Mistakes that no type can express, where this is learned.
    pub(super) fn faults(&self, objective: &Objective) -> Vec<Fault> {
        let mut faults = Vec::new();
        faults.extend(self.every.faults("every"));
        if self.patience == Some(0) {
            faults.push(Fault::new("patience", "a patience of zero would stop at once", "give a number above zero"));
        }
        if self.rows == Some(0) {
            let hint = "give a number above zero, or leave it out to ask all rows";
            faults.push(Fault::new("rows", "no row would be asked", hint));
        }
        if self.batch.as_ref().is_some_and(|batch| batch.size == 0) {
            faults.push(Fault::new("batch.size", "a batch of no row", "give a number above zero"));
        }
        match &self.protocol {
            None => {
                let set = [
                    ("metrics", !self.metrics.is_empty()),
                    ("rows", self.rows.is_some()),
                    ("batch", self.batch.is_some()),
                ];
                faults.extend(set.into_iter().filter(|(_, is_set)| *is_set).map(|(key, _)| {
                    let problem = format!("`{key}` without a `protocol`: the loss of all rows is computed alone");
                    Fault::new(key, problem, format!("say how the model is asked: `protocol: {}`", asking(objective)))
                }));
            }
            Some(protocol) => {
                if !protocols(objective).contains(&protocol.name()) {
                    faults.push(Fault::new(
                        "protocol",
                        format!("`{}` cannot ask a model that learns `{}`", protocol.name(), objective.name()),
                        format!("use one of {}", listed(protocols(objective))),
                    ));
                }
                if self.metrics.is_empty() {
                    let hint = "name what is counted: `metrics: […]`";
                    faults.push(Fault::new("protocol", "a `protocol` without `metrics`: nothing is counted", hint));
                }
                faults.extend(metric::faults("metrics", &self.metrics, protocol));
                let below = |f: Fault| Fault { path: format!("protocol.{}", f.path), ..f };
                faults.extend(protocol.faults().into_iter().map(below));
            }
        }
        if let Keep::Best(KeepBest::Figure(name)) = &self.keep {
            let known: Vec<String> = ["loss".to_owned()].into_iter().chain(metric::headlines(&self.metrics)).collect();
            if !known.contains(name) {
                let hint = match self.metrics.is_empty() {
                    true => format!("say what is counted, and how: `protocol: {}`, `metrics: […]`", asking(objective)),
                    false => suggest::did_you_mean(name, &known),
                };
                faults.push(Fault::new("keep.best", format!("`{name}` is not counted here"), hint));
            }
        }
        faults
    }
}

/// The protocols that can ask what is learned.
fn protocols(objective: &Objective) -> &'static [&'static str] {
    match objective {
        Objective::LanguageModel(_) | Objective::Seq2Seq(_) => &["generate", "perplexity"],
        Objective::Classify(_) => &["classify"],
        Objective::Regress(_) => &["regress"],
        Objective::Span(_) => &["span"],
    }
}

/// How one may ask what is learned, as a pipeline file says it.
fn asking(objective: &Objective) -> &'static str {
    match objective {
        Objective::LanguageModel(_) | Objective::Seq2Seq(_) => "{generate: {max_new_tokens: 32}}",
        Objective::Classify(_) => "classify",
        Objective::Regress(_) => "regress",
        Objective::Span(_) => "span",
    }
}
