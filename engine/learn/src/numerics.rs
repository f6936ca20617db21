//! Where a model computes, in which kinds of numbers, and what it keeps of them. Knows no pipeline file and no model.

use tch::{Device, Kind};

use crate::layers::Activations;

/// Where a model computes, in which kinds of numbers, and what it keeps of them. What trains is float32 in every case, and so are norms,
/// softmax, rotary positions and the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numerics {
    /// Where the tensors are.
    pub device: Device,
    /// The kind of the hidden states: linear maps cast their tensors to it.
    pub compute: Kind,
    /// The kind in which tensors that do not train are kept.
    pub base: Kind,
    /// What a training pass keeps for its backward pass.
    pub memory: Memory,
}

/// What a training pass keeps for its backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// All activations.
    KeepActivations,
    /// The inputs of layers; the rest is computed again.
    KeepInputs,
}

impl Numerics {
    /// Computing in `kind` with frozen tensors of the same kind.
    pub fn all(kind: Kind, device: Device) -> Self {
        Self { device, compute: kind, base: kind, memory: Memory::KeepActivations }
    }

    /// The activations of a model.
    pub fn activations(&self) -> Activations {
        match self.memory {
            Memory::KeepActivations => Activations::kept(),
            Memory::KeepInputs => Activations::recomputed(),
        }
    }
}

impl From<Device> for Numerics {
    /// Float32 throughout.
    fn from(device: Device) -> Self {
        Self::all(Kind::Float, device)
    }
}
