//! The settings of a training, as plain values. Knows no pipeline file.

use crate::objectives::Normalize;
use crate::optim::AdamW;
use crate::schedule::{Schedule, Shape};

/// How a model is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How long.
    pub length: Length,
    /// Rows of an optimiser step.
    pub batch: usize,
    /// Rows that are computed at once.
    pub micro: usize,
    /// The optimiser.
    pub optimizer: AdamW,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// What the learning rate does after its warm-up.
    pub shape: Shape,
    /// The warm-up.
    pub warmup: Warmup,
    /// The most that the norm of all gradients may be.
    pub clip: Option<f64>,
    /// The seed of the order of rows.
    pub data_seed: u64,
    /// The seed of dropout.
    pub dropout_seed: u64,
    /// What the loss is a mean of.
    pub normalize: Normalize,
    /// What is done with the validation rows, where there are any.
    pub validate: Validate,
    /// A checkpoint is written after so many steps.
    pub checkpoint: u64,
}

/// How long a training is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Every row is seen so often.
    Epochs(u64),
    /// So many optimiser steps.
    Steps(u64),
}

/// How long the learning rate rises.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Warmup {
    /// So many steps.
    Steps(u64),
    /// This part of all steps, rounded up.
    Ratio(f64),
}

/// How often something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// After so many steps.
    Steps(u64),
    /// After so many epochs.
    Epochs(u64),
}

/// What is done with validation rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validate {
    /// How often they are looked at; always at the end, too.
    pub every: Every,
    /// Which weights are the best.
    pub best: Best,
    /// Whether the best weights are kept in the end, or the last.
    pub keep_best: bool,
    /// The training ends after so many validations without new best weights.
    pub patience: Option<u64>,
}

/// Which weights are the best.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Best {
    /// Those of the lowest loss.
    Loss,
    /// Those of the best figure of this name.
    Figure {
        /// The name.
        name: String,
        /// Whether the highest is the best, or the lowest.
        more_is_better: bool,
    },
}

impl Settings {
    /// All steps, for epochs of so many batches.
    pub fn steps(&self, per_epoch: u64) -> u64 {
        match self.length {
            Length::Epochs(epochs) => epochs * per_epoch,
            Length::Steps(steps) => steps,
        }
    }

    /// The learning rate's schedule over `total` steps.
    pub fn schedule(&self, total: u64) -> Schedule {
        let warmup = match self.warmup {
            Warmup::Steps(steps) => steps,
            Warmup::Ratio(ratio) => (ratio * total as f64).ceil() as u64,
        };
        Schedule { shape: self.shape, warmup, total }
    }
}
