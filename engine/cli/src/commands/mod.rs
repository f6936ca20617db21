//! The commands: one file each.

pub mod check;
pub mod completions;
pub mod diff;
pub mod doctor;
pub mod estimate;
pub mod export;
pub mod gc;
pub mod graph;
pub mod history;
pub mod import;
pub mod job;
pub mod plan;
pub mod preview;
pub mod run;
pub mod schema;
pub mod show;
pub mod try_model;
