//! `bottleneck`: small networks behind or beside sublayers (Houlsby et al. 2019, arXiv 1902.00751; Pfeiffer et al. 2021,
//! arXiv 2005.00247; He et al. 2022, arXiv 2110.04366), or on linear maps (Hu et al. 2023, arXiv 2304.01933).

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Like, Size as Number, Targets};
use crate::stage::Fault;

crate::one_of! {
    /// A map down to few numbers, an activation, and a map up again, which train; where they stand is the style.
    pub enum Bottleneck {
        /// Behind sublayers, before what these give joins the hidden states.
        houlsby => Houlsby(Houlsby),
        /// Behind sublayers, of what joined the hidden states already.
        pfeiffer => Pfeiffer(Pfeiffer),
        /// Beside sublayers, of what goes into them.
        parallel => Parallel(Parallel),
        /// In series with linear maps of a decoder: before those into a sublayer, behind those out of it. Without biases.
        series_linear => SeriesLinear(OnMaps),
        /// Beside linear maps. Without biases.
        parallel_linear => ParallelLinear(OnMaps),
    }
}

crate::one_of! {
    /// How many numbers are in the middle.
    pub enum Size {
        /// So many.
        units => Units(u64) where {"minimum": 1},
        /// The width of the hidden states divided by this.
        reduction => Reduction(f64) where {"exclusiveMinimum": 0},
        /// As many as it takes to train as many numbers as another method.
        parameters_like => ParametersLike(Box<Like>),
    }
}

/// The non-linearity in the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(0, x)`
    Relu,
    /// `x Φ(x)`
    Gelu,
    /// The same with tanh in place of Φ.
    GeluNew,
    /// `x σ(x)`, which is also called swish.
    Silu,
    /// `tanh(x)`
    Tanh,
}

/// New layer norms, which train.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LayerNorms {
    /// None.
    #[default]
    None,
    /// One before each bottleneck.
    Before,
    /// One behind each bottleneck.
    After,
    /// Both.
    Both,
}

/// The first values; biases are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum First {
    /// Both maps normal with a deviation of 0.02.
    Bert,
    /// Both maps normal with a deviation of 0.01, cut at twice that.
    Houlsby,
    /// The map up is zero, so that the model begins as it was; the map down as LoRA's A.
    MamAdapter,
}

/// A sublayer of each layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sublayer {
    /// The attention of a text to itself.
    Attention,
    /// The attention of an answer to the text that was read.
    CrossAttention,
    /// The feed-forward part.
    Mlp,
}

/// Declares the settings of a style at the ends of sublayers, with its defaults.
macro_rules! at_sublayers {
    ($(#[$doc:meta])* $name:ident { $($key:ident: $default:expr),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            /// How many numbers are in the middle: `{units: 64}`; `{reduction: 16}`, a part of the width; or
            /// `{parameters_like: {…}}`, as large as another method.
            pub size: Size,
            /// The non-linearity in the middle.
            pub activation: Activation,
            /// What the result is multiplied with.
            #[schemars(extend("not" = {"const": 0}))]
            pub scale: f64,
            /// New layer norms, which train.
            pub layer_norm: LayerNorms,
            /// The probability with which a number of the result is dropped while training.
            #[schemars(extend("minimum" = 0, "exclusiveMaximum" = 1))]
            pub dropout: f64,
            /// The first values.
            pub init: First,
            /// The sublayers that have one.
            #[schemars(length(min = 1), extend("uniqueItems" = true))]
            pub sublayers: Vec<Sublayer>,
            /// The numbers of layers that have none, from 0 on; those of a decoder go on behind those of the encoder.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub leave_out: Vec<u64>,
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default,)+ layer_norm: LayerNorms::None, dropout: 0.0, leave_out: Vec::new() }
            }
        }

        impl $name {
            fn faults(&self) -> Vec<Fault> {
                let mut faults = faults(&self.size, self.scale, self.dropout);
                let different: BTreeSet<&Sublayer> = self.sublayers.iter().collect();
                if self.sublayers.is_empty() || different.len() < self.sublayers.len() {
                    let problem = if self.sublayers.is_empty() { "no sublayer: nothing would train" } else { "a sublayer twice" };
                    faults.push(Fault::new("sublayers", problem, "name `attention`, `mlp` or both, each once"));
                }
                faults
            }
        }
    };
}

at_sublayers! {
    /// `norm(h + a(h) + x)`, behind attention and MLP; h is what the sublayer gave, x what came into it. Houlsby et al. (arXiv 1902.00751).
    Houlsby {
        size: Size::Reduction(16.0),
        activation: Activation::Silu,
        scale: 1.0,
        init: First::Bert,
        sublayers: vec![Sublayer::Attention, Sublayer::Mlp],
    }
}

at_sublayers! {
    /// `norm(h + a(norm(h + x)) + x)`, behind the MLP; h is what the sublayer gave, x what came into it. Pfeiffer et al. (arXiv 2005.00247).
    Pfeiffer {
        size: Size::Reduction(16.0),
        activation: Activation::Relu,
        scale: 1.0,
        init: First::Bert,
        sublayers: vec![Sublayer::Mlp],
    }
}

at_sublayers! {
    /// `norm(h + a(x) + x)`, beside the MLP; h is what the sublayer gave, x what came into it. He et al. (arXiv 2110.04366).
    Parallel {
        size: Size::Reduction(2.0),
        activation: Activation::Relu,
        scale: 4.0,
        init: First::MamAdapter,
        sublayers: vec![Sublayer::Mlp],
    }
}

/// Bottlenecks without biases on linear maps. Hu et al., LLM-Adapters (arXiv 2304.01933).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OnMaps {
    /// How many numbers are in the middle; or `{parameters_like: {…}}`, as large as another method.
    #[serde(default = "default_size")]
    pub size: Number,
    /// The non-linearity in the middle.
    #[serde(default = "default_activation")]
    pub activation: Activation,
    /// What the result is multiplied with.
    #[serde(default = "default_scale")]
    #[schemars(extend("not" = {"const": 0}))]
    pub scale: f64,
    /// The probability with which a number that goes in is dropped while training.
    #[serde(default)]
    #[schemars(extend("minimum" = 0, "exclusiveMaximum" = 1))]
    pub dropout: f64,
    /// The linear maps that are adapted, named as those of `lora`; no slices of fused maps.
    pub targets: Targets,
}

fn default_size() -> Number {
    Number::Number(256)
}

fn default_activation() -> Activation {
    Activation::Tanh
}

fn default_scale() -> f64 {
    1.0
}

fn faults(size: &Size, scale: f64, dropout: f64) -> Vec<Fault> {
    let mut faults = Vec::new();
    match size {
        Size::Units(0) => faults.push(Fault::new("size.units", "no number in the middle", "give a number from 1 on")),
        Size::Reduction(factor) if !(*factor > 0.0 && factor.is_finite()) => {
            let hint = "give a number above zero; 16 is usual";
            faults.push(Fault::new("size.reduction", format!("a width cannot be divided by {factor}"), hint));
        }
        Size::ParametersLike(like) => faults.extend(like.faults("size.parameters_like")),
        _ => {}
    }
    if !(scale.is_finite() && scale != 0.0) {
        faults.push(Fault::new("scale", format!("a scale of {scale} trains nothing"), "give a number other than zero"));
    }
    if !(0.0..1.0).contains(&dropout) {
        faults.push(Fault::new(
            "dropout",
            format!("{dropout} is no probability below 1"),
            "give a number from 0 up to, not including, 1",
        ));
    }
    faults
}

impl Bottleneck {
    pub(super) fn like(&self) -> Option<(String, &Like)> {
        let like = match self {
            Self::Houlsby(Houlsby { size: Size::ParametersLike(like), .. })
            | Self::Pfeiffer(Pfeiffer { size: Size::ParametersLike(like), .. })
            | Self::Parallel(Parallel { size: Size::ParametersLike(like), .. }) => like,
            Self::SeriesLinear(maps) | Self::ParallelLinear(maps) => maps.size.like()?,
            _ => return None,
        };
        Some((format!("bottleneck.{}.size", self.name()), like))
    }

    pub(super) fn with_size(self, size: u64) -> Self {
        let units = Size::Units(size);
        match self {
            Self::Houlsby(style) => Self::Houlsby(Houlsby { size: units, ..style }),
            Self::Pfeiffer(style) => Self::Pfeiffer(Pfeiffer { size: units, ..style }),
            Self::Parallel(style) => Self::Parallel(Parallel { size: units, ..style }),
            Self::SeriesLinear(maps) => Self::SeriesLinear(OnMaps { size: size.into(), ..maps }),
            Self::ParallelLinear(maps) => Self::ParallelLinear(OnMaps { size: size.into(), ..maps }),
        }
    }

    pub(super) fn faults(&self) -> Vec<Fault> {
        let faults = match self {
            Self::Houlsby(style) => style.faults(),
            Self::Pfeiffer(style) => style.faults(),
            Self::Parallel(style) => style.faults(),
            Self::SeriesLinear(maps) | Self::ParallelLinear(maps) => {
                let mut faults = maps.size.faults("size", "no number in the middle", "give a number from 1 on");
                faults.extend(self::faults(&Size::Units(1), maps.scale, maps.dropout));
                faults.extend(maps.targets.faults());
                faults
            }
        };
        let within = |fault: Fault| Fault { path: format!("bottleneck.{}.{}", self.name(), fault.path), ..fault };
        faults.into_iter().map(within).collect()
    }
}
