//! What a checkpoint of a training holds, and how a training goes on from it. Knows which tensors and figures there are;
//! the files themselves are the checkpoints' business.

use std::path::Path;

use serde::{Deserialize, Serialize};
use spec::observed::TrainingTimes;
use tch::{Device, Kind, Tensor};

use super::checkpoint::Checkpoint;
use super::history::History;
use super::step::Weights;
use super::validation::Validations;
use crate::clock::PartSeconds;
use crate::error::{Error, Result};
use crate::optim::LossScale;

/// The version of the checkpoints; one of another version is not gone on from.
const FORMAT: u32 = 1;

/// Where the time of a training went.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// The parts of the steps that were measured.
    pub parts: PartSeconds,
    /// How many steps were.
    pub steps: u64,
    /// Seconds of validation.
    pub validation: f64,
    /// Seconds in which checkpoints and snapshots were written.
    pub checkpoints: f64,
}

impl Times {
    /// Where the time of a training of `steps` steps went: those that were measured stand for all of them. Nothing where
    /// none was.
    pub fn of_training(&self, steps: u64) -> Option<TrainingTimes> {
        let factor = (self.steps > 0).then(|| steps as f64 / self.steps as f64)?;
        let PartSeconds { data, forward, backward, optimizer } = self.parts.times(factor);
        let Self { validation, checkpoints, .. } = *self;
        Some(TrainingTimes { data, forward, backward, optimizer, validation, checkpoints })
    }
}

/// Where a training is. Together with weights, moments and the history it says how it goes on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Position {
    format: u32,
    /// Steps done.
    pub step: u64,
    /// Whole epochs done.
    pub epoch: u64,
    /// Batches done of the epoch that has begun.
    pub batch: u64,
    /// Token ids read.
    pub tokens: u64,
    /// Targets that carried loss.
    pub loss_tokens: u64,
    /// The validations so far.
    pub validations: Validations,
    /// How much of the history belongs to these steps.
    pub history_bytes: u64,
    /// Seconds in all.
    pub seconds: f64,
    /// Seconds in steps alone.
    pub step_seconds: f64,
    /// Where they went, and how long the rest took.
    #[serde(default)]
    pub times: Times,
    /// The scaling of the loss, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<LossScale>,
}

impl Position {
    /// Before the first step.
    pub fn start() -> Self {
        Self {
            format: FORMAT,
            step: 0,
            epoch: 0,
            batch: 0,
            tokens: 0,
            loss_tokens: 0,
            validations: Validations::default(),
            history_bytes: 0,
            seconds: 0.0,
            step_seconds: 0.0,
            times: Times::default(),
            loss_scale: None,
        }
    }
}

/// The tensors of a checkpoint: values and moments by name, and the best values where some are kept.
pub fn tensors(weights: &Weights, best: Option<&Tensor>) -> Result<Vec<(String, Tensor)>> {
    let Weights { flat, moments, .. } = weights;
    let mut tensors = Vec::new();
    let always = [("value", flat.values()), ("mean", &moments.mean), ("square", &moments.square)];
    for (prefix, buffer) in always.into_iter().chain(best.map(|best| ("best", best))) {
        for (name, tensor) in flat.named(buffer)? {
            tensors.push((format!("{prefix}/{name}"), tensor));
        }
    }
    Ok(tensors)
}

/// Puts a checkpoint's tensors into their places and opens the history where the checkpoint left it. Returns the best
/// values as well, where some are kept. Nothing is changed unless all of it fits.
pub fn restore(
    weights: &mut Weights,
    found: Checkpoint<Position>,
    history: &Path,
) -> Result<(Position, Option<Tensor>, History)> {
    let Checkpoint { state, tensors } = found;
    if state.format != FORMAT {
        return Err(Error::file(tensors.path(), "is of another version", "remove it"));
    }
    let _guard = tch::no_grad_guard();
    let device = weights.flat.values().device();
    let read = |prefix: &str| -> Result<Tensor> {
        let buffer = weights.flat.values().f_zeros_like()?;
        for (name, mut place) in weights.flat.named(&buffer)? {
            let name = format!("{prefix}/{name}");
            if tensors.shape(&name) != Some(place.size()) {
                let problem = format!("`{name}` is not there or of another shape");
                return Err(Error::file(tensors.path(), problem, "remove it"));
            }
            place.f_copy_(&tensors.tensor(&name, Device::Cpu, Kind::Float)?.f_to_device(device)?)?;
        }
        Ok(buffer)
    };
    let (values, mean, square) = (read("value")?, read("mean")?, read("square")?);
    let has_best = tensors.names().iter().any(|name| name.starts_with("best/"));
    let best = if has_best { Some(read("best")?) } else { None };
    let history = History::open(history, state.history_bytes)?;
    weights.flat.values().shallow_clone().f_copy_(&values)?;
    let skipped = state.loss_scale.as_ref().map_or(0, |scale| scale.skipped);
    (weights.moments.mean, weights.moments.square) = (mean, square);
    weights.moments.steps = state.step.saturating_sub(skipped);
    if state.loss_scale.is_some() {
        weights.loss_scale.clone_from(&state.loss_scale);
    }
    Ok((state, best, history))
}
