//! Tensors: models, adapters, weights and generation. Knows no pipeline file, no graph and no store; callers unpack
//! what was written into plain arguments.

pub mod adapters;
pub mod batches;
pub mod by_name;
pub mod choice_rows;
pub mod clock;
pub mod error;
pub mod evaluate;
pub mod forecast;
pub mod fused;
pub mod generate;
pub mod inspect;
pub mod layers;
pub mod loss;
pub mod models;
pub mod numerics;
pub mod objectives;
pub mod observer;
pub mod optim;
pub mod parameters;
pub mod peft;
pub mod prefix_tree;
pub mod rows;
pub mod schedule;
pub mod sublayers;
pub mod targets;
pub mod text_rows;
pub mod train;
pub mod weights;
pub mod worker;

pub use error::{Error, Result};
