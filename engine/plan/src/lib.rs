//! plan
pub mod digest;
pub mod file_error;
pub mod lockfile;
pub mod process;
pub mod remembered;
pub mod store;
pub mod views;
