//! What linear maps do in a transformer, by names that all families share. Knows no map.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result, nearest};

/// What a linear map does in a transformer, whatever its family calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Queries of the attention.
    AttentionQ,
    /// Keys of the attention.
    AttentionK,
    /// Values of the attention.
    AttentionV,
    /// The attention's output.
    AttentionO,
    /// The gate of a gated MLP.
    MlpGate,
    /// Into the MLP.
    MlpUp,
    /// Out of the MLP.
    MlpDown,
    /// From the first token's state to that of the text.
    Pooler,
    /// The output head over the vocabulary, or that of a task.
    Head,
    /// The embedding of tokens.
    Embedding,
    /// Several of these at once, in one weight. A role means a slice of it; by a role it cannot be named itself.
    Fused,
    /// What a map of an encoder–decoder does, and in which of its parts.
    In(Part, Map),
}

/// The parts of an encoder–decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// What reads.
    Encoder,
    /// What writes: its own attention, and its MLP.
    Decoder,
    /// The attention from what is written to what was read.
    CrossAttention,
}

/// What a linear map does in any layer of a transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Map {
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// The attention's output.
    O,
    /// The gate of a gated MLP.
    Gate,
    /// Into the MLP.
    Up,
    /// Out of the MLP.
    Down,
}

impl Map {
    /// The role that covers it in every part.
    pub fn role(self) -> Role {
        match self {
            Self::Q => Role::AttentionQ,
            Self::K => Role::AttentionK,
            Self::V => Role::AttentionV,
            Self::O => Role::AttentionO,
            Self::Gate => Role::MlpGate,
            Self::Up => Role::MlpUp,
            Self::Down => Role::MlpDown,
        }
    }
}

/// All roles with the names that a pipeline file uses, in the order of a layer.
const ROLES: [(Role, &str); 28] = [
    (Role::AttentionQ, "attention.q"),
    (Role::AttentionK, "attention.k"),
    (Role::AttentionV, "attention.v"),
    (Role::AttentionO, "attention.o"),
    (Role::MlpGate, "mlp.gate"),
    (Role::MlpUp, "mlp.up"),
    (Role::MlpDown, "mlp.down"),
    (Role::Pooler, "pooler"),
    (Role::Head, "head"),
    (Role::Embedding, "embedding"),
    (Role::In(Part::Encoder, Map::Q), "encoder.attention.q"),
    (Role::In(Part::Encoder, Map::K), "encoder.attention.k"),
    (Role::In(Part::Encoder, Map::V), "encoder.attention.v"),
    (Role::In(Part::Encoder, Map::O), "encoder.attention.o"),
    (Role::In(Part::Encoder, Map::Gate), "encoder.mlp.gate"),
    (Role::In(Part::Encoder, Map::Up), "encoder.mlp.up"),
    (Role::In(Part::Encoder, Map::Down), "encoder.mlp.down"),
    (Role::In(Part::Decoder, Map::Q), "decoder.attention.q"),
    (Role::In(Part::Decoder, Map::K), "decoder.attention.k"),
    (Role::In(Part::Decoder, Map::V), "decoder.attention.v"),
    (Role::In(Part::Decoder, Map::O), "decoder.attention.o"),
    (Role::In(Part::CrossAttention, Map::Q), "decoder.cross_attention.q"),
    (Role::In(Part::CrossAttention, Map::K), "decoder.cross_attention.k"),
    (Role::In(Part::CrossAttention, Map::V), "decoder.cross_attention.v"),
    (Role::In(Part::CrossAttention, Map::O), "decoder.cross_attention.o"),
    (Role::In(Part::Decoder, Map::Gate), "decoder.mlp.gate"),
    (Role::In(Part::Decoder, Map::Up), "decoder.mlp.up"),
    (Role::In(Part::Decoder, Map::Down), "decoder.mlp.down"),
];

impl Role {
    /// All roles, in the order of a layer.
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        ROLES.iter().map(|(role, _)| *role)
    }

    /// The name a pipeline file uses.
    pub fn name(self) -> &'static str {
        ROLES.iter().find(|(role, _)| *role == self).map_or("", |(_, name)| name)
    }

    /// Whether a map of the role `other` is meant too: `attention.q` means the queries of every part of an
    /// encoder–decoder.
    pub fn covers(self, other: Self) -> bool {
        match other {
            Self::In(_, map) => self == other || self == map.role(),
            _ => self == other,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let names = || Self::all().map(Self::name);
        Self::all().find(|role| role.name() == name).ok_or_else(|| {
            let all = names().collect::<Vec<_>>().join(", ");
            let hint = match nearest(name, names()) {
                Some(near) => format!("did you mean `{near}`? Roles are: {all}"),
                None => format!("roles are: {all}"),
            };
            Error::setting("targets", format!("there is no role `{name}`"), hint)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_read_by_its_name() {
        for role in Role::all() {
            assert_eq!(role.name().parse::<Role>().unwrap(), role);
        }
        let error = "attention.query".parse::<Role>().unwrap_err();
        assert!(error.hint().unwrap().contains("attention.q"), "{error:?}");
    }
}
