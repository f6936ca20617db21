//! No method: the base model as it is. Nothing trains; for evaluation.

use std::path::Path;

use super::Method;
use crate::error::Result;
use crate::peft::Saved;
use crate::weights::write_model;

/// The base model as it is.
#[derive(Debug, Clone, Copy)]
pub struct Frozen;

impl Method for Frozen {
    fn name(&self) -> &'static str {
        "frozen"
    }

    fn trains_head(&self) -> bool {
        false
    }

    fn save(&self, saved: &Saved, folder: &Path) -> Result<()> {
        let (config, tensors) = saved.model.merged_tensors()?;
        write_model(folder, &config, &tensors)
    }
}
