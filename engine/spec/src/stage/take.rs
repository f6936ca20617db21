//! How many rows of a split are kept. Knows no rows.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// `all` rows, the first so many, or the first whole groups.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Take {
    /// Every row.
    #[default]
    All,
    /// The first so many rows.
    Rows(usize),
    /// Rows of the first groups.
    Groups(WholeGroups),
}

/// Rows of whole groups: rows of the same value in a column are taken all or none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WholeGroups {
    /// How many rows, at least: groups are taken, the first first, until this many are reached.
    #[schemars(range(min = 1))]
    pub rows: usize,
    /// The column whose equal values make a group.
    pub by: String,
}

impl Serialize for Take {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => serializer.serialize_str("all"),
            Self::Rows(rows) => serializer.serialize_u64(*rows as u64),
            Self::Groups(groups) => groups.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Take {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Take;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`all`, or a number of rows above zero")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Take, E> {
                match text {
                    "all" => Ok(Take::All),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_u64<E: de::Error>(self, rows: u64) -> Result<Take, E> {
                match usize::try_from(rows) {
                    Ok(rows) if rows > 0 => Ok(Take::Rows(rows)),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(rows), &self)),
                }
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Take, A::Error> {
                WholeGroups::deserialize(de::value::MapAccessDeserializer::new(map)).map(Take::Groups)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Take {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Take".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let groups = generator.subschema_for::<WholeGroups>();
        schemars::json_schema!({
            "description": "`all` rows, the first so many, or the first whole groups: `{rows: 1000, by: title}`.",
            "anyOf": [{ "const": "all" }, { "type": "integer", "minimum": 1 }, groups],
        })
    }
}
