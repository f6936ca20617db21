//! What turns gradients into new weights: all tensors that train in one buffer, AdamW over it, and clipping. Knows no
//! model and no loss.

mod adamw;
mod clip;
mod flat;

pub use adamw::{AdamW, Moments};
pub use clip::clip;
pub use flat::Flat;
