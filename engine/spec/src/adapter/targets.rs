//! Which linear maps a method adapts: by role, by the end of a name, by pattern, or all. Knows no model.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::stage::Fault;

/// The roles a linear map may have. One without `encoder` or `decoder` means the maps of every part.
pub const ROLES: &[&str] = &[
    "attention.q",
    "attention.k",
    "attention.v",
    "attention.o",
    "mlp.gate",
    "mlp.up",
    "mlp.down",
    "pooler",
    "embedding",
    "encoder.attention.q",
    "encoder.attention.k",
    "encoder.attention.v",
    "encoder.attention.o",
    "encoder.mlp.gate",
    "encoder.mlp.up",
    "encoder.mlp.down",
    "decoder.attention.q",
    "decoder.attention.k",
    "decoder.attention.v",
    "decoder.attention.o",
    "decoder.cross_attention.q",
    "decoder.cross_attention.k",
    "decoder.cross_attention.v",
    "decoder.cross_attention.o",
    "decoder.mlp.gate",
    "decoder.mlp.up",
    "decoder.mlp.down",
];

/// Which linear maps a method adapts.
///
/// A plain list means roles: `[attention.q, mlp.up]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub enum Targets {
    /// By what a map does, whatever the family calls it.
    #[serde(rename = "roles")]
    Roles(Vec<String>),
    /// By the end of the module's name, as PEFT's `target_modules` list: `q_proj`.
    #[serde(rename = "suffix")]
    Suffix(Vec<String>),
    /// By a regular expression over the whole module name, as PEFT's `target_modules` text.
    #[serde(rename = "regex")]
    Regex(String),
    /// Every linear map but the output head.
    #[serde(rename = "all-linear")]
    AllLinear,
}

const CHOICES: &[&str] = &["roles", "suffix", "regex", "all-linear"];

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Targets;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of roles, `{suffix: […]}`, `{regex: …}` or `all-linear`")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Targets, E> {
                match name {
                    "all-linear" => Ok(Targets::AllLinear),
                    _ if ROLES.contains(&name) => {
                        Err(E::custom(format!("`{name}` alone, where targets are a list; write `[{name}]`")))
                    }
                    _ => Err(E::unknown_variant(name, CHOICES)),
                }
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Targets, A::Error> {
                let mut roles = Vec::new();
                while let Some(role) = seq.next_element::<Role>()? {
                    roles.push(role.0);
                }
                Ok(Targets::Roles(roles))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Targets, A::Error> {
                let Some(choice) = map.next_key::<String>()? else {
                    return Err(de::Error::custom(
                        "nothing is chosen; write a list of roles, `{suffix: […]}`, `{regex: …}` or `all-linear`",
                    ));
                };
                let targets = match choice.as_str() {
                    "roles" => Targets::Roles(map.next_value::<Vec<Role>>()?.into_iter().map(|role| role.0).collect()),
                    "suffix" => Targets::Suffix(map.next_value()?),
                    "regex" => Targets::Regex(map.next_value()?),
                    _ => return Err(de::Error::unknown_variant(&choice, CHOICES)),
                };
                match map.next_key::<String>()? {
                    Some(second) => {
                        Err(de::Error::custom(format!("`{choice}` and `{second}` in one place; keep one of them")))
                    }
                    None => Ok(targets),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

struct Role(String);

impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        if ROLES.contains(&name.as_str()) { Ok(Self(name)) } else { Err(de::Error::unknown_variant(&name, ROLES)) }
    }
}

impl JsonSchema for Targets {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Targets".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let roles = serde_json::json!({ "type": "array", "items": { "enum": ROLES }, "minItems": 1 });
        schemars::json_schema!({
            "description": "Linear maps: a list of roles (`attention.q` …), `{suffix: [q_proj]}`, `{regex: …}` over whole module names, or `all-linear`.",
            "oneOf": [
                roles,
                { "const": "all-linear" },
                { "type": "object", "properties": { "roles": roles }, "required": ["roles"], "additionalProperties": false },
                {
                    "type": "object",
                    "properties": { "suffix": { "type": "array", "items": { "type": "string" }, "minItems": 1 } },
                    "required": ["suffix"],
                    "additionalProperties": false,
                },
                {
                    "type": "object",
                    "properties": { "regex": { "type": "string" } },
                    "required": ["regex"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

impl Targets {
    /// Mistakes that no type can express.
    pub fn faults(&self) -> Vec<Fault> {
        match self {
            Self::Roles(list) | Self::Suffix(list) if list.is_empty() => {
                vec![Fault::new(
                    "targets",
                    "no target: nothing would train",
                    "name at least one, for example `[attention.q, attention.v]`",
                )]
            }
            Self::Regex(pattern) => match regex::Regex::new(pattern) {
                Ok(_) => Vec::new(),
                Err(error) => vec![Fault::new(
                    "targets.regex",
                    format!(
                        "`{pattern}` is no regular expression: {}",
                        error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ")
                    ),
                    "write a pattern for whole module names, such as `.*\\.q_proj`",
                )],
            },
            _ => Vec::new(),
        }
    }
}
