//! What a training began with: the matrices of a model folder, changed by the adapters that were trained before. Knows
//! which folder stands on which; no formula.

use std::path::Path;

use tch::Tensor;

use super::adapter::{Adapter, Part};
use super::matrices::Matrices;
use crate::error::{Error, Result};

/// The weights before a training.
#[derive(Debug)]
pub struct Base {
    matrices: Matrices,
    /// The adapters that it stands on, the oldest first.
    adapters: Vec<Adapter>,
}

impl Base {
    /// The model in `folder`.
    pub fn whole(folder: &Path) -> Result<Self> {
        Ok(Self { matrices: Matrices::open(folder)?, adapters: Vec::new() })
    }

    /// The same with the adapter in `folder` merged into it.
    pub fn adapted(mut self, folder: &Path) -> Result<Self> {
        let adapter = Adapter::open(folder)?;
        for part in adapter.parts() {
            if let Part::Other(method @ ("ia3" | "vera")) = part {
                let problem = format!("is an adapter of `{method}`, whose change of a matrix is not known here");
                return Err(Error::file(folder, problem, "merge it by a `merge` stage, and train on what that leaves"));
            }
        }
        self.adapters.push(adapter);
        Ok(self)
    }

    /// The matrices.
    pub fn matrices(&self) -> &Matrices {
        &self.matrices
    }

    /// The numbers `[outputs, inputs]` of a matrix in float64.
    pub fn weight(&self, name: &str) -> Result<Option<Tensor>> {
        let Some(mut weight) = self.matrices.weight(name)? else { return Ok(None) };
        for adapter in &self.adapters {
            if let Some(change) = adapter.change(name)? {
                weight = weight.f_add(&change.dense(&weight)?)?;
            }
        }
        Ok(Some(weight))
    }
}
