//! The changes that an adapter's files hold, matrix by matrix. Knows PEFT's keys of factors; no formula.

use std::path::Path;

use tch::{Kind, Tensor};

use super::change::{Change, Factors};
use crate::adapters::{self, LowRank};
use crate::error::Result;
use crate::peft::lora::{LoraConfig, PEFT_TYPE};
use crate::peft::{self, AdapterConfig, AdapterFile};
use crate::targets::{Place, Role};

/// An open adapter, or several that were trained together.
#[derive(Debug)]
pub struct Adapter {
    parts: Vec<Part>,
}

/// One of the methods of an adapter.
#[derive(Debug)]
pub enum Part {
    /// Low-rank factors beside matrices.
    Factors {
        /// The open file.
        file: AdapterFile,
        /// Scales and ranks.
        settings: Box<LowRank>,
        /// Whether magnitudes stand beside them: DoRA.
        decomposed: bool,
    },
    /// Another method, by its name.
    Other(&'static str),
}

/// The ends of the keys of A and B: beside a linear map, and beside an embedding.
const ENDS: [(&str, &str); 2] = [(".lora_A.weight", ".lora_B.weight"), (".lora_embedding_A", ".lora_embedding_B")];

impl Adapter {
    /// Opens the adapter in `folder`; no tensor is read.
    pub fn open(folder: &Path) -> Result<Self> {
        let part = |(folder, method): (std::path::PathBuf, Box<dyn adapters::Method>)| {
            let config = AdapterConfig::read(&folder)?;
            if config.peft_type() != PEFT_TYPE {
                return Ok(Part::Other(method.name()));
            }
            let Some(read) = LoraConfig::read(&config)? else { return Ok(Part::Other(method.name())) };
            let settings = Box::new(LowRank::from_config(&read)?);
            Ok(Part::Factors { file: AdapterFile::open(&folder)?, settings, decomposed: read.use_dora })
        };
        let parts = adapters::saved_parts(folder)?.into_iter().map(part).collect::<Result<_>>()?;
        Ok(Self { parts })
    }

    /// Its methods.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// `dora` or `lora`, by the first method that has factors.
    pub fn method(&self) -> Option<&'static str> {
        self.parts.iter().find_map(|part| match part {
            Part::Factors { decomposed, .. } => Some(if *decomposed { "dora" } else { "lora" }),
            Part::Other(_) => None,
        })
    }

    /// The matrices that it changes by factors.
    pub fn modules(&self) -> Vec<String> {
        let mut modules = Vec::new();
        for part in &self.parts {
            let Part::Factors { file, .. } = part else { continue };
            let module =
                |key: &str| ENDS.iter().find_map(|(a, _)| Some(peft::name_of(key)?.strip_suffix(a)?.to_owned()));
            modules.extend(file.keys().filter_map(module));
        }
        modules
    }

    /// What it does to a matrix, if anything.
    pub fn change(&self, module: &str) -> Result<Option<Change>> {
        for part in &self.parts {
            let Part::Factors { file, settings, decomposed } = part else { continue };
            let key = |end: &str| format!("{}{module}{end}", peft::PREFIX);
            let Some((at, (end_a, end_b))) = ENDS.iter().enumerate().find(|(_, (a, _))| file.shape(&key(a)).is_some())
            else {
                continue;
            };
            let read = |end: &str| -> Result<Tensor> { Ok(file.tensor(&key(end))?.f_to_kind(Kind::Double)?) };
            let (a, b) = (read(end_a)?, read(end_b)?);
            // A table of embeddings [count, width] is changed by (BA)ᵀ = AᵀBᵀ.
            let (a, b) = if at == 0 { (a, b) } else { (b.f_transpose(0, 1)?, a.f_transpose(0, 1)?) };
            // Its scale depends on its name alone.
            let scale = settings.scale_at(&Place::new(module, Role::Head));
            let factors = Factors { a, b: b.f_mul_scalar(scale)? };
            return Ok(Some(match decomposed {
                false => Change::Factors(factors),
                true => Change::Decomposed(factors, read(".lora_magnitude_vector")?),
            }));
        }
        Ok(None)
    }
}
