//! The top of a pipeline file: which keys it has, and its name. Knows nothing of what a stage may say.

use std::path::Path;

use serde_yaml::Value;

use crate::{
    diagnostic::Diagnostic,
    names, suggest,
    text::{Document, Side, YamlPath, kind_of},
};

/// The keys of a pipeline file.
pub const TOP_KEYS: &[&str] = &["name", "include", "track", "vars", "profiles", "stages"];

/// The mistakes at the top of a file, be it a pipeline or one that is included.
pub(crate) fn faults(document: &Document) -> Vec<Diagnostic> {
    let root = YamlPath::root();
    let Value::Mapping(top) = &document.value else {
        let message = match &document.value {
            Value::Null => "the file holds nothing".to_owned(),
            other => format!("a pipeline file is a map, not a {}", kind_of(other)),
        };
        return vec![document.fault(&root, Side::Value, message, "begin with `stages:`")];
    };
    let mut faults = Vec::new();
    for key in top.keys().filter_map(Value::as_str).filter(|key| !TOP_KEYS.contains(key)) {
        faults.push(document.fault(
            &root.key(key),
            Side::Key,
            format!("unknown key `{key}`"),
            suggest::did_you_mean(key, TOP_KEYS.iter().copied()),
        ));
    }
    for key in ["vars", "profiles", "stages"] {
        if let Some(value) = top.get(key).filter(|value| !value.is_mapping()) {
            let message = match value {
                Value::Null => format!("`{key}` holds nothing"),
                other => format!("`{key}` is a {}, not a map", kind_of(other)),
            };
            let hint = format!("write `{key}: {{name: …}}`");
            faults.push(document.fault(&root.key(key), Side::Value, message, hint));
        }
    }
    for key in ["vars", "profiles"] {
        let names = top.get(key).and_then(Value::as_mapping).into_iter().flat_map(serde_yaml::Mapping::keys);
        for name in names.filter_map(Value::as_str).filter(|name| !names::is_name(name)) {
            let what = if key == "vars" { "variable" } else { "profile" };
            let message = format!("`{name}` is no name for a {what}");
            faults.push(document.fault(&root.key(key).key(name), Side::Key, message, names::RULE));
        }
    }
    faults
}

/// What is wrong with a pipeline that names no stage and takes none from elsewhere.
pub(crate) fn missing_stages(document: &Document) -> Option<Diagnostic> {
    let mut keys = document.value.as_mapping()?.keys().filter_map(Value::as_str);
    let has = |key: &str| ["stages", "include"].map(Some).contains(&suggest::nearest(key, TOP_KEYS.iter().copied()));
    if keys.any(has) {
        return None;
    }
    let hint = "a pipeline has at least one stage: `stages: {NAME: {kind: …}}`";
    Some(document.fault(&YamlPath::root(), Side::Value, "`stages` is missing", hint))
}

/// The pipeline's name: as written, else the file's.
///
/// # Errors
/// What is no name.
pub(crate) fn name_of(document: &Document) -> Result<String, Diagnostic> {
    let path = YamlPath::keys(["name"]);
    let name = match document.get(&path) {
        Some(Value::String(name)) => name.clone(),
        Some(other) => {
            let message = format!("the name is a {}, not a word", kind_of(other));
            return Err(document.fault(&path, Side::Value, message, "put it in quotes"));
        }
        None => Path::new(&document.source.name).file_stem().unwrap_or_default().to_string_lossy().into_owned(),
    };
    if names::is_name(&name) {
        Ok(name)
    } else {
        Err(document.fault(&path, Side::Value, format!("`{name}` is no name for a pipeline"), names::RULE))
    }
}
