//! The templates by which rows of other tools become prompts and completions, written out as files. Knows minijinja's
//! notation and the formats of rows that are usual; no tool's keys.

use serde_json::Value;

/// A template file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// What it is called, without folder and ending.
    pub name: &'static str,
    /// Its text.
    pub text: String,
    /// A column that stands in the prompt as it is, and may be cut.
    pub field: Option<String>,
}

/// Text that stands in a template as it is.
pub fn literal(text: &str) -> String {
    let is_plain = !text.contains(['{', '}', '\r']) && !text.chars().any(super::left::is_odd_but_lines);
    if is_plain { text.to_owned() } else { format!("{{{{ {} }}}}", quoted(text)) }
}

/// A text within an expression.
pub fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Whether a template can name a column.
pub fn is_column(name: &str) -> bool {
    const WORDS: &[&str] =
        &["true", "false", "none", "not", "and", "or", "in", "is", "if", "else", "loop", "self", "super"];
    let begins = name.chars().next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_');
    begins
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !WORDS.contains(&name.to_lowercase().as_str())
}

/// How an instruction, its input and its answer become a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruct {
    /// The template's name.
    pub name: &'static str,
    /// The columns of instruction, input and answer; no input where there is no such column.
    pub instruction: String,
    /// See above.
    pub input: Option<String>,
    /// See above.
    pub output: String,
    /// The prompt where the row has an input; `{instruction}` and `{input}` stand for the columns.
    pub with_input: String,
    /// The prompt where it has none.
    pub without_input: String,
    /// What stands before it.
    pub system: Option<System>,
}

/// What a column says before the prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct System {
    /// The column.
    pub column: String,
    /// What is around it, which is `{system}`.
    pub format: String,
    /// What stands there where the row has none, written as `format` is.
    pub otherwise: String,
}

impl Instruct {
    /// The template.
    pub fn template(&self) -> Template {
        let mut prompt = String::new();
        if let Some(System { column, format, otherwise }) = &self.system {
            let (said, otherwise) = (filled(format, &[("system", column)]), filled(otherwise, &[]));
            let otherwise = if otherwise.is_empty() { otherwise } else { format!("{{% else %}}{otherwise}") };
            prompt.push_str(&format!("{{% if {column} is defined and {column} %}}{said}{otherwise}{{% endif %}}"));
        }
        let columns = |format: &str| {
            let input = self.input.as_deref().unwrap_or_default();
            filled(format, &[("instruction", &self.instruction), ("input", input)])
        };
        match &self.input {
            Some(input) => prompt.push_str(&format!(
                "{{% if {input} is defined and {input} %}}{}{{% else %}}{}{{% endif %}}",
                columns(&self.with_input),
                columns(&self.without_input)
            )),
            None => prompt.push_str(&columns(&self.without_input)),
        }
        let named: Vec<&str> = [Some(&self.instruction), self.input.as_ref(), Some(&self.output)]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        let text = format!(
            "{{#- An instruction and its answer. Columns: {}. -#}}\n{}\n{}\n",
            named.join(", "),
            block("prompt", &prompt),
            block("completion", &format!("{{{{ {} }}}}", self.output))
        );
        // The one that is the rest of the row gives way.
        let field = self.input.clone().unwrap_or_else(|| self.instruction.clone());
        Template { name: self.name, text, field: Some(field) }
    }
}

/// A text that goes on, without a prompt.
pub fn completion(column: &str) -> Template {
    let text = format!(
        "{{#- A text that is learned whole. Column: {column}. -#}}\n{}\n{}\n",
        block("prompt", ""),
        block("completion", &format!("{{{{ {column} }}}}"))
    );
    Template { name: "text", text, field: None }
}

/// A conversation in a column of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Messages {
    /// The column.
    pub column: String,
    /// What names the role of a message, and its content.
    pub role: String,
    /// See above.
    pub content: String,
    /// Roles whose messages are answered, answers, and those that say what stands before a question.
    pub user: Vec<String>,
    /// See above.
    pub assistant: Vec<String>,
    /// See above.
    pub system: Vec<String>,
    /// What stands before and behind a question, where no chat template writes it.
    pub question: (String, String),
    /// What stands before the first one.
    pub first: String,
}

impl Messages {
    /// The template: a list of questions and answers. What the system says stands before the first question.
    pub fn template(&self) -> Template {
        let Self { column, role, content, question: (before, behind), .. } = self;
        let list = |roles: &[String]| Value::from(roles.to_vec()).to_string();
        let [user, assistant, system] = [&self.user, &self.assistant, &self.system].map(|roles| list(roles));
        let [role, content] = [role, content].map(|name| quoted(name));
        let asked = match before.is_empty() && behind.is_empty() {
            true => format!("message[{content}]"),
            false => format!("{} ~ message[{content}] ~ {}", quoted(before), quoted(behind)),
        };
        let first = match self.first.is_empty() {
            true => String::new(),
            false => format!("{}\n", block("prompt", &literal(&self.first))),
        };
        let text = format!(
            "{{#- A conversation, one question and answer after another. Column: {column}.
    Messages of other roles, and questions without an answer, are left out. -#}}
{first}{{%- block pairs -%}}
{{%- set said = namespace(asked=\"\", pairs=[]) -%}}
{{%- for message in {column} -%}}
{{%- if message[{role}] in {system} -%}}
{{%- set said.asked = said.asked ~ message[{content}] ~ \"\\n\\n\" -%}}
{{%- elif message[{role}] in {user} -%}}
{{%- set said.asked = said.asked ~ {asked} -%}}
{{%- elif message[{role}] in {assistant} -%}}
{{%- set said.pairs = said.pairs + [[said.asked, message[{content}]]] -%}}
{{%- set said.asked = \"\" -%}}
{{%- endif -%}}
{{%- endfor -%}}
{{{{ said.pairs|tojson }}}}
{{%- endblock -%}}
"
        );
        Template { name: "messages", text, field: None }
    }
}

/// Segments of text of which some carry loss, as Axolotl's `input_output` has them.
pub fn segments() -> Template {
    let text = "{#- Segments of text, each with a label that says whether it carries loss. Column: segments. -#}
{%- block pairs -%}
{%- set said = namespace(asked=\"\", learned=\"\", pairs=[]) -%}
{%- for segment in segments -%}
{%- if segment.label -%}
{%- set said.learned = said.learned ~ segment.text -%}
{%- else -%}
{%- if said.learned -%}
{%- set said.pairs = said.pairs + [[said.asked, said.learned]] -%}
{%- set said.asked = \"\" -%}
{%- set said.learned = \"\" -%}
{%- endif -%}
{%- set said.asked = said.asked ~ segment.text -%}
{%- endif -%}
{%- endfor -%}
{%- if said.learned -%}
{%- set said.pairs = said.pairs + [[said.asked, said.learned]] -%}
{%- endif -%}
{{ said.pairs|tojson }}
{%- endblock -%}
"
    .to_owned();
    Template { name: "segments", text, field: None }
}

/// Any blocks, each by its name.
pub fn blocks(name: &'static str, heading: &str, blocks: &[(&str, &str)], field: Option<&str>) -> Template {
    let each: Vec<String> = blocks.iter().map(|(name, text)| format!("{}\n", block(name, text))).collect();
    Template { name, text: format!("{{#- {heading} -#}}\n{}", each.concat()), field: field.map(str::to_owned) }
}

fn block(name: &str, text: &str) -> String {
    format!("{{%- block {name} %}}{text}{{% endblock -%}}")
}

/// A format of Python, `{name}` being a column and `{{` a brace. What is in braces and no column is text.
fn filled(format: &str, columns: &[(&str, &str)]) -> String {
    let (mut done, mut text) = (String::new(), String::new());
    let mut rest = format;
    while let Some(c) = rest.chars().next() {
        if let Some(tail) = rest.strip_prefix("{{").or_else(|| rest.strip_prefix("}}")) {
            text.push(c);
            rest = tail;
            continue;
        }
        let column = columns.iter().find_map(|(name, column)| {
            let tail = rest.strip_prefix('{')?.strip_prefix(name)?.strip_prefix('}')?;
            Some((*column, tail))
        });
        if let Some((column, tail)) = column {
            if !text.is_empty() {
                done.push_str(&literal(&std::mem::take(&mut text)));
            }
            if !column.is_empty() {
                done.push_str(&format!("{{{{ {column} }}}}"));
            }
            rest = tail;
            continue;
        }
        text.push(c);
        rest = &rest[c.len_utf8()..];
    }
    if !text.is_empty() {
        done.push_str(&literal(&text));
    }
    done
}
