//! One safetensors file over a memory map: its header is checked, its tensors are copied out one by one. Knows nothing
//! of folders, shards and models.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata, SafeTensorError, SafeTensors};
use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};

/// So many bytes are copied at once: a multiple of the size of every kind of number, and so few that the memory for them
/// is used again and again.
const PART: usize = 1 << 18;

/// After so many parts their pages are given back.
const PARTS: usize = 4;

/// The header's length stands in the first eight bytes.
const LENGTH_BYTES: usize = 8;

/// An open safetensors file.
#[derive(Debug)]
pub struct SafetensorsFile {
    path: PathBuf,
    map: Mmap,
    header: Metadata,
    data_start: usize,
}

impl SafetensorsFile {
    /// Opens and checks a file: header, offsets, and that the file is as long as its header says.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
        #[expect(unsafe_code, reason = "a file can only be memory-mapped by an unsafe call")]
        // SAFETY: the map is read-only. Inputs of a stage are not written while it runs; a file that another program
        // cuts short at the same time can raise a bus error, which ends this worker process and nothing else.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| Error::io("map", path, error))?;
        let (header_length, header) = SafeTensors::read_metadata(&map).map_err(|error| damaged(path, &error))?;
        Ok(Self { path: path.to_owned(), map, header, data_start: LENGTH_BYTES + header_length })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        self.header.tensors().into_keys().collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    /// The header's free text entries.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        self.header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// The shape of the tensor `name`.
    pub fn shape(&self, name: &str) -> Option<Vec<i64>> {
        let info = self.header.info(name)?;
        info.shape.iter().map(|&size| i64::try_from(size).ok()).collect()
    }

    /// Copies the tensor `name` to `device` as `kind`. Files may hold float32, float16 or bfloat16.
    pub fn tensor(&self, name: &str, device: Device, kind: Kind) -> Result<Tensor> {
        let (Some(info), Some(shape)) = (self.header.info(name), self.shape(name)) else {
            return Err(Error::file(&self.path, format!("has no tensor `{name}`"), "check the file's source"));
        };
        let stored = match info.dtype {
            Dtype::F32 => Kind::Float,
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            other => {
                return Err(Error::file(
                    &self.path,
                    format!("the tensor `{name}` is stored as {other:?}"),
                    "only F32, F16 and BF16 weights can be read; take a checkpoint that is not quantized",
                ));
            }
        };
        let (start, end) = info.data_offsets;
        let bytes = self.data_start + start..self.data_start + end;
        let _guard = tch::no_grad_guard();
        let tensor = Tensor::f_empty(&shape, (kind, device))?;
        let flat = tensor.f_view(-1)?;
        let mut done = 0;
        for (index, from) in bytes.clone().step_by(PART).enumerate() {
            let to = bytes.end.min(from + PART);
            let Some(part) = self.map.get(from..to) else {
                return Err(damaged(&self.path, &SafeTensorError::MetadataIncompleteBuffer));
            };
            let count = (part.len() / stored.elt_size_in_bytes()) as i64;
            flat.f_narrow(0, done, count)?.f_copy_(&Tensor::f_from_data_size(part, &[count], stored)?)?;
            done += count;
            if to == bytes.end || index % PARTS == PARTS - 1 {
                self.forget();
            }
        }
        Ok(tensor)
    }

    /// Gives back the pages that were read: as long as a process has them mapped they count as its resident memory. All of
    /// the map, since reading a page may map others around it.
    #[cfg(unix)]
    fn forget(&self) {
        #[expect(unsafe_code, reason = "pages can only be given back by an unsafe call")]
        // SAFETY: the map is read-only and of a file: pages that are needed again are read from the file again. Whether it
        // works changes nothing but memory.
        let _ = unsafe { self.map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
    }

    #[cfg(not(unix))]
    fn forget(&self) {}
}

fn damaged(path: &Path, error: &SafeTensorError) -> Error {
    let problem = match error {
        SafeTensorError::MetadataIncompleteBuffer => "the file is shorter or longer than its header says".to_owned(),
        SafeTensorError::InvalidHeaderLength | SafeTensorError::HeaderTooSmall => {
            "the file ends inside its header".to_owned()
        }
        SafeTensorError::HeaderTooLarge => "the header claims more than 100 MB: this is no safetensors file".to_owned(),
        SafeTensorError::TensorInvalidInfo => "a tensor's shape does not fit its number of bytes".to_owned(),
        SafeTensorError::InvalidOffset(name) => format!("the place of the tensor `{name}` in the file is not valid"),
        other => format!("is no valid safetensors file: {other}"),
    };
    Error::file(path, problem, "fetch the file again; the download may have been cut short")
}
