//! The file of an adapter's tensors: `adapter_model.safetensors`, or `adapter_model.bin`, which PEFT wrote by `torch.save`
//! in earlier years and still writes when asked to. Knows neither a method nor a key.

use std::path::{Path, PathBuf};

use tch::{Device, Kind, Tensor};
use tensor_files::TensorFile;

use super::WEIGHTS;
use crate::error::Result;
use crate::weights::{read_tensor, shape_of};

/// The same tensors by `torch.save`.
const OLDER: &str = "adapter_model.bin";

/// Where the tensors of the adapter in `folder` are; the safetensors file where there are both, as in PEFT.
pub fn path(folder: &Path) -> PathBuf {
    let (newer, older) = (folder.join(WEIGHTS), folder.join(OLDER));
    if !newer.is_file() && older.is_file() { older } else { newer }
}

/// The open file of an adapter's tensors.
#[derive(Debug)]
pub struct AdapterFile(TensorFile);

impl AdapterFile {
    /// Opens and checks the file of the adapter in `folder`. A pickle may name tensors and nothing else.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = path(folder);
        let older = path.extension().is_some_and(|extension| extension == "bin");
        Ok(Self(if older { TensorFile::torch(&path)? } else { TensorFile::safetensors(&path)? }))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The keys of all tensors, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.tensors().keys().map(String::as_str)
    }

    /// The shape of the tensor `key`.
    pub fn shape(&self, key: &str) -> Option<Vec<i64>> {
        shape_of(self.0.tensors().get(key)?)
    }

    /// The tensor `key` in float32, in the machine's own memory.
    pub fn tensor(&self, key: &str) -> Result<Tensor> {
        read_tensor(&self.0, key, Device::Cpu, Kind::Float)
    }
}
