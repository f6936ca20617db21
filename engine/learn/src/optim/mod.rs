//! What turns gradients into new weights: all tensors that train in one buffer, AdamW over it, clipping, and
//! penalties, the scaling of losses. Knows no model and no loss.

mod adamw;
mod clip;
mod flat;
mod loss_scale;
mod orthogonality;

pub use adamw::{AdamW, Moments};
pub use clip::clip;
pub use flat::{Flat, Group};
pub use loss_scale::LossScale;
pub use orthogonality::{Orthogonality, Side};
