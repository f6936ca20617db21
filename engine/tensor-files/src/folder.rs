//! The weight files of a model folder in Hugging Face layout: one file, or shards and the index that says which tensor is
//! in which. safetensors come first, `pytorch_model.bin` where there are none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use crate::error::{Damage, Error, shown};
use crate::file::TensorFile;

/// A way in which weights are published.
struct Layout {
    single: &'static str,
    index: &'static str,
    open: fn(&Path) -> Result<TensorFile, Error>,
}

/// In the order in which they are looked for.
const LAYOUTS: [Layout; 2] = [
    Layout { single: "model.safetensors", index: "model.safetensors.index.json", open: TensorFile::safetensors },
    Layout { single: "pytorch_model.bin", index: "pytorch_model.bin.index.json", open: TensorFile::torch },
];

/// The open weight files of a model folder.
#[derive(Debug)]
pub struct WeightFiles {
    folder: PathBuf,
    files: Vec<TensorFile>,
    /// Tensor name to the place of its file in `files`.
    holders: BTreeMap<String, usize>,
}

/// Which shard holds which tensor.
#[derive(Debug, serde::Deserialize)]
pub struct Index {
    weight_map: WeightMap,
}

/// A map in which a name stands once.
#[derive(Debug)]
struct WeightMap(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = WeightMap;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map of tensors' names to files")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<WeightMap, A::Error> {
                let mut map = BTreeMap::new();
                while let Some((name, shard)) = entries.next_entry::<String, String>()? {
                    if let Some(other) = map.insert(name.clone(), shard) {
                        return Err(A::Error::custom(format!("`{name}` stands there twice, first in `{other}`")));
                    }
                }
                Ok(WeightMap(map))
            }
        }
        deserializer.deserialize_map(Names)
    }
}

impl Index {
    /// Reads `….index.json`. Every shard it names is a plain file name.
    ///
    /// # Errors
    /// When it is damaged, names a tensor twice, or a file that is not beside it.
    pub fn read(bytes: &[u8]) -> Result<Self, Damage> {
        let index: Self = serde_json::from_slice(bytes).map_err(|error| {
            let problem = format!("is no valid index of shards: {}", shown(&error.to_string()));
            Damage::new(problem, "fetch the file again")
        })?;
        for shard in index.shards() {
            let plain = !shard.is_empty() && !shard.contains(['/', '\\', '\0']) && shard != "." && shard != "..";
            if !plain {
                return Err(Damage::new(
                    format!("names the shard `{}`, which is not a file of this folder", shown(shard)),
                    "take the checkpoint from a source you trust",
                ));
            }
        }
        Ok(index)
    }

    /// The names of the shards.
    pub fn shards(&self) -> BTreeSet<&str> {
        self.weight_map.0.values().map(String::as_str).collect()
    }

    /// The shard of a tensor.
    pub fn shard(&self, tensor: &str) -> Option<&str> {
        self.weight_map.0.get(tensor).map(String::as_str)
    }
}

impl WeightFiles {
    /// Opens the weight files of `folder`.
    ///
    /// # Errors
    /// When there are none, one is missing or damaged, or they contradict each other.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        for layout in &LAYOUTS {
            let (single, index) = (folder.join(layout.single), folder.join(layout.index));
            if single.is_file() {
                let file = (layout.open)(&single)?;
                let holders = file.tensors().keys().map(|name| (name.clone(), 0)).collect();
                return Ok(Self { folder: folder.to_owned(), files: vec![file], holders });
            }
            if index.is_file() {
                return open_shards(folder, &index, layout);
            }
        }
        Err(no_weights(folder))
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.holders.keys().map(String::as_str)
    }

    /// The file that holds a tensor.
    pub fn holder(&self, name: &str) -> Option<&TensorFile> {
        self.holders.get(name).and_then(|&place| self.files.get(place))
    }
}

fn open_shards(folder: &Path, index_path: &Path, layout: &Layout) -> Result<WeightFiles, Error> {
    let bytes = std::fs::read(index_path).map_err(|error| Error::io("read", index_path, error))?;
    let index = Index::read(&bytes).map_err(|damage| damage.at(index_path))?;
    let of_versions = "fetch the folder again; index and shards are of different versions";
    let mut files = Vec::new();
    let mut holders = BTreeMap::new();
    for shard in index.shards() {
        let path = folder.join(shard);
        if !path.is_file() {
            return Err(Error::file(
                &path,
                format!("this shard is not there, {} names it", layout.index),
                "fetch the folder again; the download may have been cut short",
            ));
        }
        let file = (layout.open)(&path)?;
        let place = files.len();
        for name in file.tensors().keys() {
            match index.shard(name) {
                Some(stated) if stated == shard => {}
                Some(stated) => {
                    let problem =
                        format!("holds the tensor `{}`, {} places it in `{stated}`", shown(name), layout.index);
                    return Err(Error::file(&path, problem, of_versions));
                }
                None => {
                    let problem = format!("holds the tensor `{}`, {} places it nowhere", shown(name), layout.index);
                    return Err(Error::file(&path, problem, of_versions));
                }
            }
            holders.insert(name.clone(), place);
        }
        files.push(file);
    }
    for (name, shard) in &index.weight_map.0 {
        if !holders.contains_key(name) {
            let problem = format!("has no tensor `{}`, {} places it there", shown(name), layout.index);
            return Err(Error::file(&folder.join(shard), problem, of_versions));
        }
    }
    Ok(WeightFiles { folder: folder.to_owned(), files, holders })
}

fn no_weights(folder: &Path) -> Error {
    if !folder.is_dir() {
        return Error::file(folder, "there is no such folder", "give a folder with config.json and model.safetensors");
    }
    let names = "model.safetensors nor pytorch_model.bin, and no index of shards";
    for other in ["tf_model.h5", "flax_model.msgpack", "model.ckpt.index", "rust_model.ot"] {
        if folder.join(other).exists() {
            let hint = "load it with transformers and write it with save_pretrained, which makes model.safetensors";
            return Error::file(folder, format!("has neither {names}; `{other}` cannot be read"), hint);
        }
    }
    Error::file(folder, format!("has neither {names}"), "give a folder in Hugging Face layout")
}
