//! Who is told how a long piece of work goes, and may end it. Knows no output.

/// Follows a piece of work.
pub trait Observer {
    /// `done` of `total` units are done. `note` makes the figures of the moment; it is called only when they are shown.
    fn progress(&mut self, done: u64, total: u64, unit: &str, note: &dyn Fn() -> String);

    /// Whether progress would be shown now. Figures that are dear to get are then got.
    fn due(&self) -> bool;

    /// Something a person should know though the work goes on.
    fn warning(&mut self, message: String);

    /// Whether the work is to be ended, at the next place where it can go on later.
    fn interrupted(&self) -> bool;
}

/// Follows nothing.
#[derive(Debug, Clone, Copy)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn progress(&mut self, _: u64, _: u64, _: &str, _: &dyn Fn() -> String) {}

    fn due(&self) -> bool {
        false
    }

    fn warning(&mut self, _: String) {}

    fn interrupted(&self) -> bool {
        false
    }
}
