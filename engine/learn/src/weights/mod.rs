//! Where a model's tensors come from and where they go: checkpoints in Hugging Face layout, fresh random values, tensors
//! that are already in memory. Knows names, shapes and bytes; no layer and no method.

mod checkpoint;
mod copied;
mod memory;
mod prefix;
mod random;
mod safetensors_file;
mod twister;
mod write;

use std::fmt::Debug;

use tch::{Kind, Tensor};

use crate::error::Result;

pub use checkpoint::Checkpoint;
pub(crate) use copied::{copied as read_tensor, shape as shape_of};
pub use memory::InMemory;
pub use prefix::WithoutPrefix;
pub use random::Random;
pub use safetensors_file::SafetensorsFile;
pub use twister::Twister;
pub use write::{write_json, write_model, write_tensors, write_tensors_with};

/// The first values of a tensor that no file holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// The same value everywhere.
    Constant(f64),
    /// Normal with mean zero and this standard deviation.
    Normal(f64),
    /// The same without what is further from zero than two deviations.
    TruncatedNormal(f64),
    /// Uniform between minus and plus this bound.
    Uniform(f64),
}

/// Gives the first values of tensors that a method adds, and of heads that are newly made.
pub trait Fresh: Debug {
    /// The float32 tensor `name` of `shape`, drawn as `init` says. The same name gives the same values.
    fn draw(&self, name: &str, shape: &[i64], init: Init) -> Result<Tensor>;
}

/// Gives a model its tensors by their checkpoint names.
pub trait Source {
    /// The tensor `name` with exactly `shape`, as `kind`. A source that holds no tensors makes one by `init`; another
    /// ignores it. Asked twice for the same name, it may give the same storage.
    fn tensor(&mut self, name: &str, shape: &[i64], init: Init, kind: Kind) -> Result<Tensor>;

    /// The tensor `name` as `kind`, if the source has it although the model can do without.
    fn extra(&mut self, name: &str, kind: Kind) -> Result<Option<Tensor>>;

    /// Whether the source has the tensor `name`; one that makes tensors as they are asked for has every one.
    fn holds(&self, name: &str) -> bool;

    /// Sets aside the tensors whose names begin with `prefix`: the model knowingly does without them. Returns their names.
    fn leave_out(&mut self, prefix: &str) -> Vec<String>;

    /// Ends the reading: tensors that the source has and that the model did not ask for are an error.
    fn finish(&mut self) -> Result<()>;
}
