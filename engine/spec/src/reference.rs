//! How a stage names what it reads: `tokens`, `tokens/dev`, `tuned[method=dora,seed=0]`, or the long form
//! `{stage: tuned, where: {method: dora}, part: dev}`. Knows the notation, not which stages exist.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A stage, the axes fixed by a selector, and the part of what it leaves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// The stage's name.
    pub stage: String,
    /// Axes fixed to a label: these are not followed.
    pub selector: BTreeMap<String, String>,
    /// A named part of what the stage leaves, such as a split.
    pub part: Option<String>,
}

/// Why a text is no reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// No stage name.
    #[error("`{0}` names no stage")]
    NoStage(String),
    /// An address of the Hub.
    #[error("`{0}` is something of the Hub, and no stage")]
    Hub(String),
    /// A `[` without its `]`, or text after it that is no part.
    #[error("`{0}` has a bracket too many or too few")]
    Brackets(String),
    /// A label whose quote is not closed, or is followed by something.
    #[error("the quotes in `{0}` do not fit together")]
    Quotes(String),
    /// A selector entry that is not `axis=label`.
    #[error("`{entry}` in `{text}` fixes no axis")]
    Entry {
        /// The whole reference.
        text: String,
        /// The entry at fault.
        entry: String,
    },
    /// An axis fixed twice.
    #[error("`{text}` fixes the axis `{axis}` twice")]
    Twice {
        /// The whole reference.
        text: String,
        /// The axis.
        axis: String,
    },
}

impl ReferenceError {
    /// What to do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoStage(_) => "write `stage`, `stage/part` or `stage[axis=label]`",
            Self::Hub(_) => "make it a stage, `{kind: download, from: hf://…}`, and write that stage's name here",
            Self::Brackets(_) => "a selector is `[axis=label,…]`, right behind the stage's name",
            Self::Quotes(_) => "a label with a comma stands in quotes: `[axis=\"a, b\"]`, a quote within it as `\\\"`",
            Self::Entry { .. } => "write `axis=label`",
            Self::Twice { .. } => "keep one of them",
        }
    }

    /// The message with its hint, as a deserializer's error.
    pub(crate) fn refused<E: de::Error>(self) -> E {
        E::custom(format!("{self}; {}", self.hint()))
    }
}

impl Reference {
    /// A reference to a whole stage.
    pub fn to_stage(stage: impl Into<String>) -> Self {
        Self { stage: stage.into(), selector: BTreeMap::new(), part: None }
    }

    /// Reads the short form.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let text = text.trim();
        if text.starts_with(crate::stage::HUB_SCHEME) {
            return Err(ReferenceError::Hub(text.to_owned()));
        }
        let (head, selector, tail) = match text.find('[') {
            None => match text.split_once('/') {
                Some((stage, part)) => (stage, "", Some(part)),
                None => (text, "", None),
            },
            Some(open) => {
                let close = text.rfind(']').filter(|close| *close > open);
                let Some(close) = close else { return Err(ReferenceError::Brackets(text.to_owned())) };
                let rest = &text[close + 1..];
                let tail = match rest.strip_prefix('/') {
                    Some(part) => Some(part),
                    None if rest.is_empty() => None,
                    None => return Err(ReferenceError::Brackets(text.to_owned())),
                };
                (&text[..open], &text[open + 1..close], tail)
            }
        };
        if head.trim().is_empty() || tail.is_some_and(|part| part.trim().is_empty()) {
            return Err(ReferenceError::NoStage(text.to_owned()));
        }
        let mut fixed = BTreeMap::new();
        let mut rest = Some(selector).filter(|selector| !selector.is_empty());
        while let Some(entries) = rest {
            let entry = entries.split(',').next().unwrap_or_default();
            let Some((axis, label)) = entries.split_once('=').filter(|(axis, _)| !axis.contains(',')) else {
                return Err(ReferenceError::Entry { text: text.to_owned(), entry: entry.to_owned() });
            };
            let (label, after) = match label.trim_start().strip_prefix('"') {
                None => match label.split_once(',') {
                    Some((label, after)) => (label.trim().to_owned(), Some(after)),
                    None => (label.trim().to_owned(), None),
                },
                Some(quoted) => unquoted(quoted).ok_or_else(|| ReferenceError::Quotes(text.to_owned()))?,
            };
            if fixed.insert(axis.trim().to_owned(), label).is_some() {
                return Err(ReferenceError::Twice { text: text.to_owned(), axis: axis.trim().to_owned() });
            }
            rest = after;
        }
        Ok(Self { stage: head.trim().to_owned(), selector: fixed, part: tail.map(|part| part.trim().to_owned()) })
    }
}

/// A label as a selector holds it: in quotes where it would not be read back without.
pub fn quoted(label: &str) -> String {
    let is_plain = !label.contains(',') && !label.starts_with('"') && label.trim() == label;
    if is_plain { label.to_owned() } else { format!("\"{}\"", label.replace('\\', "\\\\").replace('"', "\\\"")) }
}

/// What stands before the closing quote, and what follows the comma behind it.
fn unquoted(text: &str) -> Option<(String, Option<&str>)> {
    let mut label = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => label.push(characters.next()?.1),
            '"' => {
                let after = text[at + 1..].trim_start();
                return match after.strip_prefix(',') {
                    Some(rest) => Some((label, Some(rest))),
                    None => after.is_empty().then_some((label, None)),
                };
            }
            other => label.push(other),
        }
    }
    None
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.stage)?;
        if !self.selector.is_empty() {
            let entries: Vec<_> =
                self.selector.iter().map(|(axis, label)| format!("{axis}={}", quoted(label))).collect();
            write!(f, "[{}]", entries.join(","))?;
        }
        if let Some(part) = &self.part {
            write!(f, "/{part}")?;
        }
        Ok(())
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if Self::parse(&self.to_string()).as_ref() == Ok(self) {
            return serializer.collect_str(self);
        }
        // A part that the short form cannot hold.
        let Self { stage, selector, part } = self;
        LongForm { stage, selector, part }.serialize(serializer)
    }
}

/// A label as YAML may write it: `seed: 0` and `seed: "0"` are the same label.
struct Label(String);

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Label;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a label: a word or a number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Label, E> {
                Ok(Label(text.to_owned()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Label, E> {
                Ok(Label(number.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Label, E> {
                Ok(Label(number.to_string()))
            }

            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Label, E> {
                Ok(Label(serde_yaml::Number::from(number).to_string()))
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Label, E> {
                Ok(Label(value.to_string()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Reference;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one stage, such as `tokens`, `tokens/test` or `tokens[axis=label]`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Reference, E> {
                Reference::parse(text).map_err(ReferenceError::refused)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Reference, A::Error> {
                let long = ReadLongForm::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Reference {
                    stage: long.stage,
                    selector: long.selector.into_iter().map(|(axis, label)| (axis, label.0)).collect(),
                    part: long.part,
                })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadLongForm {
    stage: String,
    #[serde(rename = "where", default)]
    selector: BTreeMap<String, Label>,
    #[serde(default)]
    part: Option<String>,
}

#[derive(Serialize)]
struct LongForm<'a> {
    stage: &'a String,
    #[serde(rename = "where")]
    selector: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    part: &'a Option<String>,
}

/// The short form as a regular expression, for the JSON Schema.
const SHORT_FORM: &str = r#"^\s*[^\[\]/\s][^\[\]/]*(\[([^=,\[\]]+=("([^"\\]|\\.)*"|[^",][^,]*|)(,[^=,\[\]]+=("([^"\\]|\\.)*"|[^",][^,]*|))*)?\])?(/.*[^\s].*)?$"#;

impl JsonSchema for Reference {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Reference".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A stage by name: `tokens`, a part of it: `tokens/dev`, or chosen members: `tuned[method=dora]`. Long form: `{stage: tuned, where: {method: dora}, part: …}`.",
            "anyOf": [
                { "type": "string", "pattern": SHORT_FORM, "not": { "pattern": "^\\s*hf://" } },
                { "type": "string", "pattern": r"\$\{[^}.]+\.[^}]+\}" },
                {
                    "type": "object",
                    "properties": {
                        "stage": { "type": "string" },
                        "where": { "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } },
                        "part": { "type": "string" },
                    },
                    "required": ["stage"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

/// One reference or a list of alternatives. A list is an axis of the stage that names it: one member for each.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct OneOrMany(pub Vec<Reference>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a stage, or a list of stages")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany, E> {
                Reference::parse(text).map(|reference| OneOrMany(vec![reference])).map_err(ReferenceError::refused)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<OneOrMany, A::Error> {
                Reference::deserialize(de::value::MapAccessDeserializer::new(map)).map(|one| OneOrMany(vec![one]))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<OneOrMany, A::Error> {
                let mut references = Vec::new();
                while let Some(reference) = seq.next_element()? {
                    references.push(reference);
                }
                if references.is_empty() {
                    return Err(de::Error::custom("an empty list; name at least one stage"));
                }
                Ok(OneOrMany(references))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for OneOrMany {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "References".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let one = generator.subschema_for::<Reference>();
        schemars::json_schema!({
            "description": "A stage, or a list of stages: a list is an axis named after its key, one member for each entry.",
            "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms() {
        let reference = Reference::parse("tuned[method=dora,seed=0]/best").unwrap();
        assert_eq!(reference.stage, "tuned");
        assert_eq!(reference.selector["seed"], "0");
        assert_eq!(reference.part.as_deref(), Some("best"));
        assert_eq!(reference.to_string(), "tuned[method=dora,seed=0]/best");
        assert_eq!(Reference::parse("tokens/dev").unwrap().to_string(), "tokens/dev");
    }

    #[test]
    fn faults_are_named() {
        assert!(matches!(Reference::parse("tuned[method=dora"), Err(ReferenceError::Brackets(_))));
        assert!(matches!(Reference::parse("tuned[method]"), Err(ReferenceError::Entry { .. })));
        assert!(matches!(Reference::parse("/dev"), Err(ReferenceError::NoStage(_))));
        assert!(matches!(Reference::parse("hf://owner/name"), Err(ReferenceError::Hub(_))));
        assert!(matches!(Reference::parse("t[a=1,a=2]"), Err(ReferenceError::Twice { .. })));
    }

    #[test]
    fn labels_are_read_back_whatever_they_hold() {
        assert_eq!(Reference::parse(r#"t[name="a,b", seed=0]/dev"#).unwrap().selector["name"], "a,b");
        let labels =
            ["a,b", "a=b", "\"", "a \"b\"", "x]y", "[x", " a ", "", "a\\,b", "5\"", "u[v=w,x=y]/z", "a, \"b\", c\\"];
        let pattern = regex::Regex::new(SHORT_FORM).unwrap();
        for label in labels {
            let selector =
                [("name", label), ("other", "plain")].map(|(axis, label)| (axis.to_owned(), label.to_owned()));
            for part in [None, Some("dev".to_owned())] {
                let reference = Reference { stage: "t".into(), selector: BTreeMap::from(selector.clone()), part };
                let text = reference.to_string();
                assert_eq!(Reference::parse(&text), Ok(reference), "{text}");
                assert!(pattern.is_match(&text), "{text}");
            }
        }
        assert_eq!(quoted("attention.q+mlp.up"), "attention.q+mlp.up");
        assert!(matches!(Reference::parse(r#"t[a="b]"#), Err(ReferenceError::Quotes(_))));
        assert!(matches!(Reference::parse(r#"t[a="b"c]"#), Err(ReferenceError::Quotes(_))));
    }

    #[test]
    fn long_form_takes_numbers_as_labels() {
        let long: Reference = serde_yaml::from_str("{stage: tuned, where: {seed: 0}}").unwrap();
        assert_eq!(long, Reference::parse("tuned[seed=0]").unwrap());
    }
}
