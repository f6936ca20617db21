//! The stages of this crate, run as jobs.

#![allow(clippy::unwrap_used)]

mod beside;
mod chats;
mod choices;
mod classes;
mod common;
mod converted;
mod download;
mod end_to_end;
mod golden_tokenizers;
mod hostile_tokenizers;
mod overflow;
mod preprocess_errors;
mod previews;
mod sources;
