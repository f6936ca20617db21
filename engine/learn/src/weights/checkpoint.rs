//! A model folder in Hugging Face layout: `config.json` beside `model.safetensors`, or beside shards and
//! `model.safetensors.index.json`. Accounts for every tensor: used by the model, or named in an error.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use tch::{Device, Kind, Tensor};

use super::{Init, SafetensorsFile, Source};
use crate::error::{Error, Result, nearest, some_of};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The open weight files of a model folder.
#[derive(Debug)]
pub struct Checkpoint {
    folder: PathBuf,
    files: Vec<SafetensorsFile>,
    /// Tensor name to the place of its file in `files`.
    holders: BTreeMap<String, usize>,
    unused: BTreeSet<String>,
    device: Device,
    kind: Kind,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens the weight files of `folder`; tensors are then copied to `device` as `kind`, one at a time.
    pub fn open(folder: &Path, device: Device, kind: Kind) -> Result<Self> {
        let single = folder.join(SINGLE);
        let index = folder.join(INDEX);
        let (files, holders) = if single.is_file() {
            let file = SafetensorsFile::open(&single)?;
            let holders = file.names().into_iter().map(|name| (name, 0)).collect();
            (vec![file], holders)
        } else if index.is_file() {
            open_shards(folder, &index)?
        } else {
            return Err(no_weights(folder));
        };
        let unused = holders.keys().cloned().collect();
        Ok(Self { folder: folder.to_owned(), files, holders, unused, device, kind })
    }

    /// Whether a tensor's name begins so.
    pub fn any_begins(&self, prefix: &str) -> bool {
        self.holders.keys().any(|name| name.starts_with(prefix))
    }

    fn file(&self, name: &str) -> Option<&SafetensorsFile> {
        self.holders.get(name).and_then(|&place| self.files.get(place))
    }
}

impl Source for Checkpoint {
    fn tensor(&mut self, name: &str, shape: &[i64], _init: Init) -> Result<Tensor> {
        let Some(file) = self.file(name) else {
            let near = nearest(name, self.unused.iter().map(String::as_str));
            let hint = match near {
                Some(near) => {
                    format!("the nearest name there is `{near}`; check that config.json belongs to these weights")
                }
                None => "check that config.json belongs to these weights".to_owned(),
            };
            return Err(Error::file(
                &self.folder,
                format!("the weights have no tensor `{name}`, which config.json asks for"),
                hint,
            ));
        };
        let stored = file.shape(name).unwrap_or_default();
        if stored != shape {
            return Err(Error::file(
                file.path(),
                format!("the tensor `{name}` has shape {stored:?}, config.json asks for {shape:?}"),
                "check that config.json belongs to these weights",
            ));
        }
        let tensor = file.tensor(name, self.device, self.kind)?;
        self.unused.remove(name);
        Ok(tensor)
    }

    fn extra(&mut self, name: &str) -> Result<Option<Tensor>> {
        let Some(file) = self.file(name) else { return Ok(None) };
        let tensor = file.tensor(name, self.device, self.kind)?;
        self.unused.remove(name);
        Ok(Some(tensor))
    }

    fn holds(&self, name: &str) -> bool {
        self.holders.contains_key(name)
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
            &self.folder,
            format!(
                "{} of the weights' tensors have no place in the model: {}",
                self.unused.len(),
                some_of(self.unused.iter().map(String::as_str))
            ),
            "check that config.json belongs to these weights (number of layers, biases, tied head)",
        ))
    }
}

fn open_shards(folder: &Path, index_path: &Path) -> Result<(Vec<SafetensorsFile>, BTreeMap<String, usize>)> {
    let text = std::fs::read(index_path).map_err(|error| Error::io("read", index_path, error))?;
    let index: Index = serde_json::from_slice(&text).map_err(|error| {
        Error::file(index_path, format!("is no valid index of shards: {error}"), "fetch the file again")
    })?;
    let shards: BTreeSet<&str> = index.weight_map.values().map(String::as_str).collect();
    let mut files = Vec::new();
    let mut holders = BTreeMap::new();
    for shard in shards {
        if Path::new(shard).components().count() != 1 || shard == ".." {
            return Err(Error::file(
                index_path,
                format!("names the shard `{shard}`, which is not a file of this folder"),
                "take the checkpoint from a source you trust",
            ));
        }
        let path = folder.join(shard);
        if !path.is_file() {
            return Err(Error::file(
                &path,
                format!("this shard is not there, {INDEX} names it"),
                "fetch the folder again; the download may have been cut short",
            ));
        }
        let file = SafetensorsFile::open(&path)?;
        let place = files.len();
        for name in file.names() {
            if index.weight_map.get(&name).map(String::as_str) != Some(shard) {
                return Err(Error::file(
                    &path,
                    format!("holds the tensor `{name}`, {INDEX} places it elsewhere or nowhere"),
                    "fetch the folder again; index and shards are of different versions",
                ));
            }
            holders.insert(name, place);
        }
        files.push(file);
    }
    for (name, shard) in &index.weight_map {
        if !holders.contains_key(name) {
            return Err(Error::file(
                &folder.join(shard),
                format!("has no tensor `{name}`, {INDEX} places it there"),
                "fetch the folder again; index and shards are of different versions",
            ));
        }
    }
    Ok((files, holders))
}

fn no_weights(folder: &Path) -> Error {
    if !folder.is_dir() {
        return Error::file(folder, "there is no such folder", "give a folder with config.json and model.safetensors");
    }
    if folder.join("pytorch_model.bin").exists() || folder.join("pytorch_model.bin.index.json").exists() {
        return Error::file(
            folder,
            "has its weights only as pytorch_model.bin",
            "take a revision with model.safetensors, or convert it with transformers (save_pretrained)",
        );
    }
    Error::file(folder, format!("has neither {SINGLE} nor {INDEX}"), "give a folder in Hugging Face layout")
}
