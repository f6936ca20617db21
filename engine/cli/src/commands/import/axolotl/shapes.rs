//! The forms of rows that Axolotl knows by a data set's `type`, as templates that write prompts as Axolotl 0.19.0 does
//! (`prompters.py`, `prompt_strategies/`). Knows no file of rows.

use serde_json::{Map, Value};
use spec::stage::{Chat, LossOn, SpecialToken};

use super::super::{
    left,
    settings::Settings,
    template::{self, Instruct, Messages, System, Template, is_column},
};

/// How rows become prompts and tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// The template.
    pub template: Template,
    /// The tokenizer's chat template, where it writes the rows.
    pub chat: Option<Chat>,
    /// The tokens that carry loss where nothing else is said.
    pub loss_on: LossOn,
    /// What begins a row.
    pub bos: SpecialToken,
    /// What ends a completion.
    pub eos: SpecialToken,
}

/// What is said of chats for all data sets; the keys stay where rows are no chats.
pub fn common(settings: &mut Settings, chat: &mut Chat) {
    own_template(settings);
    chat.system = settings.text("default_system_message");
    match settings.take("chat_template_kwargs") {
        Some(Value::Object(map)) => chat.variables = map.into_iter().collect(),
        Some(other) => settings.leave("chat_template_kwargs", &other, "not used: a map was expected"),
        None => {}
    }
}

/// A chat template by name: that of the tokenizer stands for each.
fn own_template(settings: &mut Settings) {
    if let Some(name) = settings.take("chat_template") {
        let is_own = name.as_str().is_some_and(|name| name.starts_with("tokenizer_default"));
        if !is_own {
            let why = "the tokenizer's own chat template is used, which for a model tuned on chats is the same; where the \
                       tokenizer has none, write the form into the template instead of `tokens.chat`";
            settings.leave("chat_template", &name, why);
        }
    }
    settings.unused(
        "chat_template_jinja",
        "the tokenizer's own chat template is used: put this one beside its tokenizer, as `chat_template.jinja`",
    );
}

const ALPACA_SYSTEM: [&str; 2] = [
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.",
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.",
];

/// Those of `AlpacaChatPrompter`, for questions without an input.
const CONCISE_SYSTEM: &str = "Below is an instruction from a USER that describes a task, paired with an input that provides further context. The ASSISTANT writes a response that appropriately and concisely completes the request.\n\n";

/// The shape of a data set's rows by its `type`.
pub fn shape_of(set: &mut Settings, streamed: bool) -> Shape {
    let plain = |template| Shape {
        template,
        chat: None,
        loss_on: LossOn::Completion,
        bos: SpecialToken::Auto,
        eos: SpecialToken::Auto,
    };
    let value = set.take("type");
    if let Some(Value::Object(map)) = &value {
        return plain(user_defined(set, map.clone()).template());
    }
    let word = match &value {
        Some(Value::String(word)) => word.to_lowercase(),
        _ if streamed => "pretrain".to_owned(),
        _ => String::new(),
    };
    let (kind, rest) = word.split_once(['.', ':']).unwrap_or((&word, ""));
    match kind {
        "chat_template" | "sharegpt" => chats(set, kind == "sharegpt"),
        "completion" | "pretrain" => {
            let key = if streamed { "text_column" } else { "field" };
            let field = column(set, key, "text");
            set.differs(
                "type",
                "a text that is longer than `sequence_len` is left out here, where there it makes several rows",
            );
            Shape { loss_on: LossOn::All, ..plain(template::completion(&field)) }
        }
        "input_output" => {
            set.differs("type", "special tokens that segments spell out are text here, and none are added");
            Shape { bos: SpecialToken::None, eos: SpecialToken::None, ..plain(template::segments()) }
        }
        "alpaca" | "alpaca_chat" | "alpaca_instruct" | "alpaca_w_system" | "gpteacher" => {
            plain(alpaca(set, kind, rest).template())
        }
        _ => {
            let why = "not known here: rows are read as `alpaca` (instruction, input, output); write the template that they need";
            match &value {
                Some(value) => set.leave("type", value, why),
                None => set.unset("type", why),
            }
            plain(alpaca(set, "alpaca", "").template())
        }
    }
}

fn alpaca(set: &mut Settings, kind: &str, variant: &str) -> Instruct {
    let (mut name, mut systems) = ("alpaca", Some(ALPACA_SYSTEM));
    let mut columns = ["instruction", "input", "output"];
    let [mut with_input, mut without_input] = [
        "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n".to_owned(),
        "### Instruction:\n{instruction}\n\n### Response:\n".to_owned(),
    ];
    let mut system = None;
    let mut between = "\n\n";
    match (kind, variant) {
        ("alpaca_chat", "" | "load_qa" | "load_camel_ai") => {
            name = "alpaca_chat";
            with_input = "USER: {instruction}\n{input}\nASSISTANT:".to_owned();
            without_input = "USER: {instruction}\nASSISTANT:".to_owned();
            between = "\n";
            match variant {
                "load_qa" => columns = ["question", "", "answer"],
                "load_camel_ai" => columns = ["message_1", "", "message_2"],
                _ => {}
            }
            if !variant.is_empty() {
                systems = Some([CONCISE_SYSTEM; 2]);
            }
        }
        ("alpaca_instruct", "load_no_prompt") => systems = None,
        ("alpaca_w_system", "") => {
            systems = None;
            system = Some(System {
                column: "system".to_owned(),
                format: "### System:\n{system}\n\n".to_owned(),
                otherwise: String::new(),
            });
        }
        (_, "") | ("alpaca", "load") => {}
        _ => {
            let word = format!("{kind}.{variant}");
            set.leave("type", &Value::from(word), format!("not known here: written as `{kind}`; look at the template"));
        }
    }
    // What Axolotl puts before the prompt, and `SYSTEM: ` where it is a chat.
    if let Some([paired, alone]) = systems {
        let before = if name == "alpaca_chat" { "SYSTEM: " } else { "" };
        with_input = format!("{before}{paired}{between}{with_input}");
        without_input = format!("{before}{alone}{between}{without_input}");
    }
    let [instruction, input, output] = columns.map(str::to_owned);
    Instruct {
        name,
        instruction,
        input: Some(input).filter(|input| !input.is_empty()),
        output,
        with_input,
        without_input,
        system,
    }
}

/// A form of one's own: `type: {field_instruction: …, format: …}`. Defaults as in `UserDefinedDatasetConfig`.
fn user_defined(set: &mut Settings, map: Map<String, Value>) -> Instruct {
    let mut own = Settings::new("type.", map);
    let [instruction, input, output, system] = [
        ("field_instruction", "instruction"),
        ("field_input", "input"),
        ("field_output", "output"),
        ("field_system", "system"),
    ]
    .map(|(key, default)| column(&mut own, key, default));
    let said = own.text("system_prompt");
    let system_format = own.text("system_format").unwrap_or_else(|| "{system}".to_owned());
    let with_input = own.text("format").unwrap_or_else(|| "{instruction} {input} ".to_owned());
    let without_input = own.text("no_input_format").unwrap_or_else(|| "{instruction} ".to_owned());
    let otherwise = said.map(|said| system_format.replace("{system}", &escaped(&said))).unwrap_or_default();
    let left = own.finish(&left::NOTHING);
    set.absorb(
        left.into_iter().map(|line| left::LeftOut { key: format!("{}{}", set.at(), line.key), ..line }).collect(),
    );
    Instruct {
        name: "own",
        instruction,
        input: Some(input),
        output,
        with_input,
        without_input,
        system: Some(System { column: system, format: system_format, otherwise }),
    }
}

/// A text as a format of Python writes it.
fn escaped(text: &str) -> String {
    text.replace('{', "{{").replace('}', "}}")
}

/// A column under a key, which a template must be able to name.
fn column(set: &mut Settings, key: &str, default: &str) -> String {
    match set.text(key) {
        None => default.to_owned(),
        Some(name) if is_column(&name) => name,
        Some(name) => {
            let why =
                format!("a template cannot name such a column: `{default}` stands in its place, rename the column");
            set.leave(key, &Value::from(name), why);
            default.to_owned()
        }
    }
}

/// Chats in a column of messages, by `chat_template`, or by `sharegpt` of earlier versions.
fn chats(set: &mut Settings, sharegpt: bool) -> Shape {
    own_template(set);
    let defaults = if sharegpt { ["conversations", "from", "value"] } else { ["messages", "role", "content"] };
    let mapped = set.below("message_property_mappings");
    let field = column(set, "field_messages", defaults[0]);
    let (mut role, mut content) = (set.text("message_field_role"), set.text("message_field_content"));
    if let Some(mut mapped) = mapped {
        role = mapped.text("role").or(role);
        content = mapped.text("content").or(content);
        set.absorb(mapped.finish(&left::NOTHING));
    }
    // `ChatTemplatePrompter.roles`, and what it leaves as it is.
    let mut roles = [
        vec!["user".to_owned(), "human".to_owned()],
        vec!["assistant".to_owned(), "gpt".to_owned()],
        vec!["system".to_owned()],
    ];
    if let Some(mut own) = set.below("roles") {
        for (names, key) in roles.iter_mut().zip(["user", "assistant", "system"]) {
            if let Some(own) = own.words(key) {
                names.extend(own);
                names.sort();
                names.dedup();
            }
        }
        set.absorb(own.finish(&left::NOTHING));
    }
    if let Some(trained) = set
        .words("roles_to_train")
        .filter(|roles| roles.iter().any(|role| !matches!(role.as_str(), "assistant" | "gpt")))
    {
        set.leave("roles_to_train", &Value::from(trained), "answers of the role `assistant` alone carry loss");
    }
    let [user, assistant, mut system] = roles;
    if set.flag("drop_system_message") == Some(true) {
        system.clear();
    } else {
        set.differs("roles.system", "what a row's `system` message says stands before its first question, within it");
    }
    let messages = Messages {
        column: field,
        role: role.unwrap_or_else(|| defaults[1].to_owned()),
        content: content.unwrap_or_else(|| defaults[2].to_owned()),
        user,
        assistant,
        system,
        question: (String::new(), String::new()),
        first: String::new(),
    };
    let chat = Chat {
        prompt: "user".to_owned(),
        completion: "assistant".to_owned(),
        system: None,
        variables: Default::default(),
    };
    Shape {
        template: messages.template(),
        chat: Some(chat),
        loss_on: LossOn::Completion,
        bos: SpecialToken::Auto,
        eos: SpecialToken::Auto,
    }
}
