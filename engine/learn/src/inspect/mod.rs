//! What training did to a model's matrices: how far each moved, in which directions, and how it compares with what it was.
//! One matrix at a time, on the CPU, in float64; a low-rank change stays two factors wherever that is enough. Knows folders
//! of models and adapters, and formulas; no pipeline file, and not how figures are written.

mod adapter;
mod amplification;
mod base;
mod change;
mod magnitude_direction;
mod matrices;
mod subspaces;
mod update_norms;

pub use adapter::{Adapter, Part};
pub use amplification::{Amplification, amplification};
pub use base::Base;
pub use change::{Change, Directions, Factors, Rows};
pub use magnitude_direction::{MagnitudeDirection, Trend, magnitude_direction, trend};
pub use matrices::{Matrices, Matrix};
pub use subspaces::{right_vectors, similarity, usual_numbers};
pub use update_norms::{UpdateNorms, update_norms};
