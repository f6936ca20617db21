//! The header of a safetensors file. Reading it is the safetensors crate's work; what is wrong with it is told here.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype as Stated, SafeTensorError, SafeTensors};

use crate::error::{Damage, shown};
use crate::stored::{Dtype, Stored};

/// The header's length stands in the first eight bytes.
const LENGTH_BYTES: usize = 8;

/// What a file of tensors says of them.
#[derive(Debug, Default)]
pub struct Header {
    /// The tensors by name.
    pub tensors: BTreeMap<String, Stored>,
    /// Free text entries.
    pub metadata: BTreeMap<String, String>,
}

/// Reads the header of a whole file, and checks offsets and that the file is as long as they say.
///
/// # Errors
/// When the file is damaged.
pub fn read(file: &[u8]) -> Result<Header, Damage> {
    let (length, header) = SafeTensors::read_metadata(file).map_err(|error| damaged(file, &error))?;
    let tensors = header.tensors().into_iter().map(|(name, info)| {
        let start = LENGTH_BYTES.saturating_add(length).saturating_add(info.data_offsets.0);
        (name, Stored::contiguous(dtype(info.dtype), info.shape.clone(), start))
    });
    let metadata = header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone()));
    Ok(Header { tensors: tensors.collect(), metadata: metadata.collect() })
}

fn dtype(stated: Stated) -> Dtype {
    match stated {
        Stated::F32 => Dtype::F32,
        Stated::F16 => Dtype::F16,
        Stated::BF16 => Dtype::BF16,
        Stated::BOOL => Dtype::Other("BOOL"),
        Stated::U8 => Dtype::Other("U8"),
        Stated::I8 => Dtype::Other("I8"),
        Stated::I16 => Dtype::Other("I16"),
        Stated::U16 => Dtype::Other("U16"),
        Stated::I32 => Dtype::Other("I32"),
        Stated::U32 => Dtype::Other("U32"),
        Stated::I64 => Dtype::Other("I64"),
        Stated::U64 => Dtype::Other("U64"),
        Stated::F64 => Dtype::Other("F64"),
        Stated::C64 => Dtype::Other("C64"),
        Stated::F8_E4M3 | Stated::F8_E5M2 | Stated::F8_E8M0 | Stated::F8_E4M3FNUZ | Stated::F8_E5M2FNUZ => {
            Dtype::Other("F8")
        }
        Stated::F4 => Dtype::Other("F4"),
        Stated::F6_E2M3 | Stated::F6_E3M2 => Dtype::Other("F6"),
        _ => Dtype::Other("numbers of a kind that is not known"),
    }
}

fn damaged(file: &[u8], error: &SafeTensorError) -> Damage {
    if let Some(damage) = stand_in(file) {
        return damage;
    }
    let problem = match error {
        SafeTensorError::MetadataIncompleteBuffer => "the file is shorter or longer than its header says".to_owned(),
        SafeTensorError::InvalidHeaderLength | SafeTensorError::HeaderTooSmall => {
            "the file ends inside its header".to_owned()
        }
        SafeTensorError::HeaderTooLarge => "the header claims more than 100 MB: this is no safetensors file".to_owned(),
        SafeTensorError::TensorInvalidInfo | SafeTensorError::ValidationOverflow => {
            "a tensor's shape does not fit its number of bytes".to_owned()
        }
        SafeTensorError::InvalidOffset(name) => {
            format!("the place of the tensor `{}` in the file is not valid", shown(name))
        }
        other => format!("is no valid safetensors file: {}", shown(&other.to_string())),
    };
    Damage::new(problem, "fetch the file again; the download may have been cut short")
}

/// What stands in a file's place: a pointer of Git LFS, or a page that a server sent instead.
pub(crate) fn stand_in(file: &[u8]) -> Option<Damage> {
    if file.starts_with(b"version https://git-lfs") {
        let hint = "fetch the file itself: `git lfs pull`, or download it from the Hub";
        return Some(Damage::new("is a pointer of Git LFS, not the file it points to", hint));
    }
    let begin = file.trim_ascii_start().get(..9)?;
    let page = begin.eq_ignore_ascii_case(b"<!doctype") || begin.get(..5)?.eq_ignore_ascii_case(b"<html");
    page.then(|| Damage::new("is a web page", "fetch the file again; the server sent a page in its place"))
}
