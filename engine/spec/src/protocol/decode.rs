//! What `decode` may say: how the next token is chosen. One struct a choice.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::stage::{Empty, Fault};

crate::one_of! {
    /// How the next token is chosen.
    pub enum Decode {
        /// The likeliest.
        greedy => Greedy(Empty),
        /// One is drawn, by the probabilities that the model gives.
        sample => Sample(Sample),
        /// Several beginnings are followed at once, and the best of those that end is taken.
        beam => Beam(Beam),
        /// Beams whose next tokens are drawn.
        beam_sample => BeamSample(BeamSample),
    }
}

impl Default for Decode {
    fn default() -> Self {
        Self::Greedy(Empty {})
    }
}

/// Draws each token. Filters are off unless set, top-k too, which transformers sets to 50.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// What scores are divided by: below 1 the likely become likelier, at 0 the likeliest is taken, as `greedy` does.
    #[serde(default = "one")]
    #[schemars(range(min = 0))]
    pub temperature: f64,
    /// Only so many likeliest tokens, and those as likely as the last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub top_k: Option<u64>,
    /// Only the fewest likeliest tokens whose probabilities come to this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub top_p: Option<f64>,
    /// Only tokens that are at least this part as likely as the likeliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0, "maximum" = 1))]
    pub min_p: Option<f64>,
    /// Only tokens whose surprise is nearest to what is expected, until their probabilities come to this: typical sampling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub typical_p: Option<f64>,
    /// How many texts for each row; each is scored as an answer of its own. With several, figures come without standard errors
    /// and intervals: the answers of a row are not independent.
    #[serde(default = "one_text")]
    #[schemars(range(min = 1))]
    pub samples: u64,
}

/// Follows several beginnings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Beam {
    /// How many.
    #[schemars(range(min = 1))]
    pub beams: u64,
    /// The logarithm of a text's probability is divided by the number of its new tokens to this power: above zero, longer
    /// texts become better; at 0 length does not count.
    #[serde(default = "one")]
    pub length_penalty: f64,
    /// When the search is over.
    #[serde(default)]
    pub early_stopping: EarlyStopping,
}

/// Follows several beginnings whose next tokens are drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BeamSample {
    /// How many.
    #[schemars(range(min = 1))]
    pub beams: u64,
    /// The logarithm of a text's probability is divided by the number of its new tokens to this power: above zero, longer
    /// texts become better; at 0 length does not count.
    #[serde(default = "one")]
    pub length_penalty: f64,
    /// When the search is over.
    #[serde(default)]
    pub early_stopping: EarlyStopping,
    /// What scores are divided by: below 1 the likely become likelier, at 0 the likeliest are taken, as `beam` does.
    #[serde(default = "one")]
    #[schemars(range(min = 0))]
    pub temperature: f64,
    /// Only so many likeliest tokens of each beam, and those as likely as the last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub top_k: Option<u64>,
    /// Only the fewest likeliest tokens whose probabilities come to this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub top_p: Option<f64>,
    /// Only tokens that are at least this part as likely as the likeliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minimum" = 0, "maximum" = 1))]
    pub min_p: Option<f64>,
    /// Only tokens whose surprise is nearest to what is expected, until their probabilities come to this: typical sampling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = 1))]
    pub typical_p: Option<f64>,
}

fn one() -> f64 {
    1.0
}

fn one_text() -> u64 {
    1
}

/// When a beam search is over, as transformers means it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EarlyStopping {
    /// `false`: when as many texts have ended as there are beams, and the best beginning, ended now, would be worse.
    #[default]
    Heuristic,
    /// `true`: when as many texts have ended as there are beams.
    Always,
    /// `never`: when, besides, no beginning can become better, however long it grows.
    Never,
}

impl Serialize for EarlyStopping {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Heuristic => serializer.serialize_bool(false),
            Self::Always => serializer.serialize_bool(true),
            Self::Never => serializer.serialize_str("never"),
        }
    }
}

impl<'de> Deserialize<'de> for EarlyStopping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = EarlyStopping;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or `never`")
            }

            fn visit_bool<E: de::Error>(self, early: bool) -> Result<EarlyStopping, E> {
                Ok(if early { EarlyStopping::Always } else { EarlyStopping::Heuristic })
            }

            fn visit_str<E: de::Error>(self, word: &str) -> Result<EarlyStopping, E> {
                match word {
                    "never" => Ok(EarlyStopping::Never),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for EarlyStopping {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EarlyStopping".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "`true`: the search is over when as many texts have ended as there are beams. `false`: when, besides, \
                            the best beginning, ended now, would be worse. `never`: when, besides, none can become better, \
                            however long it grows.",
            "enum": [true, false, "never"],
        })
    }
}

/// What is done to scores before one of them is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drawing {
    /// What they are divided by; above zero.
    pub temperature: f64,
    /// Only so many.
    pub top_k: Option<u64>,
    /// Only those that come to this.
    pub top_p: Option<f64>,
    /// Only those that are this part as likely as the likeliest.
    pub min_p: Option<f64>,
    /// Only typical ones, that come to this.
    pub typical_p: Option<f64>,
}

impl Decode {
    /// What is done to scores before one is drawn; none where nothing is, as at the temperature 0.
    pub fn drawing(&self) -> Option<Drawing> {
        let drawing = match *self {
            Self::Greedy(_) | Self::Beam(_) => return None,
            Self::Sample(Sample { temperature, top_k, top_p, min_p, typical_p, .. })
            | Self::BeamSample(BeamSample { temperature, top_k, top_p, min_p, typical_p, .. }) => {
                Drawing { temperature, top_k, top_p, min_p, typical_p }
            }
        };
        (drawing.temperature > 0.0).then_some(drawing)
    }

    /// Mistakes that no type can express; paths begin at the choice's name.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, problem: String, hint: &str| {
            faults.push(Fault::new(format!("{}.{key}", self.name()), problem, hint));
        };
        if let Self::Sample(Sample { temperature, top_k, top_p, min_p, typical_p, .. })
        | Self::BeamSample(BeamSample { temperature, top_k, top_p, min_p, typical_p, .. }) = self
        {
            if !(*temperature >= 0.0 && temperature.is_finite()) {
                let hint = "give a number from 0, which takes the likeliest, up; 1 leaves scores as they are";
                fault("temperature", format!("{temperature} is no temperature"), hint);
            }
            if *top_k == Some(0) {
                fault("top_k", "no token would be left".into(), "leave it out: it is off unless set");
            }
            for (key, p) in [("top_p", top_p), ("typical_p", typical_p)] {
                if let Some(p) = p.filter(|p| !(*p > 0.0 && *p <= 1.0)) {
                    let hint = "give a number above 0 and up to 1, such as 0.9; or leave it out: it is off unless set";
                    fault(key, format!("{p} is no sum of probabilities"), hint);
                }
            }
            if let Some(p) = min_p.filter(|p| !(0.0..=1.0).contains(p)) {
                let hint = "give a number from 0 to 1, such as 0.05; or leave it out: it is off unless set";
                fault("min_p", format!("{p} is no part of a probability"), hint);
            }
        }
        if let Self::Sample(Sample { samples: 0, .. }) = self {
            fault("samples", "no text would be written".into(), "give a number above zero");
        }
        if let Self::Beam(Beam { beams, length_penalty, .. })
        | Self::BeamSample(BeamSample { beams, length_penalty, .. }) = self
        {
            if *beams == 0 {
                fault("beams", "no beginning would be followed".into(), "4 are usual");
            }
            if !length_penalty.is_finite() {
                let hint = "give a number: 1 for the mean over tokens, 0 for the sum";
                fault("length_penalty", format!("{length_penalty} is no power"), hint);
            }
        }
        faults
    }
}
