//! Linear maps with something low-rank beside them as single functions of autograd, written in C++: what each keeps for
//! its backward pass is chosen there, and the rest is computed again. Knows tensors and formulas; no method's settings,
//! no model and no optimiser.

mod boundary;
mod dora;
mod dropout;
mod low_rank;
mod saved;
mod version;

pub use dora::{DoraMap, Ratio, RowNorms, dora};
pub use dropout::Dropout;
pub use low_rank::low_rank;
pub use saved::saved_bytes;
pub use version::{Version, share_version};
