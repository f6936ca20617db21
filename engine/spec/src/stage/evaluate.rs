//! What an `evaluate` stage may say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Fault, Input, Kind, Program, WantedSplit};
use crate::{
    block::{self, WantedBlock},
    files,
    measure::Measure,
    metric::{self, Metric},
    precision::Precision,
    protocol::Protocol,
    reference::{OneOrMany, Reference},
};

/// Scores a model on the rows of a split.
///
/// Leaves `metrics.json`, and `predictions.jsonl`: prompt, output, references and score of every row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("not" = {"anyOf": all_mixed()}))]
pub struct Evaluate {
    /// A stage that left a model or an adapter; a list makes one member for each.
    pub model: OneOrMany,
    /// The split of a `tokenize` stage, such as `tokens/test`.
    #[schemars(extend("not" = {"anyOf": [
        {"type": "string", "pattern": "^[^/$]*$"},
        {"type": "object", "not": {"required": ["part"]}},
    ]}))]
    pub data: Reference,
    /// How the model is asked.
    pub protocol: Protocol,
    /// What is counted.
    #[schemars(length(min = 1))]
    pub metrics: Vec<Metric>,
    /// How many rows are computed at once; changes no result beyond rounding.
    #[serde(default)]
    pub batch: EvaluateBatch,
    /// The seed of what `sample` and `beam_sample` draw. A row's numbers depend on it and on the row's id, not on other rows.
    /// Without it, 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The numbers that are computed with. Without it, `float32`.
    #[serde(default, skip_serializing_if = "Precision::is_default")]
    pub precision: Precision,
    /// What is measured of the model beside its scores, on this machine. Without it, nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<Measure>,
}

/// The schema of what [`Metric::fits`] refuses.
pub(super) fn all_mixed() -> Vec<serde_json::Value> {
    let refused = |protocol: &&'static str| {
        let metrics = Metric::PROTOCOLS.iter().filter(|(_, protocols)| !protocols.contains(protocol));
        metrics.map(|(metric, _)| mixed(protocol, metric)).collect::<Vec<_>>()
    };
    Protocol::NAMES.iter().flat_map(refused).collect()
}

/// The schema of a protocol with a metric that cannot be counted from it.
fn mixed(protocol: &str, metric: &str) -> serde_json::Value {
    let chosen =
        |name: &str| serde_json::json!({ "anyOf": [{ "const": name }, { "type": "object", "required": [name] }] });
    serde_json::json!({
        "required": ["protocol", "metrics"],
        "properties": {
            "protocol": chosen(protocol),
            "metrics": { "type": "array", "contains": chosen(metric) },
        },
    })
}

/// Rows computed at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map such as `{size: …}`")]
pub struct EvaluateBatch {
    /// Rows computed at once.
    #[schemars(range(min = 1))]
    pub size: u64,
}

impl Default for EvaluateBatch {
    fn default() -> Self {
        Self { size: 32 }
    }
}

impl Kind for Evaluate {
    const VERSION: u32 = 4;
    const PROGRAM: Program = Program::Worker;

    fn inputs(&self) -> Vec<Input<'_>> {
        let mut read = vec![files::SPECIAL_IDS.to_owned(), files::TOKENIZER.to_owned()];
        if matches!(self.protocol, Protocol::Classify(_)) {
            read.push(files::LABELS.to_owned());
        }
        read.extend(self.data.part.iter().map(|part| files::split(part)));
        let mut inputs = vec![
            Input::any_of("model", self.model.0.iter().collect()).of_kind(&["download", "train", "merge"]),
            Input::follow("data", &self.data)
                .of_kind(&["tokenize"])
                .only(read)
                .with_splits(self.data.part.iter().map(|split| WantedSplit::by_value("data", split).whole())),
        ];
        inputs.extend(Metric::inputs("metrics", &self.metrics));
        inputs
    }

    fn wanted_blocks(&self) -> Vec<WantedBlock> {
        block::of_protocol("", &self.protocol, &self.metrics)
    }

    fn measures(&self) -> bool {
        self.measure.is_some()
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.data.part.is_none() {
            faults.push(Fault::new(
                "data",
                format!("`{}` names no split", self.data),
                format!("name the split that is scored: `{}/validation`", self.data),
            ));
        }
        if self.metrics.is_empty() {
            faults.push(Fault::new("metrics", "no metric", "name at least one, for example `[squad_v2]`"));
        }
        if self.batch.size == 0 {
            faults.push(Fault::new("batch.size", "a batch of no row", "give a number above zero"));
        }
        faults.extend(metric::faults("metrics", &self.metrics, &self.protocol));
        let measured = self.measure.iter().flat_map(Measure::faults);
        faults.extend(measured.map(|fault| Fault { path: format!("measure.{}", fault.path), ..fault }));
        faults.extend(self.protocol.faults().into_iter().map(|f| Fault { path: format!("protocol.{}", f.path), ..f }));
        faults
    }
}
