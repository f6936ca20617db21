//! What is computed by C++: linear maps with something low-rank beside them as single functions of autograd, which choose
//! what they keep for their backward pass, and what is done in place to the buffers of an optimiser. Knows tensors and
//! formulas; no method's settings and no model.

mod adamw;
mod boundary;
mod dora;
mod dropout;
mod low_rank;
mod saved;
mod version;

pub use adamw::{AdamWStep, adamw};
pub use dora::{DoraMap, Ratio, RowNorms, dora};
pub use dropout::Dropout;
pub use low_rank::low_rank;
pub use saved::saved_bytes;
pub use version::{Version, share_version};
