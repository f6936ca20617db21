//! Training and the worker, from outside: golden trajectories, accumulation, resuming after a kill, precision and memory, failures.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod asked;
mod forecast;
mod golden;
mod inspect;
mod measured;
mod precision;
mod resume;
mod snapshots;
mod steps;
mod support;
mod timing;
mod worker;
#[path = "../../../tensor-files/tests/files/writer.rs"]
mod writer;
#[path = "../../../tensor-files/tests/files/zipped.rs"]
mod zipped;
