//! Places that take either a stage's name or a choice with settings of its own, such as a train stage's `model`.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{self, IntoDeserializer},
};

use crate::{reference::Reference, suggest};

/// A stage, or a choice of the type `T`.
#[derive(Debug, Clone, PartialEq)]
pub enum StageOr<T> {
    /// A reference to a stage.
    Stage(Reference),
    /// The other choice.
    Other(T),
}

/// Reads a reference (text, or a map with the key `stage`), else a `T`.
///
/// # Errors
/// The errors of `Reference` and of `T`.
pub fn deserialize<'de, D, T>(deserializer: D, expected: &'static str) -> Result<StageOr<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    deserializer.deserialize_any(Visitor { expected, choice: PhantomData })
}

struct Visitor<T> {
    expected: &'static str,
    choice: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
    type Value = StageOr<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Reference::parse(text).map(StageOr::Stage).map_err(crate::reference::ReferenceError::refused)
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let first = map.next_key::<String>()?;
        // A misspelt `stage` or `where` is refused as a reference, which says what was meant.
        let is_reference =
            first.as_deref().is_some_and(|key| key == "part" || suggest::nearest(key, ["stage", "where"]).is_some());
        let rest = de::value::MapAccessDeserializer::new(WithFirst { first, map });
        if is_reference {
            Reference::deserialize(rest).map(StageOr::Stage)
        } else {
            T::deserialize(rest).map(StageOr::Other)
        }
    }
}

/// A map whose first key was already read.
pub(crate) struct WithFirst<A> {
    pub(crate) first: Option<String>,
    pub(crate) map: A,
}

impl<'de, A: de::MapAccess<'de>> de::MapAccess<'de> for WithFirst<A> {
    type Error = A::Error;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        match self.first.take() {
            Some(key) => seed.deserialize(key.into_deserializer()).map(Some),
            None => self.map.next_key_seed(seed),
        }
    }

    fn next_value_seed<V: de::DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}
