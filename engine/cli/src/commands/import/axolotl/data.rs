//! Axolotl's data sets: where rows come from. Knows no training, and no form of rows; see `shapes`.

use serde_json::{Map, Value};
use spec::{
    diagnostic::Diagnostic,
    stage::{Format, Source},
};

use super::{
    super::{
        corpus::Part,
        settings::Settings,
        source::{self, Places, locate},
    },
    keys::OF_DATA,
    shapes::{Shape, common, shape_of},
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

/// No rows are named.
pub fn no_rows() -> Diagnostic {
    Diagnostic::new("the configuration names no data set", "name one under `datasets`, with `path` and `type`")
}

/// Reads the data sets. Those whose rows are written otherwise than those of the first are listed and left out.
///
/// # Errors
/// When there is none.
pub fn read(settings: &mut Settings, places: &Places) -> Result<Sets, Diagnostic> {
    if settings.flag("shuffle_merged_datasets") == Some(false) {
        let why = "rows are in a random order here, which depends on the seed and the epoch alone";
        settings.leave("shuffle_merged_datasets", &Value::from(false), why);
    }
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
            let own = shape_of(&mut set, streamed);
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
        Some(mut shape) => {
            if let Some(chat) = &mut shape.chat {
                common(settings, chat);
            }
            Ok(Sets { train, validation, shape })
        }
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

fn part(set: &mut Settings, places: &Places, at: &str) -> Option<Part> {
    let Some(mut path) = set.text("path") else {
        set.unset("path", "left out: the data set is not named");
        return None;
    };
    let mut files = set.words("data_files");
    // `path: json` names a reader, and `data_files` what it reads.
    let is_reader = matches!(path.as_str(), "json" | "csv" | "parquet" | "text") && places.find_near(&path).is_none();
    if is_reader && let Some([file]) = files.as_deref() {
        path = file.clone();
        files = None;
    }
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
                (None, None) => {
                    vec![std::path::Path::new(&path).file_name().unwrap_or_default().to_string_lossy().into_owned()]
                }
                // What is loaded of a folder without names is all files of rows.
                (None, Some(folder)) if ::data::rows::find(folder, &split).is_ok() => vec![split],
                (None, Some(_)) => vec!["**".to_owned()],
            };
            (other, names)
        }
    };
    let part = Part {
        key: at.to_owned(),
        called: path.clone(),
        from,
        files: names,
        format,
        take,
        bounded_by: format!("{at}.split"),
        here: found.file,
    };
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
            set.leave(
                "ds_type",
                &Value::from(word),
                "not read here (json, jsonl, csv, tsv, parquet): the file's name decides",
            );
            None
        }
    }
}
