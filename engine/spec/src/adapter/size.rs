//! How large a method is: a number, or another method that it is to be as large as. Knows no model, so not which number
//! comes of it.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    Adapter, Bias, BitFit, Bottleneck, Dora, Gradient, Ia3, Init, Lora, LoraFa, LoraFaInit, PlainInit, Prefix, Prompt,
    Scale, Targets, TheA, Vera,
};
use crate::stage::Fault;

/// The size of a method.
#[derive(Debug, Clone, PartialEq)]
pub enum Size {
    /// This number.
    Number(u64),
    /// The number with which as many numbers train as of another method.
    ParametersLike(Box<Like>),
}

/// The one key of the longer form.
const KEY: &str = "parameters_like";

impl Size {
    /// The other method.
    pub fn like(&self) -> Option<&Like> {
        match self {
            Self::Number(_) => None,
            Self::ParametersLike(like) => Some(like),
        }
    }

    /// Mistakes of the setting `key`; `none` is what is wrong with a zero, `hint` what to write instead.
    pub(super) fn faults(&self, key: &str, none: &str, hint: &str) -> Vec<Fault> {
        match self {
            Self::Number(0) => vec![Fault::new(key, none, hint)],
            Self::Number(_) => Vec::new(),
            Self::ParametersLike(like) => like.faults(&format!("{key}.{KEY}")),
        }
    }
}

impl From<u64> for Size {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::ParametersLike(like) => BTreeMap::from([(KEY, like)]).serialize(serializer),
        }
    }
}

/// The longer form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Longer {
    parameters_like: Box<Like>,
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number from one on or `{parameters_like: …}`")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Size, E> {
                Ok(Size::Number(number))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Size, A::Error> {
                let longer = Longer::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Size::ParametersLike(longer.parameters_like))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Size {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MethodSize".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let like = generator.subschema_for::<Like>();
        schemars::json_schema!({
            "description": "A number, or `{parameters_like: {lora: {rank: 8}}}`: as large as another method.",
            "anyOf": [
                { "type": "integer", "minimum": 1 },
                { "type": "object", "properties": { KEY: like }, "required": [KEY], "additionalProperties": false },
            ],
        })
    }
}

crate::one_of! {
    /// A method that another is to be as large as: the size is chosen with which the numbers that train, those of heads
    /// left out, are nearest in count to this one's. What a method here has not is not counted.
    pub enum Like {
        /// Low-rank adaptation.
        lora => Lora(LikeLowRank),
        /// Weight-decomposed low-rank adaptation.
        dora => Dora(LikeLowRank),
        /// Low-rank adaptation with a frozen A.
        lora_fa => LoraFa(LikeLowRank),
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
        vera => Vera(LikeVera),
    }
}

/// What decides how many numbers a low-rank method trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LikeLowRank {
    /// Its rank.
    #[schemars(range(min = 1))]
    pub rank: u64,
    /// The linear maps that it would adapt. Without it, those of LoRA's paper: `[attention.q, attention.v]`.
    #[serde(default = "of_the_paper")]
    pub targets: Targets,
    /// Those of the targets that it would leave as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<Targets>,
    /// The layers whose maps it would adapt. Without it, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub layers: Option<Vec<u64>>,
    /// Its ranks of single maps.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("additionalProperties" = {"type": "integer", "minimum": 1}))]
    pub rank_pattern: BTreeMap<String, u64>,
    /// Which biases of the model it would train, too.
    #[serde(default, skip_serializing_if = "Bias::is_none")]
    pub bias: Bias,
}

/// What decides how many numbers VeRA trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LikeVera {
    /// Its rank.
    #[schemars(range(min = 1))]
    pub rank: u64,
    /// The linear maps that it would adapt. Without it, `[attention.q, attention.v]`.
    #[serde(default = "of_the_paper")]
    pub targets: Targets,
}

fn of_the_paper() -> Targets {
    Targets::Roles(["attention.q", "attention.v"].map(str::to_owned).into())
}

impl Like {
    /// The method itself. What does not decide its count is as it may be.
    pub fn method(&self) -> Adapter {
        match self.clone() {
            Self::Lora(LikeLowRank { rank, targets, exclude, layers, rank_pattern, bias }) => Adapter::Lora(Lora {
                rank: rank.into(),
                alpha: 1.0,
                scale: Scale::Standard,
                dropout: 0.0,
                targets,
                exclude,
                layers,
                rank_pattern,
                alpha_pattern: BTreeMap::new(),
                init: Init::Kaiming,
                bias,
                learning_rate_ratio: None,
                penalty: None,
            }),
            Self::Dora(LikeLowRank { rank, targets, exclude, layers, rank_pattern, bias }) => Adapter::Dora(Dora {
                rank: rank.into(),
                alpha: 1.0,
                scale: Scale::Standard,
                dropout: 0.0,
                targets,
                exclude,
                layers,
                rank_pattern,
                alpha_pattern: BTreeMap::new(),
                init: PlainInit::Kaiming,
                a: TheA::Trains,
                bias,
            }),
            Self::LoraFa(LikeLowRank { rank, targets, exclude, layers, rank_pattern, bias }) => {
                Adapter::LoraFa(LoraFa {
                    rank: rank.into(),
                    alpha: 1.0,
                    scale: Scale::Standard,
                    dropout: 0.0,
                    targets,
                    exclude,
                    layers,
                    rank_pattern,
                    alpha_pattern: BTreeMap::new(),
                    init: LoraFaInit::default(),
                    gradient: Gradient::Plain,
                    bias,
                    penalty: None,
                })
            }
            Self::Vera(LikeVera { rank, targets }) => {
                Adapter::Vera(Vera { rank: rank.into(), d_initial: 0.1, projection_seed: 0, dropout: 0.0, targets })
            }
            Self::BitFit(bitfit) => Adapter::BitFit(bitfit),
            Self::Prompt(prompt) => Adapter::Prompt(prompt),
            Self::Prefix(prefix) => Adapter::Prefix(prefix),
            Self::Bottleneck(bottleneck) => Adapter::Bottleneck(bottleneck),
            Self::Ia3(ia3) => Adapter::Ia3(ia3),
        }
    }

    /// Mistakes that no type can express; `at` is where it stands.
    pub(super) fn faults(&self, at: &str) -> Vec<Fault> {
        let method = self.method();
        if let Some((setting, _)) = method.like() {
            let problem = "this is what another method is to be as large as, and says its own size by a third";
            return vec![Fault::new(format!("{at}.{setting}.{KEY}"), problem, "write its size as a number")];
        }
        method.faults().into_iter().map(|fault| Fault { path: format!("{at}.{}", fault.path), ..fault }).collect()
    }
}

/// The size that was chosen for a method that is to be as large as another, in one model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChosenSize {
    /// The setting that it is the value of, such as `lora.rank`.
    pub setting: String,
    /// The size.
    pub size: u64,
    /// Numbers that train with it, but those of a head.
    pub parameters: u64,
    /// The other method's name.
    pub like: String,
    /// Numbers that the other method would train, but those of a head.
    pub like_parameters: u64,
}

impl fmt::Display for ChosenSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, size, parameters, like, like_parameters } = self;
        write!(f, "`{setting}` is {size}: it trains {parameters} numbers, `{like}` would train {like_parameters}")
    }
}
