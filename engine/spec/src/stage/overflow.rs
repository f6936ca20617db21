//! What becomes of rows that are too long, as a `tokenize` stage may say it.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{block::Block, stage_or::WithFirst};

/// What becomes of rows that are too long: one policy, or one a split.
#[derive(Debug, Clone, PartialEq)]
pub enum Overflow {
    /// For every split.
    Every(OverflowPolicy),
    /// By split; a split that is not named has the default.
    BySplit(BTreeMap<String, OverflowPolicy>),
}

impl Default for Overflow {
    fn default() -> Self {
        Self::Every(OverflowPolicy::Fail(super::preprocess::Empty {}))
    }
}

impl Overflow {
    /// The policy of a split.
    pub fn of(&self, split: &str) -> OverflowPolicy {
        match self {
            Self::Every(policy) => policy.clone(),
            Self::BySplit(policies) => {
                policies.get(split).cloned().unwrap_or(OverflowPolicy::Fail(super::preprocess::Empty {}))
            }
        }
    }
}

impl Serialize for Overflow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Every(policy) => policy.serialize(serializer),
            Self::BySplit(policies) => policies.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Overflow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Overflow;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`drop`, `fail` or `{truncate: field}`, or one of these for each split")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Overflow, E> {
                OverflowPolicy::deserialize(de::value::StrDeserializer::new(name)).map(Overflow::Every)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Overflow, A::Error> {
                let mut policies = BTreeMap::new();
                let mut next = map.next_key::<String>()?;
                if next.as_ref().is_some_and(|name| OverflowPolicy::NAMES.contains(&name.as_str())) {
                    let whole = de::value::MapAccessDeserializer::new(WithFirst { first: next, map });
                    return OverflowPolicy::deserialize(whole).map(Overflow::Every);
                }
                while let Some(split) = next {
                    policies.insert(split, map.next_value::<OverflowPolicy>()?);
                    next = map.next_key()?;
                }
                Ok(Overflow::BySplit(policies))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Overflow {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Overflow".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let policy = generator.subschema_for::<OverflowPolicy>();
        schemars::json_schema!({
            "description": "`fail` (the default), `drop` or `{truncate: field}`: for every split, or a map from split to one of these.",
            "anyOf": [policy, { "type": "object", "additionalProperties": policy }],
        })
    }
}

crate::one_of! {
    /// What becomes of a row that is too long.
    pub enum OverflowPolicy {
        /// The stage fails and names the row.
        fail => Fail(super::preprocess::Empty),
        /// The row is left out and counted: for training splits alone, a scored row is never dropped.
        drop => Drop(super::preprocess::Empty),
        /// The named field of the template is cut at its end until the row fits; a row that cannot fit is scored as failed.
        /// With `form: text` a block may be named: `prompt` or `pair`.
        truncate => Truncate(Truncate),
        /// The pair is read in parts that overlap by so many tokens, each behind the whole prompt; `span` takes the best
        /// answer of all parts. For `form: text` alone.
        windows => Windows(Windows),
    }
}

impl OverflowPolicy {
    /// Whether a text is cut or parted that only rows with a pair have.
    pub(super) fn is_of_pair(&self) -> bool {
        match self {
            Self::Windows(_) => true,
            Self::Truncate(field) => **field == *Block::Pair.name(),
            Self::Fail(_) | Self::Drop(_) => false,
        }
    }
}

/// The field that is cut, by its column's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Truncate(pub String);

impl std::ops::Deref for Truncate {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Truncate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Truncate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Truncate;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "`{truncate: COLUMN}`, a column that stands in the prompt, or, with a `form` that is not `completion`, \
                     `{truncate: prompt}`",
                )
            }

            fn visit_str<E: de::Error>(self, field: &str) -> Result<Truncate, E> {
                Ok(Truncate(field.to_owned()))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

impl JsonSchema for Truncate {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        String::schema_name()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        String::json_schema(generator)
    }
}

/// Parts of a long pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map such as `{stride: …}`")]
pub struct Windows {
    /// How many tokens two parts that follow one another share.
    pub stride: usize,
}
