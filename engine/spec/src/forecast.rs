//! What `engine estimate` asks `engine-worker` about trainings that have not run, and what it answers: one JSON document
//! in, one [`Answer`] a line out. Knows neither how a training is forecast nor how programs are started.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    adapter::ChosenSize,
    job::{Device, Failure, JobInput},
};

/// Trainings to be forecast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Questions {
    /// One for each member.
    pub questions: Vec<Question>,
    /// The device that would compute.
    pub device: Device,
    /// Multiplications and additions a second that are taken for granted, in place of a measurement; the device need
    /// not be here then.
    pub products_per_second: Option<f64>,
}

/// A member of a `train` stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Its name.
    pub name: String,
    /// Its settings, defaults filled in.
    pub settings: serde_json::Value,
    /// The model's shape.
    pub model: Shape,
    /// What trains, where that is not in its own settings.
    pub adapter: Option<Trained>,
    /// What its `tokenize` stage left, where it is made.
    pub data: Option<JobInput>,
    /// What is taken to be so where it is not.
    pub assumed: Assumed,
    /// Threads it would have.
    pub threads: usize,
}

/// Where a model's shape is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// In the `config.json` of this folder.
    Folder(PathBuf),
    /// In these settings of a train stage, under `model`.
    Random(serde_json::Value),
}

/// Where the adapter is described that another stage left, or will leave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trained {
    /// In this folder.
    Folder(PathBuf),
    /// In these settings of a train stage, those under `adapter`.
    Settings(serde_json::Value),
}

/// What rows are taken to be like that are not made yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assumed {
    /// Tokens of a row that are read: the most that it may have.
    pub length: u64,
    /// Tokens of a row that carry loss.
    pub answer: u64,
    /// Classes.
    pub labels: u64,
    /// Token ids.
    pub vocabulary: u64,
    /// Rows to train on, where that was told.
    pub rows: Option<u64>,
}

/// What is forecast of a member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Its name.
    pub name: String,
    /// The forecast, or why there is none.
    pub outcome: Result<Figures, Failure>,
}

/// A forecast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// Numbers that train.
    pub trainable_parameters: u64,
    /// The size of the method, where it is chosen by the count of another's numbers.
    pub chosen_size: Option<ChosenSize>,
    /// All numbers.
    pub total_parameters: u64,
    /// Bytes of the model's tensors.
    pub weights: u64,
    /// Bytes of the gradients of what trains.
    pub gradients: u64,
    /// Bytes of the optimiser's moments, and of weights that are kept beside the newest.
    pub optimizer: u64,
    /// The most bytes that a step needs beside these.
    pub activations: u64,
    /// Bytes that libtorch needs for itself.
    pub runtime: u64,
    /// The most bytes at once, less those of the loaded model: what `measured.json` calls `peak_memory_bytes`.
    pub peak: u64,
    /// The longest row that is read, in tokens, and whether rows were looked at or this is what a row may have at most.
    pub longest: u64,
    /// Whether the rows are there.
    pub rows_known: bool,
    /// Optimiser steps, where they are known.
    pub steps: Option<u64>,
    /// Seconds of a step.
    pub step_seconds: f64,
    /// Multiplications and additions of a step.
    pub step_products: f64,
    /// Multiplications and additions a second of the device.
    pub products_per_second: f64,
    /// Whether that was measured with such matrices, or told.
    pub speed_measured: bool,
    /// The device.
    pub device: String,
}
