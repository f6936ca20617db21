//! No method: the base model as it is. Nothing trains; for evaluation.

use std::path::Path;

use tch::Tensor;

use super::Method;
use crate::error::Result;
use crate::models::Model;
use crate::parameters::Stores;
use crate::weights::write_model;

/// The base model as it is.
#[derive(Debug, Clone, Copy)]
pub struct Frozen;

impl Method for Frozen {
    fn name(&self) -> &'static str {
        "frozen"
    }

    fn own_head(&self, name: &str, tensor: Tensor, stores: &mut Stores) -> Result<Tensor> {
        stores.freeze(name, tensor)
    }

    fn save(&self, model: &Model, _base: Option<&str>, folder: &Path) -> Result<()> {
        let (config, tensors) = model.merged_tensors()?;
        write_model(folder, &config, &tensors)
    }
}
