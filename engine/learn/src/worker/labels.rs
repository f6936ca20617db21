//! The names of classes that a tokenize stage left, those that a model was trained with, and that they are the same. Knows
//! the files.

use std::path::Path;

use serde_json::{Map, Value, json};
use spec::files;
use spec::job::{Job, JobInput};

use super::model_source;
use crate::error::{Error, Result};
use crate::weights::write_json;

/// The classes of a data input, in the order of their numbers.
pub fn of_data(data: &JobInput) -> Result<Vec<String>> {
    let path = data.file(files::LABELS);
    match of_file(&path)? {
        Some(labels) if labels.len() > 1 => Ok(labels),
        Some(labels) => Err(Error::file(
            &path,
            format!("names {} class, and one class is nothing to tell apart", labels.len()),
            "check the template's block `label`, or use `regress` for numbers",
        )),
        None => Err(Error::file(
            &path,
            "is not there: the rows have no classes",
            "add a block `label` to the template, and give the `tokenize` stage `form: text`",
        )),
    }
}

/// Refuses a model that was trained with other classes than those of the data, or with the same in another order. A
/// model that only numbers its classes (`LABEL_0`, …) is taken at its number of them.
pub fn check_model(job: &Job, labels: &[String]) -> Result<()> {
    let folder = model_source::config_place(job);
    let known = match of_file(&folder.join(files::LABELS))? {
        Some(known) => Some(known),
        None => of_config(&folder)?,
    };
    let Some(known) = known.filter(|known| !known.iter().all(|name| name.starts_with("LABEL_"))) else { return Ok(()) };
    if known == labels {
        return Ok(());
    }
    Err(Error::file(
        &folder,
        format!("the model knows the classes {}, the data has {}", listed(&known), listed(labels)),
        format!("tokenize with `form: {{text: {{labels: [{}]}}}}`", known.join(", ")),
    ))
}

/// Leaves the names beside what was trained.
pub fn write(labels: &[String], folder: &Path) -> Result<()> {
    write_json(&folder.join(files::LABELS), &json!({ "labels": labels }))
}

/// The `config.json` of a model that tells these classes apart, as transformers reads it.
pub fn into_config(config: &mut Value, labels: &[String]) {
    let Some(config) = config.as_object_mut() else { return };
    let names: Map<_, _> = labels.iter().enumerate().map(|(id, name)| (id.to_string(), json!(name))).collect();
    let ids: Map<_, _> = labels.iter().enumerate().map(|(id, name)| (name.clone(), json!(id))).collect();
    config.insert("id2label".to_owned(), Value::Object(names));
    config.insert("label2id".to_owned(), Value::Object(ids));
    config.insert("problem_type".to_owned(), json!("single_label_classification"));
}

/// The names in a `labels.json`, where there is one.
pub fn of_file(path: &Path) -> Result<Option<Vec<String>>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", path, error)),
    };
    let labels: data::tokens::labels::Labels = serde_json::from_slice(&text)
        .map_err(|error| Error::file(path, format!("is not valid: {error}"), "tokenize the rows again"))?;
    Ok(Some(labels.labels))
}

/// The names in a model's `config.json`.
fn of_config(folder: &Path) -> Result<Option<Vec<String>>> {
    let path = folder.join(files::MODEL_CONFIG);
    let Ok(text) = std::fs::read(&path) else { return Ok(None) };
    let config: Value = serde_json::from_slice(&text)
        .map_err(|error| Error::file(&path, format!("is no valid JSON: {error}"), "fetch the file again"))?;
    let Some(names) = config.get("id2label").and_then(Value::as_object) else { return Ok(None) };
    Ok((0..names.len()).map(|id| Some(names.get(&id.to_string())?.as_str()?.to_owned())).collect())
}

fn listed(labels: &[String]) -> String {
    labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ")
}
