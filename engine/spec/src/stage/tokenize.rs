//! What a `tokenize` stage may say.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Chat, Fault, Input, Kind, Overflow, OverflowPolicy, Program, Splits, WantedSplit};
use crate::{
    block::{Block, WantedBlock},
    reference::Reference,
};

/// Turns rendered rows into token ids.
///
/// Leaves `<split>.parquet` for each split (ids, which of them belong to completions, lengths), the `tokenizer.json`
/// that was used, and a `summary.json`: counts, a histogram of lengths, what was dropped or cut and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tokenize {
    /// The `preprocess` stage whose rows are tokenized.
    pub input: Reference,
    /// A stage that left a `tokenizer.json`, a SentencePiece model, `vocab.json` with `merges.txt`, or `vocab.txt`; or
    /// `{bpe: {…}}`: one trained from the rows.
    pub tokenizer: TokenizerSource,
    /// Write each row as a chat, by the tokenizer's own chat template. Without it, prompt and completion stand as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat: Option<Chat>,
    /// Whether prompt and completion are encoded apart or as one text.
    #[serde(default)]
    pub boundary: Boundary,
    /// The token that begins a row: its text, `none`, or `auto`: the tokenizer's, where it has one and adds it by itself.
    #[serde(default)]
    pub bos: SpecialToken,
    /// The token that ends a completion and carries loss: its text, `none`, or `auto`: the tokenizer's or the model's
    /// end of text.
    #[serde(default)]
    pub eos: SpecialToken,
    /// The most tokens a row may have: one number for the whole row, or one for the prompt and one for the completion.
    pub max_length: MaxLength,
    /// What becomes of a row that is longer: for every split, or by split.
    #[serde(default)]
    pub overflow: Overflow,
    /// What a row is made into: a text that goes on, a text that is read whole, a text and its answer, or a text for each
    /// of its choices.
    #[serde(default, skip_serializing_if = "Form::is_completion")]
    pub form: Form,
}

crate::one_of! {
    /// What a row is made into.
    pub enum Form {
        /// One text: BOS, prompt, completion, EOS. For causal language models.
        completion => Completion(super::preprocess::Empty),
        /// The prompt, and the block `pair` behind it, with the special tokens that the tokenizer itself adds. For encoders:
        /// `classify`, `regress`, `span`.
        text => Text(TextForm),
        /// The prompt and the completion apart, each with the special tokens that the tokenizer itself adds. For
        /// encoder–decoders: `seq2seq`.
        seq2seq => Seq2Seq(super::preprocess::Empty),
        /// The prompt with each choice behind it, encoded as one text: BOS, prompt, delimiter, choice. For causal language
        /// models: `choices`. What the prompt alone has as tokens is its part; white space at its end goes to the choices.
        choices => Choices(ChoicesForm),
    }
}

impl Default for Form {
    fn default() -> Self {
        Self::Completion(super::preprocess::Empty {})
    }
}

impl Form {
    fn is_completion(&self) -> bool {
        matches!(self, Self::Completion(_))
    }
}

/// A text for each choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChoicesForm {
    /// What stands between the prompt and a choice; it belongs to the choice, but is not counted in its length.
    #[serde(default = "default_delimiter")]
    pub delimiter: String,
}

impl Default for ChoicesForm {
    fn default() -> Self {
        Self { delimiter: default_delimiter() }
    }
}

fn default_delimiter() -> String {
    " ".to_owned()
}

/// Texts that are read whole.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextForm {
    /// The names of the classes in the order of their numbers. Without it, the labels of all splits, sorted: numbers by
    /// their value, else by their letters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub labels: Option<Vec<String>>,
}

/// Which special token is used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum SpecialToken {
    /// What the tokenizer's files say.
    #[default]
    Auto,
    /// None.
    None,
    /// This one, by its text.
    Token(String),
}

impl Serialize for SpecialToken {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::None => serializer.serialize_str("none"),
            Self::Token(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for SpecialToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match String::deserialize(deserializer)?.as_str() {
            "auto" => Self::Auto,
            "none" => Self::None,
            text => Self::Token(text.to_owned()),
        })
    }
}

impl JsonSchema for SpecialToken {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SpecialToken".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "`auto`, `none`, or the text of a token, such as `<end_of_turn>`.",
            "type": "string",
        })
    }
}

/// Where the tokenizer comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenizerSource {
    /// A stage that left a `tokenizer.json`.
    Stage(Reference),
    /// Byte-pair encoding, trained from the rows.
    Bpe(BpeTraining),
}

impl Serialize for TokenizerSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        match self {
            Self::Stage(reference) => reference.serialize(serializer),
            Self::Bpe(training) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("bpe", training)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for TokenizerSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::stage_or::deserialize(deserializer, "a stage that left a `tokenizer.json`, or `{bpe: {…}}`").map(
            |found: crate::stage_or::StageOr<Trained>| match found {
                crate::stage_or::StageOr::Stage(reference) => Self::Stage(reference),
                crate::stage_or::StageOr::Other(Trained::Bpe(training)) => Self::Bpe(training),
            },
        )
    }
}

crate::one_of! {
    /// A tokenizer trained from the rows.
    pub enum Trained {
        /// Byte-level byte-pair encoding.
        bpe => Bpe(BpeTraining),
    }
}

impl JsonSchema for TokenizerSource {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TokenizerSource".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let stage = generator.subschema_for::<Reference>();
        let trained = generator.subschema_for::<Trained>();
        schemars::json_schema!({
            "description": "A stage that left a `tokenizer.json`, or one trained from the rows: `{bpe: {…}}`.",
            "anyOf": [stage, trained],
        })
    }
}

/// Byte-level byte-pair encoding, trained from the rows of some splits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BpeTraining {
    /// The most pieces it may have, the 256 bytes and the special tokens included.
    #[schemars(range(min = 260))]
    pub vocabulary: usize,
    /// The splits whose texts are learned from. Without it, every split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub splits: Option<Vec<String>>,
    /// How often a pair must occur to become a piece.
    #[serde(default = "default_min_frequency")]
    pub min_frequency: u64,
}

fn default_min_frequency() -> u64 {
    2
}

/// Where prompt and completion meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Boundary {
    /// Encoded apart: training sees exactly the prompt ids that generation will see.
    #[default]
    Separate,
    /// Encoded as one text; a token that holds text of both belongs to the completion.
    Joint,
}

/// The most tokens a row may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxLength {
    /// Prompt and completion together.
    Row(usize),
    /// The prompt, and all completions of the row together.
    Parts {
        /// Tokens of the prompt, the BOS included.
        prompt: usize,
        /// Tokens of the completion, the EOS included.
        completion: usize,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    prompt: usize,
    completion: usize,
}

impl Serialize for MaxLength {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Row(tokens) => serializer.serialize_u64(tokens as u64),
            Self::Parts { prompt, completion } => Parts { prompt, completion }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for MaxLength {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = MaxLength;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of tokens, or `{prompt: …, completion: …}`")
            }

            fn visit_u64<E: de::Error>(self, tokens: u64) -> Result<MaxLength, E> {
                usize::try_from(tokens)
                    .map(MaxLength::Row)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(tokens), &self))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<MaxLength, A::Error> {
                let parts = Parts::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(MaxLength::Parts { prompt: parts.prompt, completion: parts.completion })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for MaxLength {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MaxLength".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "Tokens a row may have at most: a number, or `{prompt: …, completion: …}`.",
            "anyOf": [
                { "type": "integer", "minimum": 1 },
                {
                    "type": "object",
                    "properties": {
                        "prompt": { "type": "integer", "minimum": 1 },
                        "completion": { "type": "integer", "minimum": 1 },
                    },
                    "required": ["prompt", "completion"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

impl Kind for Tokenize {
    const VERSION: u32 = 3;
    const PROGRAM: Program = Program::Engine;

    fn inputs(&self) -> Vec<Input<'_>> {
        let mut splits = Vec::new();
        if let Overflow::BySplit(policies) = &self.overflow {
            splits.extend(policies.keys().map(|split| WantedSplit::by_key(format!("overflow.{split}"), split)));
        }
        if let TokenizerSource::Bpe(BpeTraining { splits: Some(learned), .. }) = &self.tokenizer {
            splits.extend(
                learned
                    .iter()
                    .enumerate()
                    .map(|(i, split)| WantedSplit::by_value(format!("tokenizer.bpe.splits.{i}"), split)),
            );
        }
        let mut inputs = vec![Input::follow("input", &self.input).of_kind(&["preprocess"]).with_splits(splits)];
        if let TokenizerSource::Stage(reference) = &self.tokenizer {
            let read = crate::files::TOKENIZER_FILES.map(String::from);
            inputs.push(Input::follow("tokenizer", reference).of_kind(&["download", "tokenize", "train"]).only(read));
        }
        inputs
    }

    fn drops(&self, split: &str) -> bool {
        matches!(self.overflow.of(split), OverflowPolicy::Drop(_))
    }

    fn splits(&self) -> Splits<'_> {
        Splits::Of("input")
    }

    fn wanted_blocks(&self) -> Vec<WantedBlock> {
        match &self.form {
            Form::Completion(_) | Form::Seq2Seq(_) => Vec::new(),
            Form::Choices(_) => vec![WantedBlock::new("input", &[Block::Choices], "form", "`form: choices`")],
            Form::Text(_) => {
                let policies: Vec<(String, &OverflowPolicy)> = match &self.overflow {
                    Overflow::Every(policy) => vec![("overflow".to_owned(), policy)],
                    Overflow::BySplit(policies) => {
                        policies.iter().map(|(split, policy)| (format!("overflow.{split}"), policy)).collect()
                    }
                };
                let of_pair = policies.into_iter().filter(|(_, policy)| policy.is_of_pair());
                let wanted = |(path, policy): (String, &OverflowPolicy)| {
                    let by = format!("the overflow `{}`", policy.name());
                    WantedBlock::new("input", &[Block::Pair], path, by).or_else("use `truncate: prompt`")
                };
                of_pair.map(wanted).collect()
            }
        }
    }

    fn part_path(&self, part: &str) -> String {
        crate::files::split(part)
    }

    fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        match self.max_length {
            MaxLength::Row(0) => faults.push(Fault::new("max_length", "no token fits", "give a number above zero")),
            MaxLength::Parts { prompt, completion } if prompt == 0 || completion == 0 => faults.push(Fault::new(
                if prompt == 0 { "max_length.prompt" } else { "max_length.completion" },
                "no token fits",
                "give a number above zero",
            )),
            _ => {}
        }
        faults.extend(self.form_faults());
        if let (TokenizerSource::Bpe(_), Some(_)) = (&self.tokenizer, &self.chat) {
            faults.push(Fault::of_map(
                "chat",
                "a tokenizer that is trained here has no chat template",
                "write the chat into the template of `preprocess`, or use a tokenizer that has one",
            ));
        }
        if let (Boundary::Joint, Some(_)) = (self.boundary, &self.chat) {
            faults.push(Fault::new(
                "boundary",
                "`joint` with a chat: its template says where a prompt ends",
                "leave `boundary` out",
            ));
        }
        if let TokenizerSource::Bpe(training) = &self.tokenizer
            && training.vocabulary < 260
        {
            faults.push(Fault::new(
                "tokenizer.bpe.vocabulary",
                format!("{} pieces cannot hold the 256 bytes and the special tokens", training.vocabulary),
                "give at least 260",
            ));
        }
        faults
    }
}

impl Tokenize {
    /// Settings that mean nothing where choices are compared.
    fn choices_faults(&self, limit: MaxLength, mut faults: Vec<Fault>) -> Vec<Fault> {
        if let MaxLength::Parts { prompt, completion } = limit {
            let problem = "prompt and choice are one text, and the longest choice counts";
            faults.push(Fault::new("max_length", problem, format!("give one number: `{}`", prompt + completion)));
        }
        if self.eos != SpecialToken::Auto {
            faults.push(Fault::new("eos", "a choice is no end of a text", "leave `eos` out"));
        }
        if self.boundary != Boundary::Separate {
            let problem = "a prompt and its choices are always encoded as one text";
            faults.push(Fault::new("boundary", problem, "leave `boundary` out"));
        }
        if self.chat.is_some() {
            let problem = "choices are compared in texts that go on, not in a chat";
            faults.push(Fault::of_map("chat", problem, "write what the chat's template would into the prompt"));
        }
        faults
    }

    /// Settings that mean nothing in the form that is asked for.
    fn form_faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let windows = |policy: &OverflowPolicy| matches!(policy, OverflowPolicy::Windows(_));
        let has_windows = match &self.overflow {
            Overflow::Every(policy) => windows(policy),
            Overflow::BySplit(policies) => policies.values().any(windows),
        };
        if has_windows && !matches!(self.form, Form::Text(_)) {
            let hint = "use `form: text`, or `truncate`";
            faults.push(Fault::new("overflow", "`windows` are parts of a pair that is read whole", hint));
        }
        let name = self.form.name();
        match (&self.form, self.max_length) {
            (Form::Completion(_), _) => return faults,
            (Form::Choices(_), limit) => return self.choices_faults(limit, faults),
            (Form::Text(_), MaxLength::Parts { .. }) => faults.push(Fault::new(
                "max_length",
                "`form: text` has no completion",
                "give one number, for example `max_length: 128`",
            )),
            (Form::Seq2Seq(_), MaxLength::Row(tokens)) => faults.push(Fault::new(
                "max_length",
                "`form: seq2seq` makes two texts of a row",
                format!("give a number for each: `{{prompt: {tokens}, completion: {tokens}}}`"),
            )),
            _ => {}
        }
        for (key, special) in [("bos", &self.bos), ("eos", &self.eos)] {
            if *special != SpecialToken::Auto {
                faults.push(Fault::new(
                    key,
                    format!("with `form: {name}` the tokenizer's own template says which special tokens are added"),
                    format!("leave `{key}` out"),
                ));
            }
        }
        if self.chat.is_some() {
            let problem = format!("a chat is one text that goes on, and `form: {name}` is none");
            faults.push(Fault::of_map("chat", problem, "leave `chat` out, or `form`"));
        }
        if self.boundary != Boundary::Separate {
            let problem = format!("with `form: {name}` prompt and completion never meet in one text");
            faults.push(Fault::new("boundary", problem, "leave `boundary` out"));
        }
        if let Form::Text(TextForm { labels: Some(labels) }) = &self.form {
            let twice = labels.iter().enumerate().find(|(at, label)| labels.iter().take(*at).any(|one| one == *label));
            if let Some((at, label)) = twice {
                let problem = format!("the label `{label}` stands twice");
                faults.push(Fault::new(format!("form.text.labels.{at}"), problem, "name each class once"));
            }
            if labels.is_empty() {
                faults.push(Fault::new("form.text.labels", "no label", "name the classes, or leave `labels` out"));
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_being_written_and_read() {
        for text in [
            "{input: a, tokenizer: b, max_length: 256}",
            "{input: a, tokenizer: b, max_length: 256, overflow: drop}",
            "{input: a, tokenizer: {bpe: {vocabulary: 300}}, max_length: {prompt: 5, completion: 6}, overflow: {truncate: context}}",
            "{input: a, tokenizer: b, max_length: 9, eos: none, overflow: {train: drop, dev: {truncate: context}}}",
            "{input: a, tokenizer: b, max_length: 9, form: text, overflow: {windows: {stride: 3}}}",
            "{input: a, tokenizer: b, max_length: {prompt: 9, completion: 3}, form: seq2seq}",
            "{input: a, tokenizer: b, max_length: 9, form: choices}",
            "{input: a, tokenizer: b, max_length: 9, form: {choices: {delimiter: ''}}}",
        ] {
            let read: Tokenize = serde_yaml::from_str(text).unwrap();
            let written = serde_json::to_value(&read).unwrap();
            assert_eq!(serde_json::from_value::<Tokenize>(written).unwrap(), read, "{text}");
        }
    }
}
