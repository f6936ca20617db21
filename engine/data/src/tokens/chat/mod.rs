//! Rows as chats: messages, written by the tokenizer's chat template, as ids. Special tokens that the template writes are
//! tokens, those that the messages spell out are text. Knows turns and the template; does not know how long a row may be.

mod template;

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use minijinja::Value;
use regex::Regex;
use serde_json::Value as Json;
use spec::{files, stage::Chat};

use super::{SpecialIds, Vocabulary, encode::EncodedTurn, folder::PartTokenizer, source::Turn, special::json};
use crate::{Error, template::values};
pub use template::{ChatTemplate, Message};

/// A character that no text means anything by: put into a special token that a message spells out, it keeps the template's
/// tokens and those of messages apart. One that a message holds itself is not used in it.
const MARKS: std::ops::RangeInclusive<char> = '\u{FDD0}'..='\u{FDEF}';

/// Writes rows as chats and encodes them.
#[derive(Debug)]
pub struct ChatEncoder {
    settings: Chat,
    template: ChatTemplate,
    /// The special tokens by their texts.
    tokens: HashMap<String, u32>,
    /// Finds one of them, of several at one place the longest.
    pattern: Regex,
    /// What stands before a row because the stage says so and the template does not write it.
    bos: Option<u32>,
    /// What ends a completion after which the template writes no special token.
    eos: Option<u32>,
    /// For the part that begins a chat, and for those that follow; special tokens are tokens.
    first: PartTokenizer,
    following: PartTokenizer,
    /// The same, special tokens being text.
    first_plain: PartTokenizer,
    following_plain: PartTokenizer,
}

impl ChatEncoder {
    /// Reads the chat template of a tokenizer's folder. `special` becomes what a chat's special tokens are: what the
    /// template ends a completion with also ends generation.
    ///
    /// # Errors
    /// When there is no template, or it cannot write one short chat.
    pub fn new(
        folder: &Path,
        vocabulary: &Vocabulary,
        settings: &Chat,
        bos_is_said: bool,
        special: &mut SpecialIds,
    ) -> Result<Self, Error> {
        let config = json(folder, files::TOKENIZER_CONFIG)?;
        let mut variables: BTreeMap<String, Value> = BTreeMap::new();
        for file in [json(folder, files::SPECIAL_TOKENS_MAP)?, config.clone()] {
            for (role, token) in file.as_object().into_iter().flatten().filter(|(role, _)| role.ends_with("_token")) {
                if let Some(text) = token.as_str().or_else(|| token.get("content")?.as_str()) {
                    variables.insert(role.clone(), Value::from(text));
                }
            }
        }
        for (name, value) in &settings.variables {
            variables.insert(name.clone(), values::from(value));
        }
        let template = ChatTemplate::new(&template_text(folder, &config)?, variables).map_err(|e| named(e, folder))?;
        let mut tokens = vocabulary.special_tokens();
        tokens.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        let escaped: Vec<String> = tokens.iter().map(|(text, _)| regex::escape(text)).collect();
        // Without a token, what is never found.
        let any = if escaped.is_empty() { r"[^\s\S]".to_owned() } else { escaped.join("|") };
        let mut encoder = Self {
            settings: settings.clone(),
            template,
            pattern: Regex::new(&any).map_err(|error| Error::new(error.to_string()))?,
            tokens: tokens.into_iter().collect(),
            bos: None,
            eos: special.eos.first().copied(),
            first: vocabulary.for_parts(true, true),
            following: vocabulary.for_parts(false, true),
            first_plain: vocabulary.for_parts(true, false),
            following_plain: vocabulary.for_parts(false, false),
        };
        let turn = Turn { prompt: "x".into(), completion: Some("y".into()) };
        let written = encoder.written(std::slice::from_ref(&turn)).map_err(|e| named(e, folder))?;
        let first = encoder.next_token(&written.parts[0].0, 0);
        let begins = first.filter(|(_, range)| range.start == 0).map(|(id, _)| id);
        match special.bos {
            Some(bos) if begins == Some(bos) => {}
            // The template begins with no BOS: one is put there only where the stage says so.
            Some(bos) if bos_is_said => encoder.bos = Some(bos),
            _ => special.bos = None,
        }
        if let Some(end) = written.parts[0].1.as_deref().and_then(|text| encoder.last_token(text)) {
            special.eos.retain(|id| *id != end);
            special.eos.insert(0, end);
        }
        Ok(encoder)
    }

    /// Encodes a row's turns as one chat.
    ///
    /// # Errors
    /// When the template refuses the chat or fails, when it writes earlier messages otherwise once a later one follows, or
    /// when the tokenizer cannot write a text.
    pub fn encode(&self, turns: &[Turn]) -> Result<Vec<EncodedTurn>, Error> {
        let written = self.written(turns)?;
        let mut encoded = Vec::with_capacity(turns.len());
        for (number, (prompt, completion)) in written.parts.iter().enumerate() {
            let mut prompt = self.ids(prompt, written.mark, number == 0)?;
            if let (0, Some(bos)) = (number, self.bos) {
                prompt.insert(0, bos);
            }
            let completion = match completion {
                None => None,
                Some(text) => {
                    let mut ids = self.ids(text, written.mark, false)?;
                    if self.last_token(text).is_none() {
                        ids.extend(self.eos);
                    }
                    Some(ids)
                }
            };
            encoded.push(EncodedTurn { prompt, completion });
        }
        Ok(encoded)
    }

    /// The chat as texts, a prompt and what completes it in turn. What the template writes after the end of a completion
    /// belongs to the next prompt.
    fn written(&self, turns: &[Turn]) -> Result<Written, Error> {
        let contents = || turns.iter().flat_map(|turn| [Some(&turn.prompt), turn.completion.as_ref()]).flatten();
        let mark = MARKS.into_iter().find(|mark| !contents().any(|text| text.contains(*mark)));
        let mark =
            mark.ok_or_else(|| Error::new("the row holds every character that could mark its special tokens"))?;
        let say = |role: &str, text: &str| Message { role: role.to_owned(), content: self.marked(text, mark) };
        let mut messages = Vec::new();
        messages.extend(self.settings.system.as_ref().map(|text| say("system", text)));
        let mut parts = Vec::new();
        let mut done = String::new();
        for turn in turns {
            messages.push(say(&self.settings.prompt, &turn.prompt));
            let asked = self.template.render(&messages, true)?;
            let prompt = asked.strip_prefix(done.as_str()).ok_or_else(changed)?.to_owned();
            let Some(completion) = &turn.completion else {
                parts.push((prompt, None));
                break;
            };
            let answer = say(&self.settings.completion, completion);
            let content = answer.content.trim().to_owned();
            messages.push(answer);
            let whole = self.template.render(&messages, false)?;
            let rest = whole.strip_prefix(asked.as_str()).ok_or_else(changed)?;
            let end = match rest.find(&content) {
                Some(start) => self.next_token(rest, start + content.len()).map(|(_, range)| range.end),
                // The template writes another text in its place: it ends where the last special token does.
                None => self.pattern.find_iter(rest).last().map(|found| found.end()),
            }
            .unwrap_or(rest.len());
            parts.push((prompt, Some(rest[..end].to_owned())));
            done = format!("{asked}{}", &rest[..end]);
        }
        Ok(Written { parts, mark })
    }

    /// The text, its special tokens made plain by a mark after their first characters.
    fn marked(&self, text: &str, mark: char) -> String {
        let mut marked = String::with_capacity(text.len());
        let mut from = 0;
        while let Some((_, range)) = self.next_token(text, from) {
            let first = text[range.start..].chars().next().map_or(0, char::len_utf8);
            marked.push_str(&text[from..range.start + first]);
            marked.push(mark);
            from = range.start + first;
        }
        marked.push_str(&text[from..]);
        marked
    }

    /// The first special token from a byte of the text on.
    fn next_token(&self, text: &str, from: usize) -> Option<(u32, std::ops::Range<usize>)> {
        let found = self.pattern.find_at(text, from)?;
        self.tokens.get(found.as_str()).map(|id| (*id, found.range()))
    }

    /// The special token that a text ends with.
    fn last_token(&self, text: &str) -> Option<u32> {
        self.tokens
            .iter()
            .filter(|(token, _)| text.ends_with(token.as_str()))
            .max_by_key(|(token, _)| token.len())
            .map(|(_, id)| *id)
    }

    /// The ids of a part of the chat, which begins it or follows other parts.
    fn ids(&self, text: &str, mark: char, begins: bool) -> Result<Vec<u32>, Error> {
        if !text.contains(mark) {
            return if begins { self.first.ids(text) } else { self.following.ids(text) };
        }
        // Around a special token that a message spells out, pieces are encoded apart.
        let mut ids = Vec::new();
        let mut from = 0;
        loop {
            let token = self.next_token(text, from);
            let end = token.as_ref().map_or(text.len(), |(_, range)| range.start);
            let plain = text[from..end].replace(mark, "");
            let tokenizer = if begins && from == 0 { &self.first_plain } else { &self.following_plain };
            ids.extend(tokenizer.ids(&plain)?);
            let Some((id, range)) = token else { return Ok(ids) };
            ids.push(id);
            from = range.end;
        }
    }
}

/// A chat as texts.
struct Written {
    parts: Vec<(String, Option<String>)>,
    /// The character that marks special tokens of messages.
    mark: char,
}

fn changed() -> Error {
    Error::new("the chat template writes what came before otherwise once the next message follows")
        .at("chat_template")
        .hint(
            "a variable may keep it from doing so, such as `variables: {enable_thinking: false}`; or write the chat into \
             the template of `preprocess`, without `chat`",
        )
}

/// An error of the template with the folder it comes from.
fn named(error: Error, folder: &Path) -> Error {
    let place = error.place.clone().unwrap_or_else(|| "chat_template".to_owned());
    error.at(format!("{place} of {}", folder.display()))
}

/// The text of the chat template: a file of its own, or an entry of the configuration; of several the one named `default`.
fn template_text(folder: &Path, config: &Json) -> Result<String, Error> {
    let path = folder.join(files::CHAT_TEMPLATE);
    if path.is_file() {
        return std::fs::read_to_string(&path).map_err(|error| Error::io("read", &path, &error));
    }
    let named = |entry: &Json| entry.get("name").and_then(Json::as_str) == Some("default");
    let text = match config.get("chat_template") {
        Some(Json::String(text)) => Some(text.as_str()),
        Some(Json::Array(several)) => {
            several.iter().find(|entry| named(entry)).and_then(|entry| entry.get("template")?.as_str())
        }
        _ => None,
    };
    text.map(str::to_owned).ok_or_else(|| {
        Error::new("the tokenizer has no chat template").in_file(folder).hint(
            "it would be in `chat_template.jinja`, or in `tokenizer_config.json`; take the tokenizer of a model that was \
             tuned for chats, or write the chat into the template of `preprocess`",
        )
    })
}
