//! The fine-tuning methods: one file each, and the registry that lists them. Knows their settings, not their mathematics.

mod bitfit;
pub mod bottleneck;
mod dora;
mod full;
mod ia3;
mod lora;
mod lora_fa;
mod low_rank;
mod prefix;
mod prompt;
mod size;
mod source;
mod targets;
mod vera;

pub use bitfit::BitFit;
pub use bottleneck::Bottleneck;
pub use dora::{Dora, TheA};
pub use full::Full;
pub use ia3::Ia3;
pub use lora::Lora;
pub use lora_fa::{Base, Gradient, LoraFa, LoraFaInit, ScaledRandom, SingularValues, Svd};
pub use low_rank::{Bias, Factor, Init, Orthogonality, Penalty, PlainInit, Scale};
pub use prefix::{Prefix, Projection};
pub use prompt::{Prompt, PromptInit};
pub use size::{ChosenSize, Like, LikeLowRank, LikeVera, Size};
pub use source::{AdapterSource, Continued, Head};
pub use targets::{ROLES, Targets};
pub use vera::Vera;

use crate::stage::Fault;

crate::one_of! {
    /// What trains.
    pub enum Adapter {
        /// Every weight.
        full => Full(Full),
        /// Low-rank adaptation.
        lora => Lora(Lora),
        /// Weight-decomposed low-rank adaptation.
        dora => Dora(Dora),
        /// Low-rank adaptation with a frozen A.
        lora_fa => LoraFa(LoraFa),
        /// The biases alone.
        bitfit => BitFit(BitFit),
        /// Prompt tuning.
        prompt => Prompt(Prompt),
        /// Prefix tuning.
        prefix => Prefix(Prefix),
        /// Bottlenecks behind or beside sublayers.
        bottleneck => Bottleneck(Bottleneck),
        /// Learned scales of inner activations.
        ia3 => Ia3(Ia3),
        /// Vectors around shared random matrices.
        vera => Vera(Vera),
    }
}

impl Adapter {
    /// Whether the base stays frozen and only an adapter is saved.
    pub fn is_adapter(&self) -> bool {
        !matches!(self, Self::Full(_))
    }

    /// Whether weights of the base model can hold what is learned.
    pub fn merges(&self) -> bool {
        !matches!(self, Self::Prompt(_) | Self::Prefix(_) | Self::Bottleneck(_))
    }

    /// The setting that is its size and the method that it is to be as large as, where it says no number.
    pub fn like(&self) -> Option<(String, &Like)> {
        let (key, like) = match self {
            Self::Lora(lora) => ("rank", lora.rank.like()?),
            Self::Dora(dora) => ("rank", dora.rank.like()?),
            Self::LoraFa(lora_fa) => ("rank", lora_fa.rank.like()?),
            Self::Vera(vera) => ("rank", vera.rank.like()?),
            Self::Prompt(prompt) => ("tokens", prompt.tokens.like()?),
            Self::Prefix(prefix) => ("tokens", prefix.tokens.like()?),
            Self::Bottleneck(bottleneck) => return bottleneck.like(),
            Self::Full(_) | Self::BitFit(_) | Self::Ia3(_) => return None,
        };
        Some((format!("{}.{key}", self.name()), like))
    }

    /// The same with this size, where it has one.
    pub fn with_size(self, size: u64) -> Self {
        let rank = size.into();
        match self {
            Self::Lora(lora) => Self::Lora(Lora { rank, ..lora }),
            Self::Dora(dora) => Self::Dora(Dora { rank, ..dora }),
            Self::LoraFa(lora_fa) => Self::LoraFa(LoraFa { rank, ..lora_fa }),
            Self::Vera(vera) => Self::Vera(Vera { rank, ..vera }),
            Self::Prompt(prompt) => Self::Prompt(Prompt { tokens: rank, ..prompt }),
            Self::Prefix(prefix) => Self::Prefix(Prefix { tokens: rank, ..prefix }),
            Self::Bottleneck(bottleneck) => Self::Bottleneck(bottleneck.with_size(size)),
            Self::Full(_) | Self::BitFit(_) | Self::Ia3(_) => self,
        }
    }

    /// Mistakes that no type can express; paths begin at the method's name.
    pub fn faults(&self) -> Vec<Fault> {
        match self {
            Self::Full(_) | Self::BitFit(_) => Vec::new(),
            Self::Lora(lora) => lora.faults(),
            Self::Dora(dora) => dora.faults(),
            Self::LoraFa(lora_fa) => lora_fa.faults(),
            Self::Prompt(prompt) => prompt.faults(),
            Self::Prefix(prefix) => prefix.faults(),
            Self::Bottleneck(bottleneck) => bottleneck.faults(),
            Self::Ia3(ia3) => ia3.faults(),
            Self::Vera(vera) => vera.faults(),
        }
    }
}
