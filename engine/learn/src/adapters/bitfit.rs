//! BitFit: the biases of the model train, and nothing else of it. Ben Zaken, Ravfogel, Goldberg, BitFit: Simple
//! Parameter-efficient Fine-tuning for Transformer-based Masked Language-models (arXiv 2106.10199), section 3.1: all of
//! them, those of norms with them.

use std::path::Path;

use serde_json::json;

use super::Method;
use crate::error::{Error, Result};
use crate::peft::{AdapterConfig, Saved};
use crate::targets::Place;

/// BitFit.
#[derive(Debug, Clone, Copy)]
pub struct BitFit;

/// What its folder says of it. PEFT has no such method: a folder has PEFT's two files, and keys as PEFT's.
const PEFT_TYPE: &str = "BITFIT";

impl BitFit {
    pub(super) fn from_peft(config: &AdapterConfig) -> Result<Option<Box<dyn Method>>> {
        Ok(match config.peft_type() {
            PEFT_TYPE => Some(Box::new(Self)),
            _ => None,
        })
    }
}

impl Method for BitFit {
    fn name(&self) -> &'static str {
        "bitfit"
    }

    fn trains(&self, name: &str, _of: Option<&Place>) -> bool {
        name.ends_with(".bias")
    }

    fn check_tensors(&self, names: &[&str]) -> Result<()> {
        match names.iter().any(|name| self.trains(name, None)) {
            true => Ok(()),
            false => Err(Error::setting(
                "adapter",
                "`bitfit` trains biases, and this model has none",
                "take a model with biases, such as a BERT, a RoBERTa or a Qwen 2, or another method, such as `lora`",
            )),
        }
    }

    fn save(&self, saved: &Saved, folder: &Path) -> Result<()> {
        saved.write(folder, &saved.config(PEFT_TYPE, json!({})))
    }
}
