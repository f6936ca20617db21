//! VeRA in PEFT's files: its settings, and the factors that all maps share, which may stand beside the vectors. Knows
//! PEFT's words; no layer.

use serde::Deserialize;
use serde_json::{Value, json};
use std::path::Path;
use tch::{Device, Kind, Tensor};

use super::{AdapterConfig, MERGE, PREFIX, Saved, WEIGHTS, targets};
use crate::error::{Error, Result};
use crate::models::Model;
use crate::targets::Targets;
use crate::weights::SafetensorsFile;

/// PEFT's name of the method.
const PEFT_TYPE: &str = "VERA";

/// The names of the shared factors in the model, `[rank, inputs]` and `[outputs, rank]`.
pub const A: &str = "vera_A";
/// See [`A`].
pub const B: &str = "vera_B";

/// What stands before them in PEFT's files, other than before vectors.
const SHARED_PREFIX: &str = "base_model.";

/// The keys of PEFT's `VeraConfig` whose meaning is known here; any other must be at rest.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct VeraConfig {
    /// The rank.
    pub r: i64,
    /// Dropout on A's input.
    #[serde(default)]
    pub vera_dropout: f64,
    /// The first value of λ_d.
    #[serde(default = "d_initial")]
    pub d_initial: f64,
    /// What A and B were drawn from.
    #[serde(default)]
    pub projection_prng_key: u64,
    /// Whether A and B are in the file.
    #[serde(default = "yes")]
    pub save_projection: bool,
    /// A list of suffixes, a pattern over whole names, or `all-linear`.
    #[serde(default)]
    target_modules: Value,
}

fn d_initial() -> f64 {
    0.1
}

fn yes() -> bool {
    true
}

impl VeraConfig {
    /// The settings, if they are of this method.
    pub fn read(config: &AdapterConfig) -> Result<Option<Self>> {
        if config.peft_type() != PEFT_TYPE {
            return Ok(None);
        }
        config.refuse(&["exclude_modules", "fan_in_fan_out", "layers_to_transform"])?;
        if let Some(bias) = config.text("bias").filter(|bias| *bias != "none") {
            return Err(config.error(format!("`bias` is \"{bias}\": biases were trained too"), MERGE));
        }
        config.parse().map(Some)
    }

    /// The settings of a method on `targets` of `model`, with A and B in the file.
    pub fn new(r: i64, d_initial: f64, vera_dropout: f64, seed: u64, targets: &Targets, model: &Model) -> Self {
        let target_modules = targets::write(targets, model);
        Self { r, vera_dropout, d_initial, projection_prng_key: seed, save_projection: true, target_modules }
    }

    /// What `target_modules` means.
    pub fn targets(&self) -> Result<Targets> {
        targets::read(&self.target_modules)
    }

    fn to_json(&self, saved: &Saved) -> Value {
        let method = json!({
            "bias": "none",
            "d_initial": self.d_initial,
            "fan_in_fan_out": false,
            "init_weights": true,
            "layers_pattern": null,
            "layers_to_transform": null,
            "projection_prng_key": self.projection_prng_key,
            "r": self.r,
            "save_projection": self.save_projection,
            "target_modules": self.target_modules,
            "vera_dropout": self.vera_dropout,
        });
        saved.config(PEFT_TYPE, method)
    }
}

/// Whether a key is that of A or B.
pub fn is_projection(key: &str) -> bool {
    key.strip_prefix(SHARED_PREFIX).is_some_and(|name| name == A || name == B)
}

/// A and B as the adapter of `config` holds them.
pub fn projections(config: &AdapterConfig, rank: i64) -> Result<(Tensor, Tensor)> {
    let file = SafetensorsFile::open(&config.folder().join(WEIGHTS))?;
    let tensor = |name: &str, side: usize| {
        let key = format!("{SHARED_PREFIX}{name}");
        match file.shape(&key) {
            Some(shape) if shape.len() == 2 && shape.get(side) == Some(&rank) => {
                file.tensor(&key, Device::Cpu, Kind::Float)
            }
            Some(shape) => Err(Error::file(
                file.path(),
                format!("the tensor `{key}` has shape {shape:?}, which is none of rank {rank}"),
                "compare it with what PEFT's save_pretrained writes",
            )),
            None => Err(Error::file(
                file.path(),
                format!("holds no `{key}`, though `save_projection` is true"),
                "save the adapter again, or set `save_projection` to false: then it is made from projection_prng_key",
            )),
        }
    };
    Ok((tensor(A, 0)?, tensor(B, 1)?))
}

/// Writes the folder of an adapter: settings, vectors, and A and B.
pub fn write(config: &VeraConfig, saved: &Saved, folder: &Path) -> Result<()> {
    let keyed = saved.parameters().map(|(name, tensor)| (format!("{PREFIX}{name}"), tensor.shallow_clone()));
    let mut tensors: Vec<_> = keyed.collect();
    for name in [A, B] {
        let tensor = saved.model.frozen.get(name).map(Tensor::shallow_clone);
        tensors.extend(tensor.map(|tensor| (format!("{SHARED_PREFIX}{name}"), tensor)));
    }
    super::write(folder, &config.to_json(saved), &tensors)
}
