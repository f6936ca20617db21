//! Tensors that are already in memory, given to another model without a copy: an adapter's merged weights, or one
//! frozen base for several adapters.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use super::{Init, Source};
use crate::error::{Error, Result, some_of};

/// A source of tensors by name. The models that are built from it in their kinds share their storage: training one of
/// them fully changes it for all.
#[derive(Debug)]
pub struct InMemory {
    tensors: BTreeMap<String, Tensor>,
}

impl InMemory {
    /// A source of these tensors.
    pub fn new(tensors: impl IntoIterator<Item = (String, Tensor)>) -> Self {
        Self { tensors: tensors.into_iter().collect() }
    }
}

impl Source for InMemory {
    fn tensor(&mut self, name: &str, shape: &[i64], _init: Init, kind: Kind) -> Result<Tensor> {
        match self.tensors.remove(name) {
            Some(tensor) if tensor.size() == shape => Ok(tensor.f_to_kind(kind)?),
            Some(tensor) => Err(Error::setting(
                name,
                format!("has shape {:?}, the model's configuration asks for {shape:?}", tensor.size()),
                "give the configuration that belongs to these tensors",
            )),
            None => {
                Err(Error::setting(name, "the model needs this tensor and it is not there", "give all its tensors"))
            }
        }
    }

    fn extra(&mut self, name: &str, kind: Kind) -> Result<Option<Tensor>> {
        Ok(self.tensors.remove(name).map(|tensor| tensor.f_to_kind(kind)).transpose()?)
    }

    fn holds(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    fn leave_out(&mut self, prefix: &str) -> Vec<String> {
        let names: Vec<String> = self.tensors.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
        self.tensors.retain(|name, _| !name.starts_with(prefix));
        names
    }

    fn finish(&mut self) -> Result<()> {
        if self.tensors.is_empty() {
            return Ok(());
        }
        let names = some_of(self.tensors.keys().map(String::as_str));
        Err(Error::setting(
            names,
            "the model has no such tensor",
            "give the configuration that belongs to these tensors",
        ))
    }
}
