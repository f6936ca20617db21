//! The sublayers of a transformer, which methods may put something behind or beside. Knows names and places; no tensor and
//! no method.

use std::fmt;

/// What a sublayer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A layer's attention to its own text.
    Attention,
    /// The attention from what is written to what was read.
    CrossAttention,
    /// The feed-forward part.
    Mlp,
}

impl Role {
    /// The name a pipeline file uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::CrossAttention => "cross_attention",
            Self::Mlp => "mlp",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A sublayer of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sublayer {
    /// The module that it ends in, as the checkpoint names it: `roberta.encoder.layer.0.attention.output`,
    /// `model.layers.0.mlp`, `encoder.block.0.layer.1`.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// The number of its layer, from 0 on; those of a decoder go on behind those of the encoder.
    pub layer: usize,
    /// Numbers of a hidden state.
    pub width: i64,
}
