//! A tokenizer's chat template, rendered as transformers renders it: Jinja with trimmed blocks and Python's methods. Knows
//! messages; does not know tokens.

use std::collections::BTreeMap;

use minijinja::{
    Environment, Error as JinjaError, ErrorKind, UndefinedBehavior, Value, syntax::SyntaxConfig, value::Kwargs,
};
use regex::Regex;
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use crate::Error;

/// What a chat may cost to render: an instruction, or 64 bytes of text, is one.
const FUEL: u64 = 20_000_000;

/// The name that the template has in messages.
const NAME: &str = "chat_template";

/// One message of a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// A chat template, ready to write chats.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// Special tokens by role (`bos_token`), and what else it may read.
    variables: BTreeMap<String, Value>,
}

impl ChatTemplate {
    /// Reads a template. `place` says where it stands.
    ///
    /// # Errors
    /// When it is no Jinja.
    pub fn new(text: &str, variables: BTreeMap<String, Value>) -> Result<Self, Error> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| told(&error))?);
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.set_debug(true);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |message: String| -> Result<Value, JinjaError> {
            Err(JinjaError::new(ErrorKind::InvalidOperation, format!("{REFUSED}{message}")))
        });
        environment.add_template_owned(NAME, without_generation(text)?).map_err(|error| told(&error))?;
        Ok(Self { environment, variables })
    }

    /// Writes a chat; with `answer`, up to where the next answer begins.
    ///
    /// # Errors
    /// When the template refuses the chat, fails, or runs on.
    pub fn render(&self, messages: &[Message], answer: bool) -> Result<String, Error> {
        let mut context: BTreeMap<&str, Value> =
            self.variables.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let message = |Message { role, content }: &Message| {
            Value::from_pairs([("role", Value::from(role.as_str())), ("content", Value::from(content.as_str()))])
        };
        context.insert("messages", Value::from(messages.iter().map(message).collect::<Vec<_>>()));
        context.insert("tools", Value::from(()));
        context.insert("documents", Value::from(()));
        context.insert("add_generation_prompt", Value::from(answer));
        let template = self.environment.get_template(NAME).map_err(|error| told(&error))?;
        template.render(Value::from_pairs(context)).map_err(|error| told(&error))
    }
}

/// What a template says by `raise_exception` begins with this, so that it is known from other errors.
const REFUSED: &str = "the chat template refuses this chat: ";

fn told(error: &JinjaError) -> Error {
    let place = error.line().map_or_else(|| NAME.to_owned(), |line| format!("{NAME}:{line}"));
    if let Some(inner) = std::error::Error::source(error).and_then(|inner| inner.downcast_ref::<JinjaError>()) {
        return told(inner);
    }
    let detail = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let hint = match error.kind() {
        ErrorKind::OutOfFuel => {
            return Error::new("the chat template takes too long to write a chat")
                .at(place)
                .hint("look for a loop over a large range, or a macro that calls itself");
        }
        _ if detail.starts_with(REFUSED) => {
            "look at `chat` of the stage: its roles and `system` are what the template sees"
        }
        _ if detail.contains("strftime_now") => {
            "it writes the date of the day, so its texts would differ each day; give it as a variable, such as `variables: \
             {date_string: \"26 Jul 2024\"}`, or copy the chat template into a folder of your own and take the date out"
        }
        _ => "the chat template comes with the tokenizer; it is rendered as transformers does, and this part cannot be",
    };
    Error::new(detail).at(place).hint(hint)
}

/// `{% generation %}` marks what an assistant says and writes nothing: it is made a block that is always written.
fn without_generation(text: &str) -> Result<String, Error> {
    let tag = |pattern: &str| Regex::new(pattern).map_err(|error| Error::new(error.to_string()));
    let begin = tag(r"\{%([-+]?)\s*generation\s*([-+]?)%\}")?;
    let end = tag(r"\{%([-+]?)\s*endgeneration\s*([-+]?)%\}")?;
    let text = begin.replace_all(text, "{%$1 if true $2%}");
    Ok(end.replace_all(&text, "{%$1 endif $2%}").into_owned())
}

/// Python's `json.dumps` without ASCII escapes, which is what transformers writes; minijinja's own escapes HTML.
fn to_json(value: Value, options: Kwargs) -> Result<String, JinjaError> {
    let indent: Option<usize> = options.get("indent")?;
    for key in ["ensure_ascii", "separators", "sort_keys"] {
        let _: Option<Value> = options.get(key)?;
    }
    options.assert_all_used()?;
    let mut bytes = Vec::new();
    let written = match indent {
        Some(width) => {
            let spaces = " ".repeat(width.min(64));
            let mut serializer =
                Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(spaces.as_bytes()));
            value.serialize(&mut serializer)
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut bytes, Spaced)),
    };
    let failed = |error: String| JinjaError::new(ErrorKind::BadSerialization, error);
    written.map_err(|error| failed(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| failed(error.to_string()))
}

/// JSON in one line with a space behind each comma and colon, as Python writes it.
struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(template: &str, contents: &[&str]) -> Result<String, Error> {
        let roles = ["user", "assistant"].into_iter().cycle();
        let messages: Vec<Message> = contents
            .iter()
            .zip(roles)
            .map(|(content, role)| Message { role: role.into(), content: (*content).into() })
            .collect();
        let variables = BTreeMap::from([("bos_token".to_owned(), Value::from("<s>"))]);
        ChatTemplate::new(template, variables)?.render(&messages, true)
    }

    #[test]
    fn blocks_are_trimmed_and_python_is_understood() {
        let template = "{{ bos_token }}{% for m in messages %}\n    {% if m['content'].strip().startswith('a') %}\n{{ m.role | upper }}:{{ m['content'].split(' ')[-1] }}\n    {% else %}\n        {%- continue %}\n    {% endif %}\n{% endfor %}\n{% if tools is not none %}tools{% endif %}{{ nothing }}";
        assert_eq!(write(template, &[" a b", "c", "a d"]).unwrap(), "<s>USER:b\nUSER:d\n");
    }

    #[test]
    fn json_is_that_of_python() {
        let template =
            r#"{{ {"a": [1, 2.5, none, true], "b": messages[0].content}|tojson }} {{ [1]|tojson(indent=2) }}"#;
        assert_eq!(
            write(template, &["<é & 'x'>\n"]).unwrap(),
            "{\"a\": [1, 2.5, null, true], \"b\": \"<é & 'x'>\\n\"} [\n  1\n]"
        );
    }

    #[test]
    fn what_cannot_be_written_is_told() {
        let error = write("\n{{ raise_exception('roles must alternate') }}", &["a"]).unwrap_err();
        assert_eq!(error.message, "the chat template refuses this chat: roles must alternate");
        assert_eq!(error.place.as_deref(), Some("chat_template:2"));
        let error = write("{{ strftime_now('%Y') }}", &["a"]).unwrap_err();
        assert!(error.hint.unwrap().contains("variables"), "{}", error.message);
        let guarded = "{% if strftime_now is defined %}now{% else %}26 Jul 2024{% endif %}";
        assert_eq!(write(guarded, &["a"]).unwrap(), "26 Jul 2024");
        assert!(write("{% for %}", &["a"]).is_err());
    }

    #[test]
    fn a_template_that_runs_on_ends() {
        for endless in [
            "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
            "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
            "{% set ns = namespace(x='ab') %}{% for i in range(100) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
            "{{ 'x' * 100000000000 }}",
        ] {
            let error = write(endless, &["a"]).unwrap_err();
            assert!(error.hint.is_some(), "{endless}: {error}");
        }
    }

    #[test]
    fn what_an_assistant_says_may_be_marked() {
        let template = "{% for m in messages %}{%- generation %} {{ m.content }}{% endgeneration -%}\n x{% endfor %}";
        assert_eq!(write(template, &["a"]).unwrap(), " ax");
    }
}
