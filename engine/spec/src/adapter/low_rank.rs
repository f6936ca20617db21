//! What the low-rank methods have in common: how the update is scaled, what it begins with, which biases train beside it,
//! ranks and alphas of single maps, a penalty; and what is wrong with such settings. Knows no single method.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Size, Targets};
use crate::stage::Fault;

/// What alpha is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// The rank.
    #[default]
    Standard,
    /// The square root of the rank, so that a larger rank does not learn more slowly: rsLoRA (Kalajdzievski 2023, arXiv
    /// 2312.03732).
    RankStabilized,
}

impl Scale {
    /// Whether it is the default, which is not written.
    pub fn is_standard(&self) -> bool {
        *self == Self::Standard
    }
}

/// What A and B begin with, where the base model is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlainInit {
    /// A uniform between ±1/√inputs, B zero.
    #[default]
    Kaiming,
    /// A normal with the standard deviation 1/rank, B zero.
    Gaussian,
    /// A and B random and of orthogonal halves, so that BA is zero though neither is. The rank must be even.
    Orthogonal,
}

impl PlainInit {
    /// Whether it is the default, which is not written.
    pub fn is_kaiming(&self) -> bool {
        *self == Self::Kaiming
    }
}

/// What A and B begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// A uniform between ±1/√inputs, B zero.
    #[default]
    Kaiming,
    /// A normal with the standard deviation 1/rank, B zero.
    Gaussian,
    /// A and B random and of orthogonal halves, so that BA is zero though neither is. The rank must be even.
    Orthogonal,
    /// The largest singular values and their vectors, which are taken out of the base: PiSSA (Meng et al. 2024, arXiv
    /// 2404.02948). Saved as a plain LoRA of twice the rank, for the untouched base.
    Pissa,
    /// The first vectors of the base's QR decomposition, taken out of it: OLoRA (Büyükakyüz 2024, arXiv 2406.01775). Saved
    /// as a plain LoRA of twice the rank, for the untouched base.
    Olora,
}

impl Init {
    /// Whether it is the default, which is not written.
    pub fn is_kaiming(&self) -> bool {
        *self == Self::Kaiming
    }
}

/// Which biases of the model train beside the adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Bias {
    /// None.
    #[default]
    None,
    /// Every one, those of norms with them; as in PEFT also T5's tables of relative positions, whose names say `bias`.
    All,
    /// Those of the maps that are adapted.
    LoraOnly,
}

impl Bias {
    /// Whether it is the default, which is not written.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// One of the two matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Factor {
    /// A, `rank` × inputs.
    A,
    /// B, outputs × `rank`.
    B,
}

crate::one_of! {
    /// What is added to the loss of every step.
    pub enum Penalty {
        /// A distance from orthogonality.
        orthogonality => Orthogonality(Orthogonality),
    }
}

/// Adds `weight · ‖BᵀB − I‖²` or `weight · ‖AAᵀ − I‖²` of every adapted map to the loss of every step. The history has it
/// beside the loss, not in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Orthogonality {
    /// The matrix.
    pub of: Factor,
    /// What the squared distance is multiplied with.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub weight: f64,
}

/// The settings that are checked alike in every low-rank method.
#[derive(Debug, Clone, Copy)]
pub struct LowRank<'a> {
    /// The method's name.
    pub method: &'a str,
    /// The rank.
    pub rank: &'a Size,
    /// The alpha.
    pub alpha: f64,
    /// The dropout.
    pub dropout: f64,
    /// The maps.
    pub targets: &'a Targets,
    /// The maps that are left out again.
    pub exclude: Option<&'a Targets>,
    /// The layers.
    pub layers: Option<&'a [u64]>,
    /// Ranks of single maps.
    pub ranks: &'a BTreeMap<String, u64>,
    /// Alphas of single maps.
    pub alphas: &'a BTreeMap<String, f64>,
    /// Whether A and B begin as orthogonal halves.
    pub halves: bool,
}

/// Declares the settings of a low-rank method: those that all have, and those behind them that are its own.
macro_rules! low_rank {
    ($(#[$doc:meta])* $name:ident as $method:literal { $($own:tt)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// Rows of A and columns of B; or `{parameters_like: {…}}`, as large as another method.
            pub rank: Size,
            /// The update is scaled by `alpha / rank`.
            #[schemars(extend("exclusiveMinimum" = 0))]
            pub alpha: f64,
            /// What alpha is divided by.
            #[serde(default, skip_serializing_if = "Scale::is_standard")]
            pub scale: Scale,
            /// The probability with which an input of A is dropped while training.
            #[serde(default)]
            #[schemars(extend("minimum" = 0, "exclusiveMaximum" = 1))]
            pub dropout: f64,
            /// The linear maps that are adapted: a list of roles, `{suffix: [q_proj]}` by the end of the module's name,
            /// `{regex: …}` over whole module names, or `all-linear`, every one but the output head. Where several maps are
            /// rows of one weight, as queries, keys and values of a Phi-3 are of `qkv_proj`, a role means its slice, and
            /// the others mean the whole, as in PEFT.
            pub targets: Targets,
            /// Those of the targets that are left as they are; written as `targets`.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub exclude: Option<Targets>,
            /// The layers whose maps are adapted, by number from 0 on; of an encoder–decoder, of both. Without it, all.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            #[schemars(length(min = 1))]
            pub layers: Option<Vec<u64>>,
            /// Ranks of single maps, by the end of the module's name or a pattern for it. No map may have two. Slices are
            /// called `qkv_proj.q`, `qkv_proj.k`, `qkv_proj.v`, `gate_up_proj.gate` and `gate_up_proj.up`.
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            #[schemars(extend("additionalProperties" = {"type": "integer", "minimum": 1}))]
            pub rank_pattern: BTreeMap<String, u64>,
            /// Alphas of single maps, likewise.
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            #[schemars(extend("additionalProperties" = {"type": "number", "exclusiveMinimum": 0}))]
            pub alpha_pattern: BTreeMap<String, f64>,
            $($own)*
        }

        impl $name {
            /// The settings that all have; `halves` where A and B begin as orthogonal ones.
            fn low_rank(&self, halves: bool) -> LowRank<'_> {
                LowRank {
                    method: $method,
                    rank: &self.rank,
                    alpha: self.alpha,
                    dropout: self.dropout,
                    targets: &self.targets,
                    exclude: self.exclude.as_ref(),
                    layers: self.layers.as_deref(),
                    ranks: &self.rank_pattern,
                    alphas: &self.alpha_pattern,
                    halves,
                }
            }
        }
    };
}
pub(super) use low_rank;

const ALPHA: &str = "`alpha: rank` or twice the rank is usual";
const NO_RANK: &str = "a rank of zero trains nothing";
const RANK: &str = "give a rank from 1 on; 8 and 16 are usual";

impl LowRank<'_> {
    /// Mistakes that no type can express; paths begin at the method's name.
    pub fn faults(&self) -> Vec<Fault> {
        let at = |key: &str| format!("{}.{key}", self.method);
        let mut faults = self.rank.faults(&at("rank"), NO_RANK, RANK);
        if self.halves && self.rank.like().is_some() {
            let problem =
                "`init: orthogonal` shares the rank among A and B, and one that is chosen by a count may be odd";
            faults.push(Fault::new(at("rank"), problem, "give an even rank, or `init: kaiming`"));
        }
        let rank = match self.rank {
            Size::Number(rank) => Some(("rank", *rank)),
            Size::ParametersLike(_) => None,
        };
        for (key, rank) in rank.into_iter().chain(self.ranks.values().map(|rank| ("rank_pattern", *rank))) {
            if rank == 0 && key != "rank" {
                faults.push(Fault::new(at(key), NO_RANK, RANK));
            } else if self.halves && !rank.is_multiple_of(2) {
                let problem = format!("`init: orthogonal` shares the rank among A and B, and {rank} is odd");
                faults.push(Fault::new(at(key), problem, "give an even rank, or `init: kaiming`"));
            }
        }
        let alphas = self.alphas.values().map(|alpha| ("alpha_pattern", *alpha));
        for (key, alpha) in std::iter::once(("alpha", self.alpha)).chain(alphas) {
            if !(alpha > 0.0 && alpha.is_finite()) {
                faults.push(Fault::new(at(key), "alpha must be above zero", ALPHA));
            }
        }
        if !(0.0..1.0).contains(&self.dropout) {
            faults.push(Fault::new(
                at("dropout"),
                format!("{} is no probability below 1", self.dropout),
                "give a number from 0 up to, not including, 1",
            ));
        }
        let below = |key: &str, targets: &Targets| -> Vec<Fault> {
            let moved = |fault: Fault| Fault { path: at(&fault.path.replacen("targets", key, 1)), ..fault };
            targets.faults().into_iter().map(moved).collect()
        };
        faults.extend(below("targets", self.targets));
        faults.extend(self.exclude.map(|exclude| below("exclude", exclude)).unwrap_or_default());
        if self.layers.is_some_and(<[u64]>::is_empty) {
            let hint = "name at least one by its number from 0 on, or leave `layers` out for all";
            faults.push(Fault::new(at("layers"), "no layer: nothing would train", hint));
        }
        let patterns = self.ranks.keys().map(|pattern| ("rank_pattern", pattern));
        for (key, pattern) in patterns.chain(self.alphas.keys().map(|pattern| ("alpha_pattern", pattern))) {
            if let Err(error) = regex::Regex::new(pattern) {
                let problem = format!(
                    "`{pattern}` is no regular expression: {}",
                    error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ")
                );
                let hint = "write the end of a module's name, such as `q_proj`, or a pattern for it";
                faults.push(Fault::new(at(key), problem, hint));
            }
        }
        faults
    }
}

impl Penalty {
    /// Mistakes of the number; paths begin at the method's name.
    pub fn faults(&self, method: &str) -> Vec<Fault> {
        let Self::Orthogonality(Orthogonality { weight, .. }) = self;
        match *weight > 0.0 && weight.is_finite() {
            true => Vec::new(),
            false => vec![Fault::new(
                format!("{method}.penalty.orthogonality.weight"),
                format!("{weight} is no weight"),
                "give a number above zero, or leave `penalty` out",
            )],
        }
    }

    /// The matrix that is held to orthogonality.
    pub fn of(&self) -> Factor {
        let Self::Orthogonality(Orthogonality { of, .. }) = self;
        *of
    }
}

/// A penalty on a B that begins with zeros.
pub fn penalty_on_zero(method: &str, hint: &str) -> Fault {
    Fault::new(format!("{method}.penalty.orthogonality.of"), "B begins as zero, where ‖BᵀB − I‖² has no gradient", hint)
}
