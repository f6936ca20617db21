//! Reads a configuration of another tool, and tells by its keys whose it is. Knows YAML and JSON as people and Python write
//! them; carries nothing over.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use spec::diagnostic::Diagnostic;

use crate::project;

/// A tool whose configurations are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Hugging Face's library of adapters.
    Peft,
    /// Axolotl.
    Axolotl,
    /// LLaMA-Factory.
    LlamaFactory,
}

/// How a tool's configurations are known: one of the first keys, or two of all.
struct Marks {
    tool: Tool,
    name: &'static str,
    sure: &'static [&'static str],
    likely: &'static [&'static str],
}

const MARKS: &[Marks] = &[
    Marks { tool: Tool::Peft, name: "a PEFT adapter", sure: &["peft_type"], likely: &[] },
    Marks {
        tool: Tool::Axolotl,
        name: "an Axolotl configuration",
        sure: &["base_model"],
        likely: &[
            "datasets",
            "pretraining_dataset",
            "micro_batch_size",
            "sequence_len",
            "num_epochs",
            "val_set_size",
            "lora_r",
            "lora_target_linear",
            "lora_target_modules",
            "sample_packing",
            "train_on_inputs",
        ],
    },
    Marks {
        tool: Tool::LlamaFactory,
        name: "a LLaMA-Factory configuration",
        sure: &["model_name_or_path", "finetuning_type"],
        likely: &[
            "cutoff_len",
            "dataset",
            "dataset_dir",
            "lora_rank",
            "lora_target",
            "num_train_epochs",
            "per_device_train_batch_size",
            "quantization_bit",
            "stage",
            "template",
        ],
    },
];

impl Tool {
    /// What its file is called.
    pub fn name(self) -> &'static str {
        MARKS.iter().find(|marks| marks.tool == self).map_or("a configuration", |marks| marks.name)
    }
}

/// The file of an adapter.
const ADAPTER: &str = "adapter_config.json";
/// No configuration is larger.
const LARGEST: u64 = 4 << 20;
/// More brackets are not open at once in anything that a person writes; the YAML reader takes time with their square.
const DEEPEST: usize = 500;

/// Reads a configuration: the file, whose it is, and its keys.
///
/// # Errors
/// What cannot be read, is no map, or is no tool's or several tools' configuration.
pub fn read(given: &Path) -> Result<(PathBuf, Tool, Map<String, Value>), Diagnostic> {
    let file = if given.is_dir() { given.join(ADAPTER) } else { given.to_path_buf() };
    let shown = file.display().to_string();
    let unreadable = |error: std::io::Error| {
        let hint = match given.is_dir() {
            true => "name the file, or the folder of an adapter",
            false => "name an `adapter_config.json` or its folder, or a YAML file of Axolotl or LLaMA-Factory",
        };
        Diagnostic::new(format!("cannot read {shown}: {error}"), hint)
    };
    let mut bytes = Vec::new();
    // A device or a pipe may have no end.
    let opened = std::fs::File::open(&file).map_err(unreadable)?;
    let length = opened.take(LARGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if length as u64 > LARGEST {
        let what = format!("{shown} has more than {} MiB: that is no configuration", LARGEST >> 20);
        return Err(Diagnostic::new(what, "name another file"));
    }
    let text = project::text_of(&shown, bytes).map_err(|fault| Diagnostic::new(fault.message, fault.hint))?;
    let Value::Object(map) = parse(&shown, &text)? else {
        return Err(Diagnostic::new(format!("{shown} holds no keys"), FORMS));
    };
    let tool = tool_of(&shown, &map)?;
    Ok((file, tool, map))
}

const FORMS: &str = "configurations are known by their keys: PEFT's by `peft_type`, Axolotl's by `base_model`, \
                     LLaMA-Factory's by `model_name_or_path`";

fn tool_of(shown: &str, map: &Map<String, Value>) -> Result<Tool, Diagnostic> {
    let found: Vec<(&Marks, Vec<&str>)> = MARKS
        .iter()
        .filter_map(|marks| {
            let held =
                |keys: &[&'static str]| keys.iter().copied().filter(|key| map.contains_key(*key)).collect::<Vec<_>>();
            let (sure, likely) = (held(marks.sure), held(marks.likely));
            (!sure.is_empty() || likely.len() >= 2).then(|| (marks, sure.into_iter().chain(likely).collect()))
        })
        .collect();
    match found.as_slice() {
        [(marks, _)] => Ok(marks.tool),
        [] if map.contains_key("stages") => {
            let hint = format!("it looks like a pipeline of this engine: `engine check {shown}`");
            Err(Diagnostic::new(format!("{shown} is no configuration of PEFT, Axolotl or LLaMA-Factory"), hint))
        }
        [] => Err(Diagnostic::new(format!("{shown} is no configuration of PEFT, Axolotl or LLaMA-Factory"), FORMS)),
        several => {
            let each: Vec<String> = several
                .iter()
                .map(|(marks, keys)| {
                    let keys: Vec<String> = keys.iter().take(3).map(|key| format!("`{key}`")).collect();
                    format!("{} ({})", marks.name, keys.join(", "))
                })
                .collect();
            let hint = "take out the keys of the other tool, or import each from a file of its own";
            Err(Diagnostic::new(format!("{shown} could be {}", each.join(" or ")), hint))
        }
    }
}

/// The text as one value: JSON where it is, else YAML with its anchors and merge keys resolved.
fn parse(shown: &str, text: &str) -> Result<Value, Diagnostic> {
    let syntax = |error: String| {
        Diagnostic::new(
            format!("{shown} cannot be read: {error}"),
            "correct the file, or look whether it is the right one",
        )
    };
    if too_deep(text) {
        return Err(syntax(format!("more than {DEEPEST} brackets are open at once")));
    }
    if !text.trim_start().starts_with('{') {
        return yaml(text).map_err(syntax);
    }
    match serde_json::from_str(&without_nonsense(text)) {
        Ok(value) => Ok(value),
        Err(error) if shown.ends_with(".json") => Err(syntax(error.to_string())),
        Err(_) => yaml(text).map_err(syntax),
    }
}

/// JSON without the numbers that Python writes and JSON has not: `NaN` and `Infinity`, as texts.
fn without_nonsense(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let (mut rest, mut is_quoted) = (text, false);
    while let Some(c) = rest.chars().next() {
        let word = ["NaN", "-Infinity", "Infinity"].into_iter().find(|word| !is_quoted && rest.starts_with(*word));
        let length = match (word, c) {
            (Some(word), _) => {
                clean.push_str(&format!("\"{word}\""));
                rest = &rest[word.len()..];
                continue;
            }
            (None, '\\') if is_quoted => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            (None, '"') => {
                is_quoted = !is_quoted;
                1
            }
            _ => c.len_utf8(),
        };
        clean.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    clean
}

fn yaml(text: &str) -> Result<Value, String> {
    let mut value: serde_yaml::Value = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    value.apply_merge().map_err(|error| error.to_string())?;
    Ok(plain(value))
}

/// YAML as JSON: keys are texts, tags are dropped, and numbers that are none are texts.
fn plain(value: serde_yaml::Value) -> Value {
    use serde_yaml::Value as Yaml;
    match value {
        Yaml::Null => Value::Null,
        Yaml::Bool(flag) => Value::Bool(flag),
        Yaml::String(text) => Value::String(text),
        Yaml::Sequence(list) => Value::Array(list.into_iter().map(plain).collect()),
        Yaml::Mapping(map) => Value::Object(map.into_iter().map(|(key, value)| (word(key), plain(value))).collect()),
        Yaml::Tagged(tagged) => plain(tagged.value),
        Yaml::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(number), ..) => Value::from(number),
            (_, Some(number), _) => Value::from(number),
            (.., Some(float)) if float.is_finite() => Value::from(float),
            _ => Value::String(number.to_string()),
        },
    }
}

fn word(key: serde_yaml::Value) -> String {
    match plain(key) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn too_deep(text: &str) -> bool {
    let mut open = 0_usize;
    text.bytes().any(|byte| {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        open > DEEPEST
    })
}
