//! The parts that model families share: linear maps, norms, rotary embedding, attention and its cache, joins.
//! They take plain numbers and tensors; they know no configuration file, no checkpoint and no method.

mod activation;
mod activations;
mod attention;
mod blocks;
mod cache;
mod join;
mod layer_norm;
mod linear;
mod lookup;
mod packed;
mod prefix;
mod rms_norm;
mod rope;
mod rows;
mod several;
mod unordered;
mod unpadded;
mod virtual_tokens;

pub use activation::Activation;
pub use activations::Activations;
pub use attention::{AttentionMask, Heads, attend};
pub use blocks::{Block, Side, attend_blocks};
pub use cache::{Cache, Columns, View};
pub use join::{Join, Sum};
pub use layer_norm::LayerNorm;
pub use linear::{Linear, LinearMap};
pub use lookup::{Lookup, Table};
pub use packed::{Front, Packed, Sight};
pub use prefix::{KeysBefore, Prefix, PrefixSizes, Values, in_front, of_layer};
pub use rms_norm::{Norm, OffsetRmsNorm, RmsNorm};
pub use rope::{Angles, Llama3Scaling, Rope, RopeScaling};
pub use rows::Rows;
pub use several::{Several, Stacked};
pub use unordered::{attend_unordered, dropped};
pub use unpadded::Unpadded;
pub use virtual_tokens::VirtualTokens;

/// Whether a forward pass is one of training, with dropout, or one of evaluation, without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Dropout is drawn from libtorch's global generator, which [`Activations`] has seeded.
    Train,
    /// No dropout; the result depends on the inputs alone.
    Eval,
}

impl Mode {
    /// The dropout probability that is in force: `probability` in training, zero otherwise.
    pub fn dropout(self, probability: f64) -> f64 {
        match self {
            Self::Train => probability,
            Self::Eval => 0.0,
        }
    }
}
