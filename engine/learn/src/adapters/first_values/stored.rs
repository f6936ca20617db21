//! The A of a saved adapter whose A is frozen, B zero: B's own values are loaded as those of all that trains.

use std::path::Path;

use serde_json::Value;

use super::{First, FirstValues, Map};
use crate::error::{Error, Result};
use crate::peft::{self, AdapterFile};

/// The A of a file.
#[derive(Debug)]
pub struct Stored {
    file: AdapterFile,
    /// What the file says that it began with.
    begun: Box<dyn FirstValues>,
}

impl Stored {
    /// That of the adapter in `folder`, which `begun` as it says.
    pub fn open(folder: &Path, begun: Box<dyn FirstValues>) -> Result<Self> {
        Ok(Self { file: AdapterFile::open_slices(folder)?, begun })
    }
}

impl FirstValues for Stored {
    fn of(&self, map: &Map) -> Result<First> {
        let key = format!("{}{}", peft::PREFIX, map.a);
        let wanted = [map.rank, map.sizes()?.1];
        match self.file.shape(&key) {
            Some(shape) if shape == wanted => {
                let a = self.file.tensor(&key)?.f_to_device(map.weight.device())?;
                Ok(First { a, b: map.no_b()? })
            }
            found => {
                let problem = match found {
                    Some(shape) => format!("the tensor `{key}` has shape {shape:?}, the model's has {wanted:?}"),
                    None => format!("holds no `{key}`, which the model needs"),
                };
                let hint = "check that base model, rank and targets are those the adapter was trained with";
                Err(Error::file(self.file.path(), problem, hint))
            }
        }
    }

    fn peft(&self) -> Value {
        self.begun.peft()
    }
}
