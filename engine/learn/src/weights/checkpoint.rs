//! A model folder in Hugging Face layout as a source of tensors: `config.json` beside weights in one file or in shards.
//! Accounts for every tensor: used by the model, or named in an error. Which files there are is known elsewhere.

use std::collections::BTreeSet;
use std::path::Path;

use tch::{Device, Kind, Tensor};
use tensor_files::{TensorFile, WeightFiles};

use super::copied::{copied, shape as shape_of};
use super::{Init, Source};
use crate::error::{Error, Result, nearest, some_of};

/// The open weight files of a model folder.
#[derive(Debug)]
pub struct Checkpoint {
    files: WeightFiles,
    unused: BTreeSet<String>,
    device: Device,
}

impl Checkpoint {
    /// Opens the weight files of `folder`; tensors are then copied to `device`, one at a time.
    pub fn open(folder: &Path, device: Device) -> Result<Self> {
        let files = WeightFiles::open(folder)?;
        let unused = files.names().map(str::to_owned).collect();
        Ok(Self { files, unused, device })
    }

    /// Whether a tensor's name begins so.
    pub fn any_begins(&self, prefix: &str) -> bool {
        self.files.names().any(|name| name.starts_with(prefix))
    }

    fn file(&self, name: &str) -> Option<&TensorFile> {
        self.files.holder(name)
    }
}

impl Source for Checkpoint {
    fn tensor(&mut self, name: &str, shape: &[i64], _init: Init, kind: Kind) -> Result<Tensor> {
        let Some(file) = self.file(name) else {
            let near = nearest(name, self.unused.iter().map(String::as_str));
            let hint = match near {
                Some(near) => {
                    format!("the nearest name there is `{near}`; check that config.json belongs to these weights")
                }
                None => "check that config.json belongs to these weights".to_owned(),
            };
            return Err(Error::file(
                self.files.folder(),
                format!("the weights have no tensor `{name}`, which config.json asks for"),
                hint,
            ));
        };
        let stored = file.tensors().get(name).and_then(shape_of).unwrap_or_default();
        if stored != shape {
            return Err(Error::file(
                file.path(),
                format!("the tensor `{name}` has shape {stored:?}, config.json asks for {shape:?}"),
                "check that config.json belongs to these weights",
            ));
        }
        let tensor = copied(file, name, self.device, kind)?;
        self.unused.remove(name);
        Ok(tensor)
    }

    fn extra(&mut self, name: &str, kind: Kind) -> Result<Option<Tensor>> {
        let Some(file) = self.file(name) else { return Ok(None) };
        let tensor = copied(file, name, self.device, kind)?;
        self.unused.remove(name);
        Ok(Some(tensor))
    }

    fn holds(&self, name: &str) -> bool {
        self.file(name).is_some()
    }

    fn leave_out(&mut self, prefix: &str) -> Vec<String> {
        let names: Vec<String> = self.unused.iter().filter(|name| name.starts_with(prefix)).cloned().collect();
        self.unused.retain(|name| !name.starts_with(prefix));
        names
    }

    fn finish(&mut self) -> Result<()> {
        if self.unused.is_empty() {
            return Ok(());
        }
        Err(Error::file(
            self.files.folder(),
            format!(
                "{} of the weights' tensors have no place in the model: {}",
                self.unused.len(),
                some_of(self.unused.iter().map(String::as_str))
            ),
            "check that config.json belongs to these weights (number of layers, biases, tied head)",
        ))
    }
}
