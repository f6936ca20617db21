//! What a `select` stage may say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fault, Input, Kind, Program};
use crate::{files, reference::Reference};

/// Chooses the best member of a stage; other stages use its coordinates: `${winner.prompt}`.
///
/// Leaves `selected.json`: the coordinates, the figure, and the figures of the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Select {
    /// The stage whose members are compared: an evaluated or a trained one.
    #[schemars(extend("not" = {"anyOf": [
        {"type": "string", "pattern": "^[^$\\[]*(\\[.*\\])?/"},
        {"type": "object", "required": ["part"]},
    ]}))]
    pub from: Reference,
    /// What makes one of them the best.
    pub best: Best,
    /// Axes of `from` that are not chosen from: one winner for each combination of their labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("uniqueItems" = true))]
    pub per: Vec<String>,
}

/// What makes a member the best. Of equals, the first in the order of the axes wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// A figure of what each member left, such as `squad_v2.exact` or `perplexity.perplexity`; of a trained stage, `loss`.
    #[schemars(length(min = 1))]
    pub metric: String,
    /// Whether a high or a low figure is good.
    pub mode: Mode,
}

/// Which end of a figure is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The highest wins.
    Max,
    /// The lowest wins.
    Min,
}

impl Kind for Select {
    const VERSION: u32 = 1;
    const PROGRAM: Program = Program::Engine;

    fn inputs(&self) -> Vec<Input<'_>> {
        let read = [files::METRICS, files::SUMMARY].map(String::from);
        vec![Input { gathers: true, ..Input::follow("from", &self.from).of_kind(&["evaluate", "train"]).only(read) }]
    }

    fn axes(&self) -> Vec<(String, &str)> {
        self.per.iter().enumerate().map(|(i, axis)| (format!("per.{i}"), axis.as_str())).collect()
    }

    fn per(&self) -> &[String] {
        &self.per
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if let Some(part) = &self.from.part {
            faults.push(Fault::new(
                "from",
                format!("`/{part}`: members are compared, not parts of them"),
                format!("write `{}`", Reference { part: None, ..self.from.clone() }),
            ));
        }
        if self.best.metric.is_empty() {
            faults.push(Fault::new("best.metric", "no metric", "name a figure, for example `squad_v2.exact`"));
        }
        for (index, axis) in self.per.iter().enumerate() {
            if self.per[..index].contains(axis) {
                let message = format!("the axis `{axis}` stands twice");
                faults.push(Fault::new(format!("per.{index}"), message, "keep one of them"));
            }
        }
        faults
    }
}
