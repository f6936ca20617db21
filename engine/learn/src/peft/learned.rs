//! How a low-rank adapter was trained where PEFT's settings have no word for it, in a file beside them: so one that is
//! trained on stays what it was. Adapters of other tools have no such file. Knows no layer.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::optim::{Orthogonality, Side};
use crate::weights::write_json;

/// The file, in an adapter's folder.
pub const LEARNED: &str = "learned.json";

/// What differs from how LoRA and DoRA are trained; without the file nothing does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Learned {
    /// Whether A kept its first values.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub a_frozen: bool,
    /// Whether the optimiser got the projected gradient of B.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gradient_projected: bool,
    /// The learning rate of B as a multiple of that of A.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate_ratio: Option<f64>,
    /// What was added to the loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub penalty: Option<Penalty>,
}

/// A penalty on the distance from orthogonality.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Penalty {
    /// The matrix.
    pub of: Factor,
    /// What the squared distance is multiplied with.
    pub weight: f64,
}

/// One of the two matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Factor {
    /// A.
    A,
    /// B.
    B,
}

impl From<Orthogonality> for Penalty {
    fn from(penalty: Orthogonality) -> Self {
        let of = if penalty.side == Side::Rows { Factor::A } else { Factor::B };
        Self { of, weight: penalty.weight }
    }
}

impl From<Penalty> for Orthogonality {
    fn from(penalty: Penalty) -> Self {
        let side = if penalty.of == Factor::A { Side::Rows } else { Side::Columns };
        Self { side, weight: penalty.weight }
    }
}

impl Learned {
    /// What stands beside the adapter in `folder`.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(LEARNED);
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Error::io("read", &path, error)),
        };
        serde_json::from_slice(&text).map_err(|error| {
            let hint = "without this file the adapter is trained on as a plain LoRA or DoRA";
            Error::file(&path, format!("does not say how an adapter learned: {error}"), hint)
        })
    }

    /// Writes it into `folder`, where it says anything.
    pub fn write(&self, folder: &Path) -> Result<()> {
        if *self == Self::default() {
            return Ok(());
        }
        let value = serde_json::to_value(self).map_err(|error| {
            Error::file(&folder.join(LEARNED), format!("has no JSON form: {error}"), "report the adapter's settings")
        })?;
        write_json(&folder.join(LEARNED), &value)
    }
}
