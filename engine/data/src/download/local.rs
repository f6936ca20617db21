//! Files of this machine, copied; shared with the original on disk where the file system can do that. Knows files and
//! links; nothing is read outside the given folder or written outside the result.

use std::{
    fs,
    path::{Path, PathBuf},
};

use spec::job::Event;

use crate::{Error, job::Events};

/// Brings a file under its own name, or what a folder holds.
pub(super) fn bring(from: &Path, result: &Path, events: Events<'_>) -> Result<(), Error> {
    let root = fs::canonicalize(from).map_err(|error| absent(from, &error))?;
    let mut files = Vec::new();
    if root.is_dir() {
        let mut above = vec![root.clone()];
        list(&root, from, Path::new(""), &mut above, &mut files)?;
        if files.is_empty() {
            return Err(Error::new("the folder holds no file").in_file(from).hint("check `from.path`"));
        }
    } else {
        let name = from.file_name().or(root.file_name()).map(PathBuf::from);
        let name = name.ok_or_else(|| Error::new("this path names no file").in_file(from))?;
        files.push((root, name));
    }
    let total = files.len() as u64;
    for (done, (file, name)) in files.into_iter().enumerate() {
        let to = result.join(&name);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(|error| Error::io("write", folder, &error))?;
        }
        reflink_copy::reflink_or_copy(&file, &to).map_err(|error| Error::io("copy this file", &file, &error))?;
        let note = name.display().to_string();
        events(Event::Progress { done: done as u64 + 1, total, unit: "files".into(), note });
    }
    Ok(())
}

fn absent(path: &Path, error: &std::io::Error) -> Error {
    if error.kind() != std::io::ErrorKind::NotFound {
        return Error::io("read", path, error);
    }
    let folder = path.parent().unwrap_or(path);
    let names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    let wanted = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let failed = Error::new("there is no such file or folder").in_file(path);
    match spec::suggest::nearest(&wanted, &names) {
        Some(near) => failed.hint(format!("did you mean `{near}`?")),
        None if !folder.is_dir() => failed.hint(format!("`{}` is not there either", folder.display())),
        None => failed.hint("paths are relative to the project's root"),
    }
}

/// The files below a folder in the order of their names, each with the name it gets. A link may lead to another place
/// of the same folder alone.
fn list(
    root: &Path,
    shown: &Path,
    below: &Path,
    above: &mut Vec<PathBuf>,
    files: &mut Vec<(PathBuf, PathBuf)>,
) -> Result<(), Error> {
    let folder = root.join(below);
    let entries = fs::read_dir(&folder).map_err(|error| Error::io("read", &shown.join(below), &error))?;
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(|error| Error::io("read", &shown.join(below), &error))?.file_name());
    }
    names.sort();
    for name in names {
        let below = below.join(&name);
        let place = shown.join(&below);
        let real =
            fs::canonicalize(root.join(&below)).map_err(|error| Error::io("follow this link", &place, &error))?;
        if !real.starts_with(root) {
            return Err(Error::new(format!("this link leads out of the folder, to {}", real.display()))
                .in_file(&place)
                .hint("put a copy of the file into the folder, or name its own path in a `download` of its own"));
        }
        if real.is_dir() {
            if above.contains(&real) {
                return Err(Error::new("this link leads to a folder that it is itself in")
                    .in_file(&place)
                    .hint("take the link away"));
            }
            above.push(real);
            list(root, shown, &below, above, files)?;
            above.pop();
        } else if real.is_file() {
            files.push((real, below));
        } else {
            return Err(Error::new("this is neither a file nor a folder").in_file(&place).hint("take it away"));
        }
    }
    Ok(())
}
