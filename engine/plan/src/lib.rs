//! From a pipeline file to finished stages: graph, keys, store, lock, scheduler. Knows ids, bytes and paths, no tensor and
//! no row.

pub mod graph;
pub mod sources;
