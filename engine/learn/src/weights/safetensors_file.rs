//! One safetensors file, its tensors copied out one by one. Knows nothing of folders, shards and models.

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Device, Kind, Tensor};
use tensor_files::TensorFile;

use super::copied::copied;
use crate::error::Result;

/// An open safetensors file.
#[derive(Debug)]
pub struct SafetensorsFile(TensorFile);

impl SafetensorsFile {
    /// Opens and checks a file: header, offsets, and that the file is as long as its header says.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self(TensorFile::safetensors(path)?))
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        self.0.tensors().keys().cloned().collect()
    }

    /// The header's free text entries.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        self.0.metadata().clone()
    }

    /// The shape of the tensor `name`.
    pub fn shape(&self, name: &str) -> Option<Vec<i64>> {
        super::copied::shape(self.0.tensors().get(name)?)
    }

    /// Copies the tensor `name` to `device` as `kind`. Files may hold float32, float16 or bfloat16.
    pub fn tensor(&self, name: &str, device: Device, kind: Kind) -> Result<Tensor> {
        copied(&self.0, name, device, kind)
    }
}
