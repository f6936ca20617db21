//! The macro behind every "one of these" place of a pipeline file: a single-key map (`{lora: {rank: 8}}`) or, where
//! a choice has no required settings, its bare name (`greedy`). Knows nothing of any particular choice.

/// Declares an enum of choices, each a struct of settings, and reads it from `{name: {settings…}}` or `name`.
///
/// A choice is one line, so this is the registry of the place it stands in; behind `where` it may say what the JSON Schema
/// holds its value to, such as `{"minimum": 1}`. It is written back as a single-key map
/// in every case, so that `greedy` and `{greedy: {}}` are the same setting.
#[macro_export]
macro_rules! one_of {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $key:ident => $variant:ident($ty:ty) $(where $rule:tt)?),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $name { $($(#[$vmeta])* $variant($ty)),+ }

        impl $name {
            /// The names that may stand here, in the order of the documentation.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($key)),+];

            /// The name of this choice as the pipeline file writes it.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => stringify!($key)),+ }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = serializer.serialize_map(Some(1))?;
                match self { $(Self::$variant(settings) => map.serialize_entry(stringify!($key), settings)?),+ }
                map.end()
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Choice;
                impl<'de> serde::de::Visitor<'de> for Choice {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("one of ")?;
                        f.write_str(&$name::NAMES.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", "))
                    }

                    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Self::Value, E> {
                        match name {
                            $(stringify!($key) => <$ty as serde::Deserialize>::deserialize(
                                serde::de::value::MapDeserializer::<_, E>::new(std::iter::empty::<(&str, ())>()),
                            )
                            .map($name::$variant)
                            .map_err(|error: E| E::custom($crate::one_of::bare(name, &error.to_string()))),)+
                            _ => {
                                let text = || serde::de::value::StrDeserializer::<serde::de::value::Error>::new(name);
                                let takes = [$((
                                    stringify!($key),
                                    <$ty as serde::Deserialize>::deserialize(text()).is_ok(),
                                )),+];
                                Err($crate::one_of::unknown(name, $name::NAMES, &takes))
                            }
                        }
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        use serde::de::Error;
                        let Some(first) = map.next_key::<String>()? else {
                            return Err(A::Error::custom(format!("nothing is chosen; write one of {}", $crate::one_of::listed($name::NAMES))));
                        };
                        let choice = match first.as_str() {
                            $(stringify!($key) => map.next_value::<$ty>().map($name::$variant)?,)+
                            _ => {
                                let unset = || serde::de::value::MapDeserializer::<_, serde::de::value::Error>::new(
                                    std::iter::once((first.as_str(), ())),
                                );
                                let has = [$((
                                    stringify!($key),
                                    $crate::one_of::is_setting(<$ty as serde::Deserialize>::deserialize(unset()).err()),
                                )),+];
                                return Err($crate::one_of::unknown_key(&first, $name::NAMES, &has));
                            }
                        };
                        if let Some(second) = map.next_key::<String>()? {
                            return Err(A::Error::custom(format!("`{first}` and `{second}` in one place; keep one of them")));
                        }
                        Ok(choice)
                    }
                }
                deserializer.deserialize_any(Choice)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> { stringify!($name).into() }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let mut choices: Vec<serde_json::Value> = Vec::new();
                $(
                    let meaning = [$($crate::one_of::doc_of(stringify!($vmeta))),*].concat();
                    choices.extend($crate::one_of::choice_schema::<$ty>(
                        generator,
                        stringify!($key),
                        meaning.trim(),
                        $crate::one_of::rules!($($rule)?),
                    ));
                )+
                let mut schema = schemars::json_schema!({ "oneOf": choices });
                let doc = [$($crate::one_of::doc_of(stringify!($meta))),*].concat();
                if !doc.is_empty() { schema.insert("description".into(), doc.trim().into()); }
                schema
            }
        }
    };
}

/// What a schema says of a choice's value besides its type.
#[doc(hidden)]
#[macro_export]
macro_rules! one_of_rules {
    () => {
        serde_json::Map::new()
    };
    ({$($key:literal: $value:literal),+}) => {
        serde_json::Map::from_iter([$(($key.to_owned(), serde_json::Value::from($value))),+])
    };
}
pub use crate::one_of_rules as rules;

/// Names in backticks, joined for a message.
pub fn listed(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Why a choice cannot stand as its bare name, from what its settings lack. What a type expects may say what to write, as
/// "`{truncate: COLUMN}`, …".
pub fn bare(name: &str, lack: &str) -> String {
    let key = lack.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    let written = lack.split_once(", expected ").map(|(_, expected)| expected).filter(|text| text.starts_with('`'));
    match (key, written) {
        (Some(key), _) => {
            format!("`{name}` alone says too little: `{key}` is missing; write `{{{name}: {{{key}: …}}}}`")
        }
        (None, Some(written)) => format!("`{name}` alone says too little; write {written}"),
        (None, None) => format!("`{name}` alone says too little; write `{{{name}: …}}`"),
    }
}

/// Whether a key is a setting of a choice, by why the choice cannot be read of this key with nothing behind it.
pub fn is_setting(error: Option<serde::de::value::Error>) -> bool {
    let other = ["unknown field", "unknown variant", "invalid type: map"];
    error.is_none_or(|error| other.iter().all(|begin| !error.to_string().starts_with(begin)))
}

/// Why a key names no choice: it is a setting of some, as `has` says of each, or unknown.
pub fn unknown_key<E: serde::de::Error>(key: &str, names: &'static [&'static str], has: &[(&str, bool)]) -> E {
    let owners: Vec<&str> = has.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
    match owners.first() {
        Some(first) => {
            let owners = listed(&owners);
            E::custom(format!("`{key}` is a setting of {owners}; write `{{{first}: {{{key}: …}}}}`"))
        }
        None => E::unknown_variant(key, names),
    }
}

/// Why a text is no choice: misspelt, or the setting of a choice that takes a text, as `takes` says of each.
pub fn unknown<E: serde::de::Error>(text: &str, names: &'static [&'static str], takes: &[(&str, bool)]) -> E {
    let misspelt = crate::suggest::nearest(text, names.iter().copied()).is_some();
    match takes.iter().find(|(_, takes)| *takes) {
        Some((name, _)) if !misspelt && !text.contains("://") => {
            E::custom(format!("`{text}` alone does not say what it is; write `{{{name}: {text}}}`"))
        }
        _ => E::unknown_variant(text, names),
    }
}

/// The text of a `doc = "…"` attribute, else nothing: lets the macro carry doc comments into the schema.
pub fn doc_of(attribute: &str) -> String {
    let Some(rest) = attribute.trim().strip_prefix("doc") else { return String::new() };
    let text = rest.trim().trim_start_matches('=').trim();
    let text = text.trim_start_matches('r').trim_matches('#').trim_matches('"');
    format!("{} ", text.trim().replace("\\\"", "\""))
}

/// The schemas of one choice: its single-key map, and its bare name where it is a map without a required setting.
pub fn choice_schema<T: schemars::JsonSchema>(
    generator: &mut schemars::SchemaGenerator,
    name: &str,
    meaning: &str,
    rules: serde_json::Map<String, serde_json::Value>,
) -> Vec<serde_json::Value> {
    let body = T::json_schema(generator);
    let is_map = body.get("type").is_some_and(|kind| kind == "object");
    let needs_settings =
        body.get("required").and_then(|required| required.as_array()).is_some_and(|list| !list.is_empty());
    let mut reference = generator.subschema_for::<T>();
    for (rule, value) in rules {
        reference.insert(rule, value);
    }
    let mut schemas = vec![serde_json::json!({
        "description": meaning,
        "type": "object",
        "properties": { name: reference },
        "required": [name],
        "additionalProperties": false,
    })];
    if is_map && !needs_settings {
        schemas.push(serde_json::json!({ "description": meaning, "const": name }));
    }
    schemas
}
