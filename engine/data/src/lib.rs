//! Rows: how they are read, divided, rendered by templates and made into tokens, how files are brought in, how texts
//! are scored and what a report says. Pure Rust over arrow and rayon; knows no graph, no store and no tensor.

pub mod answers;
pub mod download;
pub mod error;
pub mod extract;
pub mod job;
pub mod join;
pub mod library;
pub mod metrics;
pub mod preprocess;
pub mod preview;
pub mod report;
pub mod rows;
pub mod select;
pub mod splits;
pub mod table;
pub mod template;
pub mod tokenize;
pub mod tokens;
pub mod typed;
pub mod worst;

pub use error::Error;
