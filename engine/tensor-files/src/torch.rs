//! What `torch.save` writes since 1.6: a zip of `<name>/data.pkl`, which names tensors and their storages, and the
//! storages' bytes as `<name>/data/<key>`, stored without compression. Torch's notes on serialization, and
//! `torch/serialization.py`. Knows no folder and no model.
//!
//! The checksums of the zip are not compared: `torch.load` does not either, and a file that is written without them
//! (`torch.serialization.set_crc32_options`) is valid. Entries are found by the zip's own list of them, and must be within
//! the file.

use std::collections::{BTreeMap, HashMap};
use std::io::Cursor;
use std::ops::Range;

use zip::{CompressionMethod, ZipArchive};

use crate::error::{Damage, shown};
use crate::pickle::{self, Pickle, Value};
use crate::safetensors::stand_in;
use crate::stored::{Dtype, Stored};

/// What a file of torch before 1.6 begins with: the number 0x1950a86a20f9469cfc6c, pickled.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

/// A pickle of the names of 50,000 tensors has 15 MB.
const MOST_PICKLE: usize = 64 << 20;

const FETCH: &str = "fetch the file again; the download may have been cut short";
const CONVERT: &str = "load it with transformers and write it with save_pretrained, which makes model.safetensors";

/// Reads which tensors a whole file holds, and where.
///
/// # Errors
/// When the file is damaged, is of an older format, or holds more than tensors by name.
pub fn read(file: &[u8]) -> Result<BTreeMap<String, Stored>, Damage> {
    if let Some(damage) = stand_in(file) {
        return Err(damage);
    }
    if file.starts_with(LEGACY) {
        let hint = "load it with torch.load and save it with torch.save, or write the model with save_pretrained";
        return Err(Damage::new("is in the format that torch wrote before 1.6, which is not read", hint));
    }
    if !file.starts_with(b"PK") {
        let problem = "is no checkpoint of torch: it does not begin as a zip does";
        return Err(Damage::new(problem, FETCH));
    }
    let mut zip = Zip::open(file)?;
    let pickle = zip.pickle()?;
    let pickle = pickle::read(pickle)?;
    tensors(&pickle, &mut zip)
}

/// The tensors that a pickle names.
fn tensors(pickle: &Pickle<'_>, zip: &mut Zip<'_>) -> Result<BTreeMap<String, Stored>, Damage> {
    let value = |id| pickle.values.get(id).unwrap_or(&Value::Nothing);
    let Value::Map(entries) = value(pickle.top) else {
        return Err(Damage::new("holds no map of tensors by name", CONVERT));
    };
    let mut tensors = BTreeMap::new();
    for &(key, entry) in entries {
        let Value::Text(name) = value(key) else {
            return Err(Damage::new("holds a tensor whose name is no text", CONVERT));
        };
        let Value::Tensor { storage, offset, shape, strides } = value(entry) else {
            let what = match value(entry) {
                Value::Map(_) => "a map",
                Value::List(_) => "a list",
                _ => "a value",
            };
            let hint = "save the model's weights alone: `torch.save(model.state_dict(), …)`, or save_pretrained";
            return Err(Damage::new(format!("holds {what} named `{}` where a tensor should be", shown(name)), hint));
        };
        let Value::Storage { dtype, key, length } = value(*storage) else {
            return Err(Damage::new(format!("holds the tensor `{}` without a storage", shown(name)), FETCH));
        };
        let bytes = zip.storage(key, *dtype, *length)?;
        let stored = Stored::view(*dtype, shape.clone(), strides.clone(), &bytes, *offset);
        let stored = stored
            .map_err(|damage| Damage::new(format!("the tensor `{}` {}", shown(name), damage.problem), damage.hint))?;
        if tensors.insert((*name).to_owned(), stored).is_some() {
            return Err(Damage::new(format!("holds two tensors named `{}`", shown(name)), CONVERT));
        }
    }
    Ok(tensors)
}

/// The entries of the zip.
struct Zip<'a> {
    file: &'a [u8],
    archive: ZipArchive<Cursor<&'a [u8]>>,
    /// What the names of its entries begin with.
    folder: String,
    storages: HashMap<String, Range<usize>>,
}

impl<'a> Zip<'a> {
    fn open(file: &'a [u8]) -> Result<Self, Damage> {
        let archive = ZipArchive::new(Cursor::new(file)).map_err(|error| damaged(&error.to_string()))?;
        if archive.has_duplicate_names() {
            return Err(damaged("an entry stands there twice"));
        }
        let mut folders = archive.file_names_raw().filter_map(|name| {
            let folder = str::from_utf8(name).ok()?.strip_suffix("data.pkl")?;
            (folder.ends_with('/') && folder.matches('/').count() == 1).then(|| folder.to_owned())
        });
        let (folder, second) = (folders.next(), folders.next());
        drop(folders);
        let folder = match (folder, second) {
            (Some(folder), None) => folder,
            (Some(_), Some(_)) => return Err(damaged("it holds two pickles")),
            (None, _) => return Err(Damage::new("is a zip without `data.pkl`, so none of torch.save", FETCH)),
        };
        let mut zip = Self { file, archive, folder, storages: HashMap::new() };
        if zip.has("constants.pkl") {
            return Err(Damage::new("is a program of TorchScript, not weights", CONVERT));
        }
        if zip.has("byteorder") && zip.entry("byteorder")?.is_some_and(|bytes| &file[bytes] != b"little") {
            return Err(Damage::new("holds numbers with their highest byte first", CONVERT));
        }
        Ok(zip)
    }

    fn has(&self, name: &str) -> bool {
        self.archive.index_for_name(&format!("{}{name}", self.folder)).is_some()
    }

    /// Where the bytes of an entry are; nothing where there is none of the name.
    fn entry(&mut self, name: &str) -> Result<Option<Range<usize>>, Damage> {
        let Some(index) = self.archive.index_for_name(&format!("{}{name}", self.folder)) else { return Ok(None) };
        let entry = self.archive.by_index_raw(index).map_err(|error| damaged(&error.to_string()))?;
        if entry.compression() != CompressionMethod::Stored
            || entry.encrypted()
            || entry.size() != entry.compressed_size()
        {
            return Err(Damage::new(
                format!("holds the entry `{}` packed, which torch does not do", shown(name)),
                CONVERT,
            ));
        }
        let place = || {
            let start = usize::try_from(entry.data_start()?).ok()?;
            let end = start.checked_add(usize::try_from(entry.size()).ok()?)?;
            (end <= self.file.len()).then_some(start..end)
        };
        match place() {
            Some(place) => Ok(Some(place)),
            None => Err(damaged(&format!("the entry `{}` does not lie in the file", shown(name)))),
        }
    }

    fn pickle(&mut self) -> Result<&'a [u8], Damage> {
        let place = self.entry("data.pkl")?.unwrap_or_default();
        if place.len() > MOST_PICKLE {
            return Err(Damage::new(format!("its pickle has {} bytes, {MOST_PICKLE} are read", place.len()), CONVERT));
        }
        Ok(self.file.get(place).unwrap_or_default())
    }

    /// Where a storage of so many numbers is.
    fn storage(&mut self, key: &str, dtype: Dtype, length: usize) -> Result<Range<usize>, Damage> {
        let place = match self.storages.get(key) {
            Some(place) => place.clone(),
            None => {
                let Some(place) = self.entry(&format!("data/{key}"))? else {
                    return Err(damaged(&format!("the storage `{}` is not there", shown(key))));
                };
                self.storages.insert(key.to_owned(), place.clone());
                place
            }
        };
        // What cannot be read is not looked at.
        let Some(size) = dtype.size() else { return Ok(place) };
        match length.checked_mul(size) {
            Some(bytes) if bytes <= place.len() => Ok(place.start..place.start + bytes),
            _ => Err(damaged(&format!(
                "the storage `{}` has {} bytes, and should hold {length} numbers of {size} bytes",
                shown(key),
                place.len()
            ))),
        }
    }
}

fn damaged(problem: &str) -> Damage {
    Damage::new(format!("is a damaged zip: {}", shown(problem)), FETCH)
}
