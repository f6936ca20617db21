//! What is measured of a model beside its scores.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stage::Fault;

/// What is measured of a model beside its scores. It is observed, no part of the result; since it is that of a machine, the
/// stage is done again on another one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measure {
    /// How long a forward pass takes, by rows of a batch. Left as `latency.json` beside `measured.json`.
    pub latency: Latency,
}

/// How long a forward pass takes: median and 95th percentile, synchronised with the device.
///
/// A batch is the first rows of the split that fit, padded on the right to the longest of them, as evaluation pads; where
/// the split has fewer rows, its first ones come again. A pass is that of the protocol: for `generate`, `perplexity` and
/// `choices` the prompt is read up to the scores of the next token (without a prompt the whole row, with `window` no more
/// than one); an encoder–decoder reads the text and does its decoder's first step; for `classify`, `regress` and `span` the
/// text is read up to the head's scores. Copying the ids to the device is not in it. A trained adapter is measured beside its
/// model, unmerged; what a `merge` stage left is measured merged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// Rows of a batch; each size is measured by itself.
    #[serde(default = "batches")]
    #[schemars(length(min = 1), inner(range(min = 1)), extend("uniqueItems" = true))]
    pub batch: Vec<u64>,
    /// Forward passes of each size before the measured ones.
    #[serde(default = "warmup")]
    pub warmup: u64,
    /// Forward passes of each size that are measured.
    #[serde(default = "iterations")]
    #[schemars(range(min = 1))]
    pub iterations: u64,
}

fn batches() -> Vec<u64> {
    vec![1, 2, 4, 8]
}

fn warmup() -> u64 {
    10
}

fn iterations() -> u64 {
    100
}

impl Measure {
    /// What is wrong with the settings, by their paths below `measure`.
    pub fn faults(&self) -> Vec<Fault> {
        let Latency { batch, iterations, .. } = &self.latency;
        let mut faults = Vec::new();
        if batch.is_empty() {
            faults.push(Fault::new("latency.batch", "no batch would be measured", "give sizes: `[1, 2, 4, 8]`"));
        }
        for (index, size) in batch.iter().enumerate() {
            let at = format!("latency.batch.{index}");
            if *size == 0 {
                faults.push(Fault::new(at, "a batch of no row", "give a number above zero"));
            } else if batch.iter().take(index).any(|earlier| earlier == size) {
                faults.push(Fault::new(at, format!("{size} rows stand twice"), "name each size once"));
            }
        }
        if *iterations == 0 {
            faults.push(Fault::new("latency.iterations", "no forward pass would be measured", "100 are usual"));
        }
        faults
    }
}
