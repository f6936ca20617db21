//! Axolotl's data sets: where rows come from, and the template that makes prompts of them as Axolotl 0.19.0 does
//! (`prompters.py`, `prompt_strategies/`). Knows no training.

use serde_json::{Map, Value};
use spec::{
    diagnostic::Diagnostic,
    stage::{Chat, Format, LossOn, Source, SpecialToken},
};

use super::{
    super::{
        corpus::Part,
        impossible, left,
        settings::Settings,
        source::{self, Places, locate},
        template::{self, Instruct, Messages, Template, is_column},
    },
    keys::OF_DATA,
};

/// The data sets of a configuration, all of one shape.
pub struct Sets {
    /// What is learned from.
    pub train: Vec<Part>,
    /// What is validated on.
    pub validation: Vec<Part>,
    /// How rows become prompts.
    pub shape: Shape,
}

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

/// No rows are named.
pub fn no_rows() -> Diagnostic {
    impossible("the configuration names no data set", "name one under `datasets`, with `path` and `type`")
}

/// Reads the data sets. Those whose rows are written otherwise than those of the first are listed and left out.
///
/// # Errors
/// When there is none.
pub fn read(settings: &mut Settings, places: &Places) -> Result<Sets, Diagnostic> {
    let chat_of_all = Common::read(settings);
    let mut shape: Option<Shape> = None;
    let mut parts = [Vec::new(), Vec::new()];
    for (place, key) in ["datasets", "test_datasets", "pretraining_dataset"].into_iter().enumerate() {
        let streamed = key == "pretraining_dataset";
        for (number, value) in settings.list(key).into_iter().enumerate() {
            let at = format!("{key}.{number}");
            let Some(map) = as_map(&value) else {
                settings.leave(&at, &value, "not used: a map with `path` and `type` was expected");
                continue;
            };
            let mut set = Settings::new(format!("{at}."), map);
            let own = shape_of(&mut set, &chat_of_all, streamed);
            let found = part(&mut set, places, &at);
            settings.absorb(set.finish(&OF_DATA));
            let Some(part) = found else { continue };
            match &shape {
                Some(first) if *first != own => {
                    let why = "left out: its rows become prompts by another template than those of the first data set, and a \
                               split has one. Make a template for both, or a pipeline for each";
                    settings.leave(&at, &Value::from(part.called.as_str()), why);
                    continue;
                }
                Some(_) => {}
                None => shape = Some(own),
            }
            parts[if place == 1 { 1 } else { 0 }].push(part);
        }
    }
    let [train, validation] = parts;
    match shape.filter(|_| !train.is_empty()) {
        Some(shape) => Ok(Sets { train, validation, shape }),
        None => Err(no_rows()),
    }
}

/// A data set may be named alone: `pretraining_dataset: owner/name`.
fn as_map(value: &Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(map) => Some(map.clone()),
        Value::String(path) => Some([("path".to_owned(), Value::from(path.as_str()))].into_iter().collect()),
        _ => None,
    }
}

/// What is said of chats for all data sets.
struct Common {
    system: Option<String>,
    variables: Map<String, Value>,
}

impl Common {
    fn read(settings: &mut Settings) -> Self {
        own_template(settings);
        settings.unused("shuffle_merged_datasets_seed", "rows are in a random order that depends on the seed");
        if settings.flag("shuffle_merged_datasets") == Some(false) {
            let why = "rows are in a random order here, which depends on the seed and the epoch alone";
            settings.leave("shuffle_merged_datasets", &Value::from(false), why);
        }
        let variables = match settings.take("chat_template_kwargs") {
            Some(Value::Object(map)) => map,
            Some(other) => {
                settings.leave("chat_template_kwargs", &other, "not used: a map was expected");
                Map::new()
            }
            None => Map::new(),
        };
        Self { system: settings.text("default_system_message"), variables }
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
    settings.unused("chat_template_jinja", "the tokenizer's own chat template is used: put this one beside its tokenizer, as `chat_template.jinja`");
}

fn part(set: &mut Settings, places: &Places, at: &str) -> Option<Part> {
    let Some(path) = set.text("path") else {
        set.unset("path", "left out: the data set is not named");
        return None;
    };
    let files = set.words("data_files");
    let (config, revision) = (set.text("name"), set.text("revision"));
    let split = set.text("split");
    let (split, take) = match split.as_deref() {
        None => ("train".to_owned(), None),
        Some(text) => match sliced(text) {
            Some((split, take)) => (split, take),
            None => {
                set.leave("split", &Value::from(text), "a part of a split is `take: ROWS` here: all of it is taken");
                (text.split('[').next().unwrap_or("train").to_owned(), None)
            }
        },
    };
    let format = format(set);
    let found = locate(places, &path, true, revision);
    if let Some(why) = &found.why {
        set.leave("path", &Value::from(path.as_str()), why.as_str());
    }
    let (from, names) = match found.from {
        Source::Hub(mut hub) => {
            hub.config = config;
            let names = match files {
                Some(files) => {
                    if let Some(config) = hub.config.take() {
                        set.leave("name", &Value::from(config), "`data_files` name what is brought");
                    }
                    hub.files = Some(files.clone());
                    files
                }
                None => vec![split],
            };
            (Source::Hub(hub), names)
        }
        other => {
            if let Some(config) = config {
                set.leave("name", &Value::from(config), "a path of this machine has no configurations");
            }
            let folder = found.file.as_deref().filter(|file| file.is_dir());
            let names = match (files, folder) {
                (Some(files), _) => files,
                (None, None) => vec![std::path::Path::new(&path).file_name().unwrap_or_default().to_string_lossy().into_owned()],
                // What is loaded of a folder without names is all files of rows.
                (None, Some(folder)) if ::data::rows::find(folder, &split).is_ok() => vec![split],
                (None, Some(_)) => vec!["**".to_owned()],
            };
            (other, names)
        }
    };
    let rows = found.file.as_deref().and_then(|file| names.iter().map(|name| source::rows_in(file, name)).sum());
    let part = Part { key: at.to_owned(), called: path.clone(), from, files: names, format, take, rows };
    match source::is_refused(&part.from) {
        false => Some(part),
        true => {
            set.leave("path", &Value::from(path), "left out: no download can name it so");
            None
        }
    }
}

/// `train[:1000]` is a split and its first rows; nothing where it is another part.
fn sliced(split: &str) -> Option<(String, Option<u64>)> {
    match split.split_once('[') {
        None => Some((split.to_owned(), None)),
        Some((name, rest)) => {
            let rows = rest.strip_suffix(']')?.strip_prefix(':')?.parse().ok().filter(|rows| *rows > 0)?;
            Some((name.to_owned(), Some(rows)))
        }
    }
}

fn format(set: &mut Settings) -> Option<Format> {
    let empty = spec::stage::Empty {};
    let word = set.text("ds_type")?;
    match word.to_lowercase().as_str() {
        // Axolotl reads both by one reader; the file's beginning decides here.
        "json" => None,
        "parquet" => Some(Format::Parquet(empty)),
        "csv" => Some(Format::Csv(spec::stage::Delimited::default())),
        _ => {
            set.leave("ds_type", &Value::from(word), "not read here (json, jsonl, csv, tsv, parquet): the file's name decides");
            None
        }
    }
}

const ALPACA_SYSTEM: [&str; 2] = [
    "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.",
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.",
];

/// The shape of a data set's rows by its `type`.
fn shape_of(set: &mut Settings, common: &Common, streamed: bool) -> Shape {
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
        "chat_template" | "sharegpt" => chats(set, common, kind == "sharegpt"),
        "completion" | "pretrain" => {
            let key = if streamed { "text_column" } else { "field" };
            let field = column(set, key, "text");
            set.unset("type", "a text that is longer than `sequence_len` is left out here, where there it makes several rows");
            Shape { loss_on: LossOn::All, ..plain(template::completion(&field)) }
        }
        "input_output" => {
            set.unset("type", "special tokens that segments spell out are text here, and none are added");
            Shape { bos: SpecialToken::None, eos: SpecialToken::None, ..plain(template::segments()) }
        }
        "alpaca" | "alpaca_chat" | "alpaca_instruct" | "alpaca_w_system" | "gpteacher" => plain(alpaca(set, kind, rest).template()),
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
        }
        ("alpaca_instruct", "load_no_prompt") => systems = None,
        ("alpaca_w_system", "") => {
            systems = None;
            system = Some(("system".to_owned(), "### System:\n{system}\n\n".to_owned()));
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
    Instruct { name, instruction, input: Some(input).filter(|input| !input.is_empty()), output, with_input, without_input, system }
}

/// A form of one's own: `type: {field_instruction: …, format: …}`. Defaults as in `UserDefinedDatasetConfig`.
fn user_defined(set: &mut Settings, map: Map<String, Value>) -> Instruct {
    let mut own = Settings::new("type.", map);
    let [instruction, input, output, system] = [("field_instruction", "instruction"), ("field_input", "input"), ("field_output", "output"), ("field_system", "system")]
        .map(|(key, default)| column(&mut own, key, default));
    let said = own.text("system_prompt");
    let system_format = own.text("system_format").unwrap_or_else(|| "{system}".to_owned());
    let with_input = own.text("format").unwrap_or_else(|| "{instruction} {input} ".to_owned());
    let without_input = own.text("no_input_format").unwrap_or_else(|| "{instruction} ".to_owned());
    let before = said.map(|said| system_format.replace("{system}", &said.replace('{', "{{").replace('}', "}}"))).unwrap_or_default();
    let left = own.finish(&left::NOTHING);
    set.absorb(left.into_iter().map(|line| left::LeftOut { key: format!("{}{}", set.at(), line.key), ..line }).collect());
    Instruct {
        name: "own",
        instruction,
        input: Some(input),
        output,
        with_input: format!("{before}{with_input}"),
        without_input: format!("{before}{without_input}"),
        system: before.is_empty().then_some((system, system_format)),
    }
}

/// A column under a key, which a template must be able to name.
fn column(set: &mut Settings, key: &str, default: &str) -> String {
    match set.text(key) {
        None => default.to_owned(),
        Some(name) if is_column(&name) => name,
        Some(name) => {
            let why = format!("a template cannot name such a column: `{default}` stands in its place, rename the column");
            set.leave(key, &Value::from(name), why);
            default.to_owned()
        }
    }
}

/// Chats in a column of messages, by `chat_template`, or by `sharegpt` of earlier versions.
fn chats(set: &mut Settings, common: &Common, sharegpt: bool) -> Shape {
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
    let mut roles = [vec!["user".to_owned(), "human".to_owned()], vec!["assistant".to_owned(), "gpt".to_owned()], vec!["system".to_owned()]];
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
    if let Some(trained) = set.words("roles_to_train").filter(|roles| roles.iter().any(|role| !matches!(role.as_str(), "assistant" | "gpt"))) {
        set.leave("roles_to_train", &Value::from(trained), "answers of the role `assistant` alone carry loss");
    }
    let [user, assistant, mut system] = roles;
    if set.flag("drop_system_message") == Some(true) {
        system.clear();
    } else {
        set.unset("roles.system", "what a row's `system` message says stands before its first question, within it");
    }
    let messages = Messages {
        column: field,
        role: role.unwrap_or_else(|| defaults[1].to_owned()),
        content: content.unwrap_or_else(|| defaults[2].to_owned()),
        user,
        assistant,
        system,
        question: (String::new(), String::new()),
    };
    let chat = Chat {
        prompt: "user".to_owned(),
        completion: "assistant".to_owned(),
        system: common.system.clone(),
        variables: common.variables.clone().into_iter().collect(),
    };
    Shape {
        template: messages.template(),
        chat: Some(chat),
        loss_on: LossOn::Completion,
        bos: SpecialToken::Auto,
        eos: SpecialToken::Auto,
    }
}
