//! Full fine-tuning: every tensor of the base model trains, a tied head once. Saved as a whole model.

use std::path::Path;

use tch::{Kind, Tensor};

use super::Method;
use crate::error::Result;
use crate::models::Model;
use crate::parameters::Stores;
use crate::weights::write_model;

/// Full fine-tuning.
#[derive(Debug, Clone, Copy)]
pub struct Full;

impl Method for Full {
    fn name(&self) -> &'static str {
        "full"
    }

    fn kept_as(&self, _frozen: Kind) -> Kind {
        Kind::Float
    }

    fn own(&self, name: &str, tensor: Tensor, stores: &mut Stores) -> Result<Tensor> {
        stores.trainable.add(name, &tensor)
    }

    fn save(&self, model: &Model, _base: Option<&str>, folder: &Path) -> Result<()> {
        let (config, tensors) = model.merged_tensors()?;
        write_model(folder, &config, &tensors)
    }
}
