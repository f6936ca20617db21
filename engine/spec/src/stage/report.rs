//! What a `report` stage may say.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Empty, Fault, Input, Kind, Program};
use crate::{files, reference::Reference};

/// Sets what other stages left side by side.
///
/// Leaves `report.md`, `report.html` (one file, with plots) and `metrics.csv`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// The stages: evaluated ones for scores, trained ones for curves, time and memory, tokenized ones for lengths, selecting
    /// ones for what was chosen, `inspect` stages for what training did to weights. All members of each.
    #[schemars(length(min = 1))]
    pub inputs: Vec<Reference>,
    /// How members become rows.
    #[serde(default)]
    pub table: Table,
    /// What the same answer to every row would score, printed beside the scores: `majority`, `empty_answer` or
    /// `{answer: "No"}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub baselines: Vec<Baseline>,
    /// Figures of others, printed beside these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<Published>,
}

/// How members become rows of the table.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The axes that make rows. Without it, all axes that are not averaged over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<String>,
    /// The axes that are averaged over, such as `seed`: mean ± standard deviation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mean_over: Vec<String>,
    /// A figure by which the rows are ranked, the best first and numbered, such as `squad_v2.f1` for a choice of prompts.
    /// Without it, rows stand in the order of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub rank_by: Option<String>,
    /// The row that the others are compared with. Without it, the best one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub against: Option<String>,
}

crate::one_of! {
    /// An answer that is the same for every row.
    pub enum Baseline {
        /// The right answer that most rows have: a class, a choice or a text.
        majority => Majority(Empty),
        /// The empty text: in SQuAD 2.0, that there is no answer.
        empty_answer => EmptyAnswer(Empty),
        /// This text, class or choice.
        answer => Answer(String),
    }
}

/// Figures of others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Where the figures were published.
    pub source: String,
    /// The figures: row name to metric to value.
    pub rows: BTreeMap<String, MetricRow>,
}

/// Metric to value.
pub type MetricRow = BTreeMap<String, f64>;

impl Kind for Report {
    const VERSION: u32 = 4;
    const PROGRAM: Program = Program::Engine;

    fn inputs(&self) -> Vec<Input<'_>> {
        let read =
            [files::METRICS, files::SUMMARY, files::HISTORY, files::PREDICTIONS, files::SELECTED, files::INSPECTION];
        let gather = |(index, reference)| Input {
            gathers: true,
            ..Input::follow(format!("inputs.{index}"), reference)
                .of_kind(&["train", "evaluate", "tokenize", "select", "inspect"])
                .only(read.map(String::from))
        };
        self.inputs.iter().enumerate().map(gather).collect()
    }

    fn axes(&self) -> Vec<(String, &str)> {
        let rows = self.table.rows.iter().enumerate().map(|(i, axis)| (format!("table.rows.{i}"), axis.as_str()));
        let means = self.table.mean_over.iter().enumerate();
        rows.chain(means.map(|(i, axis)| (format!("table.mean_over.{i}"), axis.as_str()))).collect()
    }

    fn shows_measured(&self) -> bool {
        true
    }

    fn shows_settings(&self) -> bool {
        true
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.inputs.is_empty() {
            faults.push(Fault::new("inputs", "nothing to report on", "name at least one stage"));
        }
        let averaged = self.table.mean_over.iter().enumerate();
        for (index, axis) in averaged.filter(|(_, axis)| self.table.rows.contains(axis)) {
            faults.push(Fault::new(
                format!("table.mean_over.{index}"),
                format!("the axis `{axis}` both makes rows and is averaged over"),
                "keep it in one of `rows` and `mean_over`",
            ));
        }
        if self.table.rank_by.as_deref() == Some("") {
            let hint = "name a figure, such as `squad_v2.f1`, or leave it out";
            faults.push(Fault::new("table.rank_by", "no figure", hint));
        }
        if self.table.against.as_deref() == Some("") {
            let hint = "name a row as the report prints it, such as `lora`, or leave it out";
            faults.push(Fault::new("table.against", "no row", hint));
        }
        faults
    }
}
