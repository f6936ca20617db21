//! data

pub mod metrics;
