//! What a `select` stage chose, as it left it. Knows the file, neither figures nor who waits for it.

use std::{collections::BTreeMap, fs, path::Path};

use serde::Deserialize;
use spec::job::Failure;

use crate::{file_error::at, state::failure_of};

/// The winning coordinates: axis to label.
///
/// # Errors
/// When the file cannot be read or holds something else.
pub fn winner(folder: &Path) -> Result<BTreeMap<String, String>, Failure> {
    #[derive(Deserialize)]
    struct Selected {
        coordinates: BTreeMap<String, String>,
    }
    let path = folder.join(spec::files::SELECTED);
    let bytes = fs::read(&path).map_err(|error| failure_of(&at("read", &path)(error)))?;
    let selected: Selected = serde_json::from_slice(&bytes).map_err(|error| Failure {
        message: format!("{} does not say what was selected: {error}", path.display()),
        place: None,
        hint: Some("do the `select` stage again: `engine run FILE --force STAGE`".into()),
    })?;
    Ok(selected.coordinates)
}
