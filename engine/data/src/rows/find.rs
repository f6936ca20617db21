//! Which files of a folder hold the rows of a name: one file, a set of shards, a folder of numbered files, or what a
//! pattern fits. Knows file names, not what is in them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use regex::Regex;

use crate::Error;

/// What files of rows end in, before `.gz`.
const ENDINGS: [&str; 7] = ["csv", "json", "jsonl", "ndjson", "parquet", "tab", "tsv"];

/// The files that hold the rows of a name, in the order in which they are read. Of these, the first that there is:
///
/// - with `*` or `?` in it, every file whose path fits (`*` within one folder, `**` across folders);
/// - the file of this name, or of this name before its ending; where the folder itself has none, of its subfolders;
/// - the shards `name-00000-of-00002`, …, all of them;
/// - the folder of this name, if it holds one file of rows, or files that are told apart by a number alone.
///
/// # Errors
/// When there is none, when a shard is missing, or when the name fits more than one of these.
pub fn find(folder: &Path, name: &str) -> Result<Vec<PathBuf>, Error> {
    let files = list(folder)?;
    if name.contains(['*', '?']) {
        return by_pattern(folder, &files, name);
    }
    if let Some(found) = by_name(folder, &files, name)? {
        return Ok(vec![found]);
    }
    if let Some(found) = shards(folder, &files, name)? {
        return Ok(found);
    }
    if let Some(found) = in_folder(folder, &files, name)? {
        return Ok(found);
    }
    Err(absent(folder, &files, name))
}

/// A file's path below the folder, with `/`.
fn relative(folder: &Path, path: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).to_string_lossy().into_owned()
}

/// A path without `.gz` and without its ending: `a/train.jsonl.gz` is `a/train`.
fn stem(path: &str) -> &str {
    let plain = path.strip_suffix(".gz").unwrap_or(path);
    let name = plain.rfind('/').map_or(0, |slash| slash + 1);
    match plain[name..].rfind('.') {
        Some(dot) if dot > 0 => &plain[..name + dot],
        _ => plain,
    }
}

/// Whether a path is `name`, or ends in it where the name has no folder.
fn is_named(path: &str, name: &str) -> bool {
    path == name || (!name.contains('/') && path.rsplit('/').next() == Some(name))
}

fn by_name(folder: &Path, files: &[PathBuf], name: &str) -> Result<Option<PathBuf>, Error> {
    let fits = |path: &&PathBuf| {
        let path = relative(folder, path);
        is_named(stem(&path), name) || is_named(&path, name)
    };
    let (here, below): (Vec<PathBuf>, Vec<PathBuf>) =
        files.iter().filter(fits).cloned().partition(|path| path.parent() == Some(folder));
    let found = if here.is_empty() { below } else { here };
    match found.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(only.clone())),
        several => Err(ambiguous(folder, several, name)),
    }
}

fn ambiguous(folder: &Path, several: &[PathBuf], name: &str) -> Error {
    let names: Vec<String> = several.iter().map(|path| relative(folder, path)).collect();
    Error::new(format!("several files are named `{name}`: {}", shown(&names)))
        .in_file(folder)
        .hint(format!("name one with its folder and ending, such as `{}`", names[0]))
}

/// The shards of a name, as Hugging Face's data sets are divided: all of one folder, none missing.
fn shards(folder: &Path, files: &[PathBuf], name: &str) -> Result<Option<Vec<PathBuf>>, Error> {
    let mut sets: BTreeMap<String, BTreeMap<usize, &PathBuf>> = BTreeMap::new();
    let mut totals: BTreeMap<String, usize> = BTreeMap::new();
    for path in files {
        let whole = relative(folder, path);
        let Some((set, number, total)) = shard(stem(&whole)) else { continue };
        if !is_named(set, name) {
            continue;
        }
        if totals.insert(set.to_owned(), total).is_some_and(|other| other != total)
            || sets.entry(set.to_owned()).or_default().insert(number, path).is_some()
        {
            return Err(Error::new(format!(
                "the shards of `{set}` are of two sets: `{whole}` does not fit the others"
            ))
            .in_file(folder)
            .hint("let the download bring only one of them, or name files by a pattern"));
        }
    }
    let mut found = sets.into_iter();
    let (Some((set, shards)), other) = (found.next(), found.next()) else { return Ok(None) };
    if let Some((other, _)) = other {
        return Err(Error::new(format!("several folders hold shards of `{name}`: `{set}` and `{other}`"))
            .in_file(folder)
            .hint(format!("name one with its folder: `{set}`")));
    }
    let total = totals.get(&set).copied().unwrap_or_default();
    if let Some(missing) = (0..total).find(|number| !shards.contains_key(number)) {
        return Err(Error::new(format!("of the {total} shards of `{set}`, number {missing:05} is missing"))
            .in_file(folder)
            .hint("download it too, or name the files to be read by a pattern, such as `train-*`"));
    }
    Ok(Some(shards.into_values().cloned().collect()))
}

/// The name, number and total of a shard: `train-00000-of-00002`, also with a digest behind.
fn shard(stem: &str) -> Option<(&str, usize, usize)> {
    let middle = stem.rfind("-of-")?;
    let (set, number) = stem[..middle].rsplit_once('-')?;
    let total = stem[middle + 4..].split('-').next()?;
    let digits = |text: &str| (text.len() == 5).then(|| text.parse().ok()).flatten();
    Some((set, digits(number)?, digits(total)?)).filter(|(_, number, total)| number < total)
}

/// The files of rows of a folder that has the name.
fn in_folder(folder: &Path, files: &[PathBuf], name: &str) -> Result<Option<Vec<PathBuf>>, Error> {
    let mut folders: BTreeMap<String, Vec<&PathBuf>> = BTreeMap::new();
    for path in files {
        let whole = relative(folder, path);
        let Some((above, _)) = whole.rsplit_once('/') else { continue };
        let ending = whole.strip_suffix(".gz").unwrap_or(&whole).rsplit('.').next().unwrap_or_default().to_lowercase();
        if is_named(above, name) && ENDINGS.contains(&ending.as_str()) {
            folders.entry(above.to_owned()).or_default().push(path);
        }
    }
    let mut found = folders.into_iter();
    let (Some((above, held)), other) = (found.next(), found.next()) else { return Ok(None) };
    if let Some((other, _)) = other {
        return Err(Error::new(format!("several folders are named `{name}`: `{above}` and `{other}`"))
            .in_file(folder)
            .hint(format!("name one with what it is in: `{above}`")));
    }
    let without_number = |path: &PathBuf| {
        let whole = relative(folder, path);
        stem(&whole).trim_end_matches(|c: char| c.is_ascii_digit()).to_owned()
    };
    let numbered = |path: &PathBuf| stem(&relative(folder, path)).ends_with(|c: char| c.is_ascii_digit());
    let alike = held.iter().all(|path| numbered(path) && without_number(path) == without_number(held[0]));
    if held.len() > 1 && !alike {
        let names: Vec<String> = held.iter().map(|path| relative(folder, path)).collect();
        return Err(Error::new(format!("the folder `{above}` holds several files of rows: {}", shown(&names)))
            .in_file(folder)
            .hint(format!("name one of them, or all by a pattern: `{above}/*`")));
    }
    Ok(Some(held.into_iter().cloned().collect()))
}

fn by_pattern(folder: &Path, files: &[PathBuf], pattern: &str) -> Result<Vec<PathBuf>, Error> {
    let regex = regex(pattern).map_err(|error| Error::new(format!("`{pattern}` is no pattern: {error}")))?;
    let fits = |path: &&PathBuf| regex.is_match(&relative(folder, path));
    let found: Vec<PathBuf> = files.iter().filter(fits).cloned().collect();
    if found.is_empty() {
        return Err(absent(folder, files, pattern));
    }
    Ok(found)
}

fn regex(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!("^{}$", translated(pattern)))
}

/// A pattern as a regular expression: `*` is any characters within a folder, `**` any, `?` one.
pub(crate) fn translated(pattern: &str) -> String {
    let mut text = String::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let (piece, length) = match c {
            '*' if rest.starts_with("**/") => ("(.*/)?".to_owned(), 3),
            '*' if rest.starts_with("**") => (".*".to_owned(), 2),
            '*' => ("[^/]*".to_owned(), 1),
            '?' => ("[^/]".to_owned(), 1),
            c => (regex::escape(&c.to_string()), c.len_utf8()),
        };
        text.push_str(&piece);
        rest = &rest[length..];
    }
    text
}

fn absent(folder: &Path, files: &[PathBuf], name: &str) -> Error {
    let names: Vec<String> = files.iter().map(|path| relative(folder, path)).collect();
    let last = |path: &str| stem(path).rsplit('/').next().unwrap_or_default().to_owned();
    let stems: Vec<String> = names.iter().map(|name| last(name)).collect();
    let hint = match spec::suggest::nearest(name, &stems) {
        Some(near) => format!("did you mean `{near}`? there: {}", shown(&names)),
        None if names.is_empty() => "the folder is empty".to_owned(),
        None => format!("there: {}", shown(&names)),
    };
    Error::new(format!("no file is named `{name}`")).in_file(folder).hint(hint)
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
