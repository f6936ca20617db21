//! The whole program, as people use it: real pipelines in folders of their own, done by the built `engine` and
//! `engine-worker`. One file a subject.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod arguments;
mod cache;
mod commands;
mod data;
mod disks;
mod execution;
mod interrupts;
mod mistakes;
mod project;
mod selection;
mod tiny;
mod training;
