//! The store on a real file system, with real processes that are killed.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod damage;
mod faults;
mod help;
mod runs;
mod sweep;
