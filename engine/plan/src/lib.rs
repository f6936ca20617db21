//! plan
pub mod digest;
pub mod file_error;
pub mod store;
