//! From a pipeline file to finished stages: graph, keys, store, lock, scheduler. Knows ids, bytes and paths, no tensor and
//! no row.

pub mod compare;
pub mod digest;
pub mod file_error;
pub mod graph;
pub mod history;
pub mod key;
pub mod lockfile;
pub mod pins;
pub mod process;
pub mod remembered;
pub mod run;
pub mod selected;
pub mod sources;
pub mod state;
pub mod store;
pub mod views;
