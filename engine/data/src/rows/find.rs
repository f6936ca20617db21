//! Which file of a folder holds the rows of a name. Knows file names, not what is in them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::Error;

/// The file of the folder whose name without its ending is `name`; where the folder itself has none, of its subfolders.
///
/// # Errors
/// When there is none, or more than one.
pub fn find(folder: &Path, name: &str) -> Result<PathBuf, Error> {
    let files = list(folder)?;
    let stem = |path: &PathBuf| path.file_stem().is_some_and(|stem| stem == name);
    let (here, below): (Vec<PathBuf>, Vec<PathBuf>) =
        files.iter().filter(|path| stem(path)).cloned().partition(|path| path.parent() == Some(folder));
    let found = if here.is_empty() { below } else { here };
    match found.as_slice() {
        [only] => Ok(only.clone()),
        [] => {
            let stems: Vec<&str> = files.iter().filter_map(|path| path.file_stem()?.to_str()).collect();
            let names: Vec<String> = files.iter().map(|path| relative(folder, path)).collect();
            let hint = match spec::suggest::nearest(name, stems.iter().copied()) {
                Some(near) => format!("did you mean `{near}`? there: {}", shown(&names)),
                None if names.is_empty() => "the folder is empty".to_owned(),
                None => format!("there: {}", shown(&names)),
            };
            Err(Error::new(format!("no file is named `{name}`")).in_file(folder).hint(hint))
        }
        several => {
            let names: Vec<String> = several.iter().map(|path| relative(folder, path)).collect();
            Err(Error::new(format!("several files are named `{name}`: {}", shown(&names)))
                .in_file(folder)
                .hint("let the download bring only one of them, or rename one"))
        }
    }
}

fn relative(folder: &Path, path: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).display().to_string()
}

fn shown(names: &[String]) -> String {
    let some: Vec<&str> = names.iter().take(20).map(String::as_str).collect();
    let more = names.len() - some.len();
    let listed = spec::one_of::listed(&some);
    if more == 0 { listed } else { format!("{listed} and {more} more") }
}

/// All files of a folder and its subfolders, hidden ones left out, in the order of their paths.
fn list(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).map_err(|error| Error::io("read", &folder, &error))?;
        for entry in entries {
            let path = entry.map_err(|error| Error::io("read", &folder, &error))?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')) {
                continue;
            }
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    Ok(files)
}
