//! The whole program, as people use it: real pipelines in folders of their own, done by the built `engine` and
//! `engine-worker`. One file a subject.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod adapters;
mod arguments;
mod beside;
mod cache;
mod choices;
mod choosing;
mod clones;
mod commands;
mod data;
mod diff;
mod disks;
mod encoders;
mod estimate;
mod execution;
mod exporting;
mod failures;
mod faults;
mod gc;
mod generating;
mod history;
mod hostile;
mod hub;
mod importing;
mod inspecting;
mod interrupts;
mod latency;
mod merging;
mod mistakes;
mod pins;
mod project;
mod prompts;
mod published;
mod selection;
mod sizes;
mod slices;
mod studies;
mod tiny;
mod training;
mod trying;
mod validating;
mod versions;
