//! LLaMA-Factory's data sets: what `dataset_info.json` says of a name, and the template that makes prompts of rows as
//! LLaMA-Factory 0.9.5 does (`data/parser.py`, `data/converter.py`, `data/template.py`). Knows no training.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use spec::{
    diagnostic::Diagnostic,
    stage::{Chat, Source},
};

use super::{
    super::{
        corpus::Part,
        left,
        settings::Settings,
        source::{self, Places, locate},
        template::{self, Instruct, Messages, System, Template, is_column},
    },
    keys::{OF_COLUMNS, OF_DATA},
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
}

/// How questions are written.
enum Style {
    /// By the tokenizer's chat template.
    Chat(Chat),
    /// By these texts: before the first question, before and behind each.
    Text([String; 3]),
}

/// No rows are named.
pub fn no_rows() -> Diagnostic {
    Diagnostic::new("the configuration names no data set", "name one under `dataset`, as `dataset_info.json` does")
}

const INFO: &str = "dataset_info.json";
/// The key that bounds the rows of each data set.
const BOUND: &str = "max_samples";
/// No list of data sets is larger.
const LARGEST: u64 = 16 << 20;

/// Where data sets are, and what is known of them.
struct Known {
    folder: String,
    /// Nothing where the list of them is not there.
    info: Option<Map<String, Value>>,
    online: bool,
}

/// Reads the data sets. Those whose rows are written otherwise than those of the first are listed and left out.
///
/// # Errors
/// When there is none.
pub fn read(settings: &mut Settings, places: &Places, is_pretraining: bool) -> Result<Sets, Diagnostic> {
    let style = style(settings, is_pretraining);
    let known = known(settings, places);
    if let Some(mix) = settings.take("mix_strategy").filter(|mix| mix != "concat") {
        settings.leave("mix_strategy", &mix, "data sets follow one another here, and rows are in a random order");
    }
    let most = settings.count(BOUND, 1);
    let mut shape: Option<Shape> = None;
    let mut parts = [Vec::new(), Vec::new()];
    for (place, key) in ["dataset", "eval_dataset"].into_iter().enumerate() {
        for name in settings.words(key).unwrap_or_default() {
            let (own, found) = data_set(settings, places, &known, key, &name, &style, is_pretraining);
            let Some(part) = found else { continue };
            let part = Part { take: most.or(part.take), ..part };
            match &shape {
                Some(first) if *first != own => {
                    let why = "left out: its rows become prompts by another template than those of the first data set, and a \
                               split has one. Make a template for both, or a pipeline for each";
                    settings.leave(key, &Value::from(name), why);
                    continue;
                }
                Some(_) => {}
                None => shape = Some(own),
            }
            parts[place].push(part);
        }
    }
    let [train, validation] = parts;
    match shape.filter(|_| !train.is_empty()) {
        Some(shape) => Ok(Sets { train, validation, shape }),
        None => Err(no_rows()),
    }
}

/// The list of data sets, in `dataset_dir` or in `data`.
fn known(settings: &mut Settings, places: &Places) -> Known {
    let set = settings.text("dataset_dir");
    let is_set = set.is_some();
    let folder = set.unwrap_or_else(|| "data".to_owned());
    if folder == "ONLINE" {
        return Known { folder, info: None, online: true };
    }
    let file = Path::new(&folder).join(INFO);
    let found = places.find(&file.display().to_string());
    let small = found.filter(|file| std::fs::metadata(file).is_ok_and(|file| file.is_file() && file.len() <= LARGEST));
    let text = small.and_then(|file| std::fs::read_to_string(file).ok());
    let info = text.and_then(|text| serde_json::from_str::<Value>(&text).ok()).and_then(|value| match value {
        Value::Object(map) => Some(map),
        _ => None,
    });
    if info.is_none() {
        let looked = match is_set {
            true => format!("in `{}`", left::printable(&folder)),
            false => format!("it is not set, so data sets are looked for in `{folder}`, where"),
        };
        let why = format!(
            "{looked} there is no readable {INFO}: each data set is taken for NAME.json in it, with the columns instruction, \
             input and output"
        );
        settings.differs("dataset_dir", why);
    }
    Known { folder, info, online: false }
}

fn data_set(
    settings: &mut Settings,
    places: &Places,
    known: &Known,
    key: &str,
    name: &str,
    style: &Style,
    is_pretraining: bool,
) -> (Shape, Option<Part>) {
    let entry = match (&known.info, known.online) {
        (Some(info), _) => match info.get(name) {
            Some(Value::Object(entry)) => entry.clone(),
            _ => {
                settings.leave(
                    key,
                    &Value::from(name),
                    format!("{INFO} has no such data set: taken for `{name}.json` beside it"),
                );
                file_named(name)
            }
        },
        (None, true) => [("hf_hub_url".to_owned(), Value::from(name))].into_iter().collect(),
        (None, false) => file_named(name),
    };
    let mut set = Settings::new(format!("{INFO}.{name}."), entry);
    let shape = shape(&mut set, style, is_pretraining);
    let part = part(&mut set, places, known, key, name);
    settings.absorb(set.finish(&OF_DATA));
    (shape, part)
}

fn file_named(name: &str) -> Map<String, Value> {
    [("file_name".to_owned(), Value::from(format!("{name}.json")))].into_iter().collect()
}

fn part(set: &mut Settings, places: &Places, known: &Known, key: &str, name: &str) -> Option<Part> {
    let split = set.text("split").unwrap_or_else(|| "train".to_owned());
    let subset = set.text("subset");
    let folder = set.text("folder");
    if let Some(rows) = set.take("num_samples") {
        let why = "so many rows are drawn there, again and again where there are fewer; `take` keeps the first here: all are kept";
        set.leave("num_samples", &rows, why);
    }
    let hub = set.text("hf_hub_url");
    let file = set.text("file_name");
    if let Some(name) = hub {
        let found = locate(places, &name, true, None);
        if let Some(folder) = folder {
            set.leave("folder", &Value::from(folder), "name the files in `stages.data.from.hf.files`");
        }
        if let Some(why) = &found.why {
            set.leave("hf_hub_url", &Value::from(name.as_str()), why.as_str());
        }
        let from = match found.from {
            Source::Hub(mut hub) => {
                hub.config = subset;
                Source::Hub(hub)
            }
            other => other,
        };
        let part = Part {
            key: key.to_owned(),
            called: name.clone(),
            from,
            files: vec![split],
            format: None,
            take: None,
            bounded_by: BOUND.to_owned(),
            here: found.file,
        };
        if source::is_refused(&part.from) {
            set.leave("hf_hub_url", &Value::from(name), "left out: no download can name it so");
            return None;
        }
        return Some(part);
    }
    let Some(file) = file else {
        set.unset("file_name", format!("left out: `{}` is neither a file nor of the Hub", left::printable(name)));
        return None;
    };
    let path = Path::new(&known.folder).join(&file);
    let shown = path.display().to_string();
    let (from, place): (Source, Option<PathBuf>) = match places.find(&shown) {
        Some(place) => (Source::Path(places.written(&place)), Some(place)),
        None => {
            let why = "there is no such file here, and `engine check` will ask for it: put it there, or say where it is in the \
                       stage's `from`";
            set.leave("file_name", &Value::from(shown.as_str()), why);
            (Source::Path(shown.clone()), None)
        }
    };
    let is_folder = place.as_deref().is_some_and(Path::is_dir);
    let last = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let files = vec![if is_folder { "**".to_owned() } else { last }];
    Some(Part {
        key: key.to_owned(),
        called: file,
        from,
        files,
        format: None,
        take: None,
        bounded_by: BOUND.to_owned(),
        here: place,
    })
}

/// How a template's name writes questions. Templates of model families are those of their tokenizers.
fn style(settings: &mut Settings, is_pretraining: bool) -> Style {
    let name = settings.text("template").map(|name| name.to_lowercase());
    let system = settings.text("default_system");
    let thinks = settings.flag("enable_thinking");
    let said = |default: &str| system.clone().unwrap_or_else(|| default.to_owned());
    let text = |first: String, before: &str, behind: &str| Style::Text([first, before.to_owned(), behind.to_owned()]);
    match name.as_deref() {
        // Texts are learned as they are.
        _ if is_pretraining => text(String::new(), "", ""),
        // `data/template.py`, its `alpaca`; the system's text goes before the first question as it is.
        Some("alpaca") => {
            let first = said(
                "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n",
            );
            text(first, "### Instruction:\n", "\n\n### Response:\n")
        }
        Some("default") => {
            let why = "as `Human: …`, a line, `Assistant:`; the end-of-text token that stands between the two there is left out";
            settings.leave("template", &Value::from("default"), why);
            let first = system.map(|system| format!("System: {system}\n")).unwrap_or_default();
            text(first, "Human: ", "\nAssistant:")
        }
        Some("empty" | "vanilla" | "fewshot") => text(said(""), "", ""),
        other => {
            let why = "the tokenizer's own chat template is used, which for a model tuned on chats is the same; where the \
                       tokenizer has none, write the form into the template instead of `tokens.chat`";
            match other {
                Some(name) => settings.leave("template", &Value::from(name), why),
                None => settings.unset("template", why),
            }
            let variables = thinks.filter(|thinks| !thinks).map(|off| ("enable_thinking".to_owned(), Value::from(off)));
            Style::Chat(Chat {
                prompt: "user".to_owned(),
                completion: "assistant".to_owned(),
                system,
                variables: variables.into_iter().collect(),
            })
        }
    }
}

/// The shape of a data set's rows.
fn shape(set: &mut Settings, style: &Style, is_pretraining: bool) -> Shape {
    let formatting = set.text("formatting").map(|word| word.to_lowercase());
    if set.flag("ranking") == Some(true) {
        set.leave("ranking", &Value::from(true), "preferences are not learned here: the rows have no single answer");
    }
    let mut columns = set.below("columns");
    let chats = matches!(formatting.as_deref(), Some("sharegpt" | "openai"));
    let shape = if chats {
        conversations(set, columns.as_mut(), style)
    } else {
        if let Some(other) = formatting.filter(|word| word != "alpaca") {
            set.leave("formatting", &Value::from(other), "not known here: read as `alpaca`");
        }
        instructions(columns.as_mut(), style, is_pretraining)
    };
    if let Some(columns) = columns {
        set.absorb(columns.finish(&OF_COLUMNS));
    }
    shape
}

/// A column: the default where no columns are named, none where others are.
fn column(columns: &mut Option<&mut Settings>, key: &str, default: &str) -> Option<String> {
    let Some(columns) = columns else { return Some(default.to_owned()) };
    let name = columns.text(key)?;
    if is_column(&name) {
        return Some(name);
    }
    columns.leave(
        key,
        &Value::from(name),
        format!("a template cannot name such a column: `{default}` stands in its place"),
    );
    Some(default.to_owned())
}

fn instructions(mut columns: Option<&mut Settings>, style: &Style, is_pretraining: bool) -> Shape {
    let instruction = column(&mut columns, "prompt", "instruction");
    let input = column(&mut columns, "query", "input");
    let output = column(&mut columns, "response", "output");
    let system = match &mut columns {
        Some(columns) if columns.has("system") => column(&mut Some(columns), "system", "system"),
        _ => None,
    };
    // Without a column of its own, a question is the input alone.
    let (instruction, input) = match (instruction, input) {
        (Some(instruction), input) => (instruction, input),
        (None, Some(input)) => (input, None),
        (None, None) => ("instruction".to_owned(), None),
    };
    if is_pretraining {
        return Shape { template: template::completion(&instruction), chat: None };
    }
    let output = output.unwrap_or_else(|| "output".to_owned());
    let (chat, [first, before, behind]) = match style {
        Style::Chat(chat) => (Some(chat.clone()), Default::default()),
        Style::Text(texts) => (None, texts.clone().map(|text| text.replace('{', "{{").replace('}', "}}"))),
    };
    let format = if chat.is_some() { "{system}\n\n" } else { "{system}" };
    // Where rows say what the system says, the first text gives way.
    let (first, system) = match system {
        Some(column) => (String::new(), Some(System { column, format: format.to_owned(), otherwise: first })),
        None => (first, None),
    };
    let instruct = Instruct {
        name: "instruction",
        instruction,
        input,
        output,
        with_input: format!("{first}{before}{{instruction}}\n{{input}}{behind}"),
        without_input: format!("{first}{before}{{instruction}}{behind}"),
        system,
    };
    Shape { template: instruct.template(), chat }
}

fn conversations(set: &mut Settings, columns: Option<&mut Settings>, style: &Style) -> Shape {
    let mut columns = columns;
    let messages = column(&mut columns, "messages", "conversations").unwrap_or_else(|| "conversations".to_owned());
    // `DatasetAttr`: from, value, human, gpt, system.
    let mut tags = set.below("tags");
    let mut tag = |key: &str, default: &str| match &mut tags {
        Some(tags) => tags.text(key).unwrap_or_else(|| default.to_owned()),
        None => default.to_owned(),
    };
    let [role, content] = [tag("role_tag", "from"), tag("content_tag", "value")];
    let [user, assistant, system] =
        [tag("user_tag", "human"), tag("assistant_tag", "gpt"), tag("system_tag", "system")];
    if let Some(tags) = tags {
        set.absorb(tags.finish(&OF_COLUMNS));
    }
    set.differs("tags.system_tag", "what a row's system message says stands before its first question, within it");
    let (chat, [first, before, behind]) = match style {
        Style::Chat(chat) => (Some(chat.clone()), Default::default()),
        Style::Text(texts) => (None, texts.clone()),
    };
    let messages = Messages {
        column: messages,
        role,
        content,
        user: vec![user],
        assistant: vec![assistant],
        system: vec![system],
        question: (before, behind),
        first,
    };
    Shape { template: messages.template(), chat }
}
