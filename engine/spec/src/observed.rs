//! What stages observe of their own time, as the files hold it that the worker writes and the command line and reports read.
//! Never part of a result. Knows numbers and their names.

use serde::{Deserialize, Serialize};

/// Where the time of a training went, in seconds: `part_seconds` of a train stage's `measured.json`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct TrainingTimes {
    /// Rows were chosen, put together and copied to the device.
    pub data: f64,
    /// From token ids to the loss.
    pub forward: f64,
    /// From the loss to gradients.
    pub backward: f64,
    /// From gradients to new weights.
    pub optimizer: f64,
    /// The loss on the validation split.
    pub validation: f64,
    /// Checkpoints were written.
    pub checkpoints: f64,
}

impl TrainingTimes {
    /// Each part with its name for people, in the order of the work.
    pub fn parts(&self) -> [(&'static str, f64); 6] {
        [
            ("data", self.data),
            ("forward", self.forward),
            ("backward", self.backward),
            ("optimiser", self.optimizer),
            ("validation", self.validation),
            ("checkpoints", self.checkpoints),
        ]
    }

    /// The parts in percent of all of them, `data 1, forward 38, …`; those that took no time are left out. Nothing where
    /// none took any.
    pub fn percentages(&self) -> Option<String> {
        let whole: f64 = self.parts().iter().map(|(_, seconds)| seconds).sum();
        let some = self.parts().into_iter().filter(|(_, seconds)| *seconds > 0.0);
        let percent = |seconds: f64| match 100.0 * seconds / whole {
            share if share < 0.5 => "<1".to_owned(),
            share => format!("{share:.0}"),
        };
        let written: Vec<String> = some.map(|(name, seconds)| format!("{name} {}", percent(seconds))).collect();
        (!written.is_empty()).then(|| written.join(", "))
    }
}

/// How a model with an adapter was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weights {
    /// A model without an adapter.
    Plain,
    /// An adapter stands beside the weights, as it was trained.
    Unmerged,
    /// A `merge` stage left it.
    Merged,
}

impl Weights {
    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::Plain => "no adapter",
            Self::Unmerged => "adapter unmerged",
            Self::Merged => "adapter merged",
        }
    }
}

/// How long a model's forward pass takes: an evaluate stage's `latency.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// What was measured.
    pub weights: Weights,
    /// Passes before those that were measured.
    pub warmup: u64,
    /// Passes that were measured.
    pub iterations: u64,
    /// By rows of a batch, in the order of the pipeline file.
    pub batches: Vec<BatchLatency>,
}

/// How long the forward pass of one batch takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BatchLatency {
    /// Rows.
    pub size: u64,
    /// Tokens that each row is padded to.
    pub length: u64,
    /// Tokens that are no padding, of all rows.
    pub tokens: u64,
    /// The median over the passes, in seconds.
    pub median_seconds: f64,
    /// The 95th percentile over the passes, in seconds.
    pub p95_seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_leave_out_what_took_no_time() {
        let times =
            TrainingTimes { data: 0.5, forward: 2.0, backward: 7.0, optimizer: 0.5, ..TrainingTimes::default() };
        assert_eq!(times.percentages().as_deref(), Some("data 5, forward 20, backward 70, optimiser 5"));
        let times = TrainingTimes { checkpoints: 0.01, ..times };
        assert!(times.percentages().is_some_and(|text| text.ends_with("optimiser 5, checkpoints <1")));
        assert_eq!(TrainingTimes::default().percentages(), None);
    }
}
