//! Rows: how they are read, divided, rendered by templates and made into tokens, and how files are brought in.
//! Pure Rust over arrow and rayon; knows no graph, no store and no tensor.

pub mod download;
pub mod error;
pub mod job;
pub mod preprocess;
pub mod preview;
pub mod rows;
pub mod splits;
pub mod table;
pub mod template;
pub mod tokenize;
pub mod tokens;

pub use error::Error;
