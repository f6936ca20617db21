//! Names, shapes and bytes of tensors in files: safetensors, and what `torch.save` writes. Pure Rust over a memory map;
//! knows no tensor library and no model. Nothing of a file is run, and nothing in it is believed.

mod error;
mod file;
mod folder;
mod parts;
pub mod pickle;
mod safetensors;
mod stored;
mod torch;

pub use error::{Damage, Error};
pub use file::TensorFile;
pub use folder::{Index, WeightFiles};
pub use parts::{Part, Parts};
pub use safetensors::{Header, read as read_safetensors};
pub use stored::{Dtype, Stored};
pub use torch::read as read_torch;
