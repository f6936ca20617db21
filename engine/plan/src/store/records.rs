//! The action record: which key left which tree. Written last; a record that cannot be believed reads as absent.
//! Knows nothing of the files that a record speaks of.
//!
//! A record file is `{"record":…,"blake3":"…"}`: the digest is over the bytes of the record as they stand there, so
//! that a flipped bit in a figure is found, too.

use std::{collections::BTreeMap, fs, io, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::trees::Tree;
use crate::{
    digest::Digest,
    file_error::{FileError, at},
};

/// The version of the record's layout.
pub const FORMAT: u32 = 1;

/// What a stage left, and how it came about.
///
/// Beside it stands the key as it can be read, `parts`: what `plan` compares to say why a stage is stale. It is read only
/// where it is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The layout's version.
    pub format: u32,
    /// The key's digest.
    pub key: Digest,
    /// The stage and member that it was first made for, for people.
    pub name: String,
    /// The stage's kind.
    pub kind: String,
    /// The keys of what it read: they are needed as long as it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Digest>,
    /// What it left.
    pub tree: Tree,
    /// The figures to show first.
    pub headline: BTreeMap<String, f64>,
    /// How long it took.
    pub seconds: f64,
    /// When it was finished, in seconds since 1970.
    pub finished: u64,
    /// The engine's version.
    pub engine: String,
    /// The numeric class of the machine: `cpu`, `sm_90`, with the versions of the libraries.
    pub machine: String,
}

const HEAD: &str = "{\"record\":";
const MIDDLE: &str = ",\"blake3\":\"";
const TAIL: &str = "\"}\n";

impl Record {
    /// The record and its key's parts as they are written.
    pub(super) fn encode(&self, parts: &Value) -> io::Result<Vec<u8>> {
        #[derive(Serialize)]
        struct Written<'a> {
            #[serde(flatten)]
            record: &'a Record,
            parts: &'a Value,
        }
        let body = serde_json::to_string(&Written { record: self, parts })?;
        Ok([HEAD, &body, MIDDLE, &Digest::of(body.as_bytes()).hex(), TAIL].concat().into_bytes())
    }

    /// The record in these bytes, or why they cannot be believed.
    fn decode(bytes: &[u8], key: &Digest) -> Result<Self, String> {
        let record: Self = serde_json::from_str(body_of(bytes)?).map_err(|error| error.to_string())?;
        if record.format != FORMAT {
            return Err(format!("its format is {}, this engine reads {FORMAT}", record.format));
        }
        if record.key != *key {
            return Err("it belongs to another key".to_owned());
        }
        Ok(record)
    }

    /// Reads a record, if it is there and can be believed.
    pub(super) fn if_sound(path: &Path, key: &Digest) -> Option<Self> {
        Self::decode(&read(path).ok()??, key).ok()
    }

    /// Reads a record; one that is absent, damaged or of another format is `None`, with a note in the trace.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub(super) fn read(path: &Path, key: &Digest) -> Result<Option<Self>, FileError> {
        let Some(bytes) = read(path)? else { return Ok(None) };
        match Self::decode(&bytes, key) {
            Ok(record) => Ok(Some(record)),
            Err(why) => {
                tracing::warn!("the record {} is not used: {why}; its stage is done again", path.display());
                Ok(None)
            }
        }
    }
}

/// The parts of the key of the record at a path; nothing where it is absent or damaged.
///
/// # Errors
/// When the file is there and cannot be read.
pub(super) fn parts(path: &Path) -> Result<Option<Value>, FileError> {
    #[derive(Deserialize)]
    struct Parts {
        parts: Value,
    }
    let bytes = read(path)?;
    let body = bytes.as_deref().and_then(|bytes| body_of(bytes).ok());
    Ok(body.and_then(|body| serde_json::from_str::<Parts>(body).ok()).map(|found| found.parts))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at("read", path)(error)),
    }
}

/// The JSON of a record, if it bears its digest.
fn body_of(bytes: &[u8]) -> Result<&str, String> {
    let text = str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    let (body, digest) = text
        .strip_prefix(HEAD)
        .and_then(|rest| rest.strip_suffix(TAIL))
        .and_then(|rest| rest.rsplit_once(MIDDLE))
        .ok_or("it is cut short")?;
    if digest.parse() != Ok(Digest::of(body.as_bytes())) {
        return Err("its bytes have changed".to_owned());
    }
    Ok(body)
}

/// The headline figures that a stage wrote: the `headline` object of `metrics.json`, else of `summary.json`.
pub(super) fn headline(result: &Path) -> BTreeMap<String, f64> {
    #[derive(Deserialize)]
    struct Headline {
        headline: BTreeMap<String, f64>,
    }
    [spec::files::METRICS, spec::files::SUMMARY]
        .iter()
        .filter_map(|name| fs::read(result.join(name)).ok())
        .find_map(|bytes| serde_json::from_slice::<Headline>(&bytes).ok())
        .map(|found| found.headline)
        .unwrap_or_default()
}

/// The numeric class of the machine that a stage ran on: the system, and what the stage itself says it computed with, the
/// `device` and `libtorch` of its `measured.json`.
pub fn numeric_class(observed: &Path) -> String {
    #[derive(Default, Deserialize)]
    struct Computed {
        device: Option<String>,
        libtorch: Option<String>,
    }
    let bytes = fs::read(observed.join(spec::files::MEASURED)).unwrap_or_default();
    let Computed { device, libtorch } = serde_json::from_slice(&bytes).unwrap_or_default();
    let mut parts = vec![format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)];
    parts.extend(device);
    parts.extend(libtorch.map(|version| format!("libtorch {version}")));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            format: FORMAT,
            key: Digest::of(b"key"),
            name: "tuned[seed=0]".to_owned(),
            kind: "train".to_owned(),
            inputs: Vec::new(),
            tree: Tree::default(),
            headline: BTreeMap::from([("loss".to_owned(), 0.1)]),
            seconds: 1.5,
            finished: 7,
            engine: "0.1.0".to_owned(),
            machine: "cpu".to_owned(),
        }
    }

    fn key_parts() -> Value {
        serde_json::json!({"settings": {"text": "an \",\"blake3\":\" inside"}})
    }

    #[test]
    fn is_read_back_and_is_json() {
        let bytes = record().encode(&key_parts()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        assert_eq!(parts(&path).unwrap(), None);
        fs::write(&path, &bytes).unwrap();
        assert_eq!(parts(&path).unwrap(), Some(key_parts()));
        fs::write(&path, &bytes[1..]).unwrap();
        assert_eq!(parts(&path).unwrap(), None);
        assert_eq!(Record::decode(&bytes, &record().key), Ok(record()));
        assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let bytes = record().encode(&key_parts()).unwrap();
        for length in 0..bytes.len() {
            assert!(Record::decode(&bytes[..length], &record().key).is_err(), "cut at {length}");
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(Record::decode(&flipped, &record().key).is_err(), "flipped at {at}");
        }
        assert!(Record::decode(&bytes, &Digest::of(b"another")).is_err());
    }
}
