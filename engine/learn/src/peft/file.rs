//! The file of an adapter's tensors: `adapter_model.safetensors`, or `adapter_model.bin`, which PEFT wrote by `torch.save`
//! in earlier years and still writes when asked to. Knows neither a method nor a key.

use std::path::{Path, PathBuf};

use tch::{Device, Kind, Tensor};
use tensor_files::TensorFile;

use super::WEIGHTS;
use super::slices::{self, Cut, Slices};
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
pub struct AdapterFile {
    file: TensorFile,
    /// Tensors of slices of fused maps, which stand in the place of those that the file holds.
    cuts: Vec<Cut>,
    /// Tensors of slices that the file holds multiplied.
    as_trained: Option<TensorFile>,
}

impl AdapterFile {
    /// Opens and checks the file of the adapter in `folder`. A pickle may name tensors and nothing else.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = path(folder);
        let older = path.extension().is_some_and(|extension| extension == "bin");
        let file = if older { TensorFile::torch(&path)? } else { TensorFile::safetensors(&path)? };
        Ok(Self { file, cuts: Vec::new(), as_trained: None })
    }

    /// The same with the tensors of slices of fused maps, where it was trained on some, in the place of those of the whole
    /// maps that PEFT has.
    pub fn open_slices(folder: &Path) -> Result<Self> {
        let file = Self::open(folder)?;
        let cuts = Slices::read(folder)?.cuts(|key| file.shape(key), file.path())?;
        let as_trained = slices::as_trained(folder).map(|path| TensorFile::safetensors(&path)).transpose()?;
        Ok(Self { cuts, as_trained, ..file })
    }

    fn cut(&self, key: &str) -> Option<&Cut> {
        self.cuts.iter().find(|cut| cut.key == key)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The keys of all tensors: sorted, and behind them those of slices.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let whole = self.file.tensors().keys().filter(|key| !self.cuts.iter().any(|cut| cut.of == **key));
        whole.chain(self.cuts.iter().map(|cut| &cut.key)).map(String::as_str)
    }

    /// The shape of the tensor `key`.
    pub fn shape(&self, key: &str) -> Option<Vec<i64>> {
        match self.cut(key) {
            Some(cut) => Some(cut.shape.clone()),
            None => shape_of(self.file.tensors().get(key)?),
        }
    }

    /// The tensor `key` in float32, in the machine's own memory.
    pub fn tensor(&self, key: &str) -> Result<Tensor> {
        let read = |file: &TensorFile, key: &str| read_tensor(file, key, Device::Cpu, Kind::Float);
        match (self.cut(key), &self.as_trained) {
            (None, _) => read(&self.file, key),
            (Some(_), Some(file)) if file.tensors().contains_key(key) => read(file, key),
            (Some(cut), _) => cut.of(&read(&self.file, &cut.of)?),
        }
    }
}
