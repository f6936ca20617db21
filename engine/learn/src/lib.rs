//! Tensors: models, adapters, weights and generation. Knows no pipeline file, no graph and no store; callers unpack
//! what was written into plain arguments.

pub mod adapters;
pub mod error;
pub mod generate;
pub mod layers;
pub mod models;
pub mod parameters;
pub mod peft;
pub mod targets;
pub mod weights;

pub use error::{Error, Result};
