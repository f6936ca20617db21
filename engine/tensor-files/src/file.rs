//! One file of tensors over a memory map. Knows nothing of folders, shards and models.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use crate::error::{Damage, Error};
use crate::parts::Parts;
use crate::safetensors::{self, Header};
use crate::stored::Stored;
use crate::torch;

/// An open file of tensors.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    map: Mmap,
    header: Header,
}

impl TensorFile {
    /// Opens and checks a safetensors file: header, offsets, and that the file is as long as its header says.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub fn safetensors(path: &Path) -> Result<Self, Error> {
        Self::open(path, safetensors::read)
    }

    /// Opens and checks a file of `torch.save`; none of its numbers are read.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or holds more than tensors by name.
    pub fn torch(path: &Path) -> Result<Self, Error> {
        Self::open(path, |bytes| Ok(Header { tensors: torch::read(bytes)?, metadata: BTreeMap::new() }))
    }

    fn open(path: &Path, read: impl Fn(&[u8]) -> Result<Header, Damage>) -> Result<Self, Error> {
        let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
        #[expect(unsafe_code, reason = "a file can only be memory-mapped by an unsafe call")]
        // SAFETY: the map is read-only. Inputs of a stage are not written while it runs; a file that another program
        // cuts short at the same time can raise a bus error, which ends this process and nothing else.
        let map = unsafe { Mmap::map(&file) }.map_err(|error| Error::io("map", path, error))?;
        let header = read(&map).map_err(|damage| damage.at(path))?;
        let file = Self { path: path.to_owned(), map, header };
        file.forget();
        Ok(file)
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, Stored> {
        &self.header.tensors
    }

    /// Free text entries; a file of `torch.save` has none.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.header.metadata
    }

    /// The tensor `name` in parts of at most `most` bytes.
    ///
    /// # Errors
    /// When the file has no such tensor, or its values cannot be read.
    pub fn parts(&self, name: &str, most: usize) -> Result<Parts<'_>, Error> {
        let Some(stored) = self.header.tensors.get(name) else {
            return Err(Error::file(&self.path, format!("has no tensor `{name}`"), "check the file's source"));
        };
        stored.parts(&self.map, most).map_err(|damage| self.about(name, damage))
    }

    /// What is wrong with the tensor `name`.
    pub fn about(&self, name: &str, damage: Damage) -> Error {
        Error::file(&self.path, format!("the tensor `{name}` {}", damage.problem), damage.hint)
    }

    /// Gives back the pages that were read: as long as a process has them mapped they count as its resident memory. All of
    /// the map, since reading a page may map others around it.
    #[cfg(unix)]
    pub fn forget(&self) {
        #[expect(unsafe_code, reason = "pages can only be given back by an unsafe call")]
        // SAFETY: the map is read-only and of a file: pages that are needed again are read from the file again. Whether it
        // works changes nothing but memory.
        let _ = unsafe { self.map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
    }

    /// Nothing to give back here.
    #[cfg(not(unix))]
    pub fn forget(&self) {}
}
