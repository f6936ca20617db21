//! What `precision` may say.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The numbers that are computed with: one name for everything that may be rounded, or one each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Precision {
    /// Of hidden states.
    pub compute: Number,
    /// Of weights that do not train.
    pub base: Number,
    /// Of weights that train and of the optimiser's memory.
    pub trainable: Exact,
}

/// A kind of floating-point number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Number {
    /// Single precision: 24 bits of mantissa.
    #[default]
    Float32,
    /// 16 bits with the range of single precision and 8 bits of mantissa.
    Bf16,
    /// Half precision: 11 bits of mantissa, up to 65504. Training scales the loss and skips steps that overflow.
    Fp16,
}

/// Single precision; nothing less is safe for small updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Exact {
    /// Single precision.
    #[default]
    Float32,
}

impl Precision {
    /// Computing in `number`, with frozen weights of the same kind.
    pub fn all(number: Number) -> Self {
        Self { compute: number, base: number, trainable: Exact::Float32 }
    }

    /// Whether it is what stands where nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbers {
    compute: Number,
    base: Number,
    #[serde(default)]
    trainable: Exact,
}

impl Serialize for Precision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { compute, base, trainable } = *self;
        if compute == base {
            compute.serialize(serializer)
        } else {
            Numbers { compute, base, trainable }.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Precision {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Precision;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`float32`, `bf16`, `fp16`, or `{compute: …, base: …, trainable: float32}`")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Precision, E> {
                Number::deserialize(de::value::StrDeserializer::new(name)).map(Precision::all)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Precision, A::Error> {
                let Numbers { compute, base, trainable } =
                    Numbers::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Precision { compute, base, trainable })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Precision {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Precision".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let number = generator.subschema_for::<Number>();
        let exact = generator.subschema_for::<Exact>();
        schemars::json_schema!({
            "description": "The numbers that are computed with. `bf16` is short for \
                `{compute: bf16, base: bf16, trainable: float32}`: hidden states, weights that do not train, and weights \
                that train. Norms, softmax, rotary positions and the loss are float32 in every case.",
            "anyOf": [
                number,
                {
                    "type": "object",
                    "properties": { "compute": number, "base": number, "trainable": exact },
                    "required": ["compute", "base"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Precision, String> {
        serde_yaml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_name_is_short_for_a_map_and_is_written_where_it_says_all() {
        let bf16 = Precision::all(Number::Bf16);
        assert_eq!(read("bf16"), Ok(bf16));
        assert_eq!(read("{compute: bf16, base: bf16}"), Ok(bf16));
        assert_eq!(serde_yaml::to_string(&bf16).unwrap().trim(), "bf16");
        assert_eq!(serde_yaml::to_string(&Precision::default()).unwrap().trim(), "float32");
        let mixed = read("{compute: fp16, base: float32, trainable: float32}").unwrap();
        assert_eq!((mixed.compute, mixed.base), (Number::Fp16, Number::Float32));
        assert_eq!(read(&serde_yaml::to_string(&mixed).unwrap()), Ok(mixed));
    }

    #[test]
    fn other_numbers_are_refused() {
        assert!(read("float16").unwrap_err().contains("unknown variant `float16`"));
        assert!(read("{compute: bf16, base: bf16, trainable: bf16}").unwrap_err().contains("unknown variant `bf16`"));
        assert!(read("{compute: bf16}").unwrap_err().contains("missing field `base`"));
        assert!(read("16").unwrap_err().contains("`float32`, `bf16`, `fp16`"));
    }
}
