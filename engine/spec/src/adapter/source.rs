//! What a train stage trains: new adapters, or one that another stage left. Knows no method's settings.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Adapter;
use crate::{reference::Reference, stage::Fault, stage_or::WithFirst};

/// What trains.
#[derive(Debug, Clone, PartialEq)]
pub enum AdapterSource {
    /// These methods together, each with new parameters.
    New(Vec<Adapter>),
    /// What another stage has trained, trained on.
    Stage(Continued),
}

/// An adapter that another stage left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Continued {
    /// The stage that left the adapter, trained or downloaded. Method and settings are the adapter's own. PEFT's files say
    /// nothing of a frozen A, of a learning rate for B and of penalties: our adapters have them in `learned.json`, and slices
    /// of fused maps in `slices.json`; others are trained on without.
    pub from: Reference,
    /// Which head it begins with: that of the adapter, or a new one, for another task.
    #[serde(default, skip_serializing_if = "Head::is_kept")]
    pub head: Head,
}

/// The head that a continued adapter begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// The adapter's own.
    #[default]
    Kept,
    /// A new one.
    Fresh,
}

impl Head {
    fn is_kept(&self) -> bool {
        *self == Self::Kept
    }
}

impl AdapterSource {
    /// Whether the base stays as it is and only an adapter is saved.
    pub fn is_adapter(&self) -> bool {
        match self {
            Self::New(methods) => methods.iter().all(Adapter::is_adapter),
            Self::Stage(_) => true,
        }
    }

    /// The one method whose size is chosen by a count.
    pub fn sized_by_count(&self) -> Option<&Adapter> {
        match self {
            Self::New(methods) => methods.iter().find(|method| method.like().is_some()),
            Self::Stage(_) => None,
        }
    }

    /// Whether it brings the task's head with it.
    pub fn has_head(&self) -> bool {
        matches!(self, Self::Stage(Continued { head: Head::Kept, .. }))
    }

    /// Its name in messages, such as `lora` or `lora and prompt`.
    pub fn name(&self) -> String {
        match self {
            Self::New(methods) => methods.iter().map(Adapter::name).collect::<Vec<_>>().join(" and "),
            Self::Stage(continued) => continued.from.to_string(),
        }
    }

    /// Mistakes that no type can express; paths begin at the place of this setting.
    pub fn faults(&self, at: &str) -> Vec<Fault> {
        let Self::New(methods) = self else { return Vec::new() };
        let below = |path: String, faults: Vec<Fault>| {
            faults.into_iter().map(move |fault| Fault { path: format!("{path}.{}", fault.path), ..fault })
        };
        if let [method] = methods.as_slice() {
            return below(at.to_owned(), method.faults()).collect();
        }
        let mut faults = Vec::new();
        for (index, method) in methods.iter().enumerate() {
            let path = format!("{at}.{index}");
            if let Some((setting, _)) = method.like() {
                let message = "a method that trains with others has no count to itself, which another's could be like";
                let path = format!("{path}.{setting}");
                faults.push(Fault::new(path, message, "write its size as a number"));
            }
            if !method.is_adapter() {
                let message =
                    format!("`{}` trains every weight: there is nothing left for another method", method.name());
                faults.push(Fault::new(&path, message, "keep it alone, or take it out of the list"));
            }
            if methods.iter().take(index).any(|other| other.name() == method.name()) {
                let message = format!("`{}` stands here twice", method.name());
                faults.push(Fault::new(&path, message, "name each method once, with all its targets"));
            }
            faults.extend(below(path, method.faults()));
        }
        faults
    }
}

impl Serialize for AdapterSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::New(methods) => match methods.as_slice() {
                [method] => method.serialize(serializer),
                several => several.serialize(serializer),
            },
            Self::Stage(continued) => continued.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for AdapterSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = AdapterSource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a method, a list of methods, or `{from: STAGE}`")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<AdapterSource, E> {
                Adapter::deserialize(de::value::StrDeserializer::new(name)).map(|one| AdapterSource::New(vec![one]))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<AdapterSource, A::Error> {
                let first = map.next_key::<String>()?;
                let continued = matches!(first.as_deref(), Some("from" | "head"));
                let rest = de::value::MapAccessDeserializer::new(WithFirst { first, map });
                match continued {
                    true => Continued::deserialize(rest).map(AdapterSource::Stage),
                    false => Adapter::deserialize(rest).map(|one| AdapterSource::New(vec![one])),
                }
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<AdapterSource, A::Error> {
                let mut methods = Vec::new();
                while let Some(method) = seq.next_element()? {
                    methods.push(method);
                }
                match methods.is_empty() {
                    true => Err(de::Error::custom("an empty list; name at least one method, or `full`")),
                    false => Ok(AdapterSource::New(methods)),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for AdapterSource {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AdapterSource".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let one = generator.subschema_for::<Adapter>();
        let continued = generator.subschema_for::<Continued>();
        schemars::json_schema!({
            "description": "A method, a list of methods that train together, or `{from: STAGE}`: an adapter that is trained on.",
            "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }, continued],
        })
    }
}
