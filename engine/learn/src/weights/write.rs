//! Writes tensors as safetensors, and a whole model in Hugging Face layout. Knows nothing of layers and methods.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, View, serialize_to_file};
use serde_json::Value;
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};

/// Writes a model folder: `config.json` as given and `model.safetensors` with these tensors. Creates the folder.
pub fn write_model(folder: &Path, config: &Value, tensors: &[(String, Tensor)]) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, error))?;
    write_json(&folder.join("config.json"), config)?;
    write_tensors(&folder.join("model.safetensors"), tensors)
}

/// Writes a safetensors file with the metadata `{"format": "pt"}`, which transformers and PEFT ask for. The bytes depend
/// on names and values alone.
pub fn write_tensors(path: &Path, tensors: &[(String, Tensor)]) -> Result<()> {
    write_tensors_with(path, tensors, HashMap::from([("format".to_owned(), "pt".to_owned())]))
}

/// Writes a safetensors file with free text entries of its own in the header.
pub fn write_tensors_with(path: &Path, tensors: &[(String, Tensor)], metadata: HashMap<String, String>) -> Result<()> {
    let views =
        tensors.iter().map(|(name, tensor)| Ok((name, HostTensor::new(name, tensor)?))).collect::<Result<Vec<_>>>()?;
    serialize_to_file(views, Some(metadata), path).map_err(|error| match error {
        safetensors::SafeTensorError::IoError(source) => Error::io("write", path, source),
        other => Error::file(path, format!("cannot be written: {other}"), "check the tensors' names"),
    })
}

/// Writes `value` as indented JSON with a line end.
pub fn write_json(path: &Path, value: &Value) -> Result<()> {
    let text = format!("{value:#}\n");
    std::fs::write(path, text).map_err(|error| Error::io("write", path, error))
}

/// A contiguous tensor in the machine's own memory.
struct HostTensor {
    tensor: Tensor,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: usize,
}

impl HostTensor {
    fn new(name: &str, tensor: &Tensor) -> Result<Self> {
        let kind = tensor.f_kind()?;
        let dtype = match kind {
            Kind::Float => Dtype::F32,
            Kind::Half => Dtype::F16,
            Kind::BFloat16 => Dtype::BF16,
            other => {
                return Err(Error::setting(name, format!("a tensor of kind {other:?} cannot be saved"), "save floats"));
            }
        };
        let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
        let shape = tensor.size().into_iter().map(|size| usize::try_from(size).unwrap_or(0)).collect();
        let bytes = tensor.numel() * kind.elt_size_in_bytes();
        Ok(Self { tensor, dtype, shape, bytes })
    }
}

impl View for HostTensor {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    #[expect(unsafe_code, reason = "the bytes of a libtorch tensor are reached by its data pointer alone")]
    fn data(&self) -> Cow<'_, [u8]> {
        if self.bytes == 0 {
            return Cow::Borrowed(&[]);
        }
        // SAFETY: the tensor is contiguous, on the CPU, and lives as long as `self`; `bytes` is its length, and nothing
        // writes to it while the file is written.
        Cow::Borrowed(unsafe { std::slice::from_raw_parts(self.tensor.data_ptr().cast::<u8>(), self.bytes) })
    }

    fn data_len(&self) -> usize {
        self.bytes
    }
}
