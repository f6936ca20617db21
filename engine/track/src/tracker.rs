//! What every tracker can be told. Knows no particular one.

use crate::{
    http::Trouble,
    run::{Left, Point, Run},
};

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Ended {
    /// It is done, and this is left of it.
    Done(Box<Left>),
    /// It failed, and why. It may begin again.
    Failed(String),
}

/// One tracker of experiments. Whatever it is told may be told twice: after a kill nobody knows what the last word was.
pub trait Tracker: Send {
    /// What it is and where, for messages and to tell it from others: `MLflow at http://127.0.0.1:5000`.
    fn name(&self) -> String;

    /// What tells its runs from those of another place at the same tracker: an experiment, a project.
    fn place(&self) -> String;

    /// Begins a run, or takes it up again as `known`, and gives its name there. `at` is when it began, in seconds since 1970.
    ///
    /// # Errors
    /// When the tracker is away or refuses.
    fn begin(&mut self, run: &Run, known: Option<&str>, at: f64) -> Result<String, Trouble>;

    /// Adds figures to a run.
    ///
    /// # Errors
    /// When the tracker is away or refuses.
    fn add(&mut self, id: &str, points: &[Point]) -> Result<(), Trouble>;

    /// Ends a run. What could not be kept for good, such as a file that is too large, is said in words.
    ///
    /// # Errors
    /// When the tracker is away or refuses.
    fn end(&mut self, id: &str, run: &Run, ended: &Ended) -> Result<Vec<String>, Trouble>;
}
