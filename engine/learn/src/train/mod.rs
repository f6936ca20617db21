//! Training: the loop over steps, validation, checkpoints and the history of losses. Knows a model and its rows; not
//! where they came from, what a pipeline file says, or how the result is saved.

mod checkpoint;
mod history;
mod resume;
mod run;
mod settings;
mod snapshots;
mod step;
mod validation;

pub use resume::Times;
pub use run::{Outcome, Training};
pub use settings::{Best, Every, Length, Settings, Validate, Warmup};
pub use snapshots::{Saves, Snapshots};
pub use step::{Done, Rule, Weights};
pub use validation::{Asks, Figures, Scored, loss_of};
