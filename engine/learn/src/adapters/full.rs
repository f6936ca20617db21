//! Full fine-tuning: every tensor of the base model trains, a tied head once. Saved as a whole model.

use std::path::Path;

use super::Method;
use crate::error::Result;
use crate::peft::Saved;
use crate::targets::Place;
use crate::weights::write_model;

/// Full fine-tuning.
#[derive(Debug, Clone, Copy)]
pub struct Full;

impl Method for Full {
    fn name(&self) -> &'static str {
        "full"
    }

    fn trains(&self, _name: &str, _of: Option<&Place>) -> bool {
        true
    }

    fn save(&self, saved: &Saved, folder: &Path) -> Result<()> {
        let (config, tensors) = saved.model.merged_tensors()?;
        write_model(folder, &config, &tensors)
    }
}
