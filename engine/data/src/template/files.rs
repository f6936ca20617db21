//! Which files a template reads: itself and what it includes, extends or imports, all of one templates folder. Knows how
//! these tags are written; does not render.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
};

use regex::Regex;

use crate::Error;

/// The text of a template and what it says of other files and of blocks.
#[derive(Debug)]
pub(super) struct Source {
    /// Its path below the templates folder, with `/`.
    pub name: String,
    pub text: String,
    /// The blocks, each with its line.
    pub blocks: Vec<(String, usize)>,
}

/// The templates folder a template lies in, and the template's name below it.
///
/// # Errors
/// When no folder above the template is named `templates`.
pub fn folder_of(template: &Path) -> Result<(PathBuf, String), Error> {
    let folder = template.ancestors().skip(1).find(|folder| folder.file_name().is_some_and(|name| name == "templates"));
    let Some(folder) = folder else {
        return Err(Error::new("the template is in no folder named `templates`")
            .in_file(template)
            .hint("move it below `templates/` in the project's root"));
    };
    let below = template.strip_prefix(folder).unwrap_or(template);
    let parts: Vec<String> = below.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    Ok((folder.to_path_buf(), parts.join("/")))
}

/// The files that a template of a templates folder reads: itself first, then what it includes, extends and imports,
/// and what these do, each once, in the order of their names.
///
/// # Errors
/// When one is missing, is not UTF-8, or is not below the folder.
pub fn template_files(folder: &Path, template: &str) -> Result<Vec<PathBuf>, Error> {
    Ok(sources(folder, template)?.iter().map(|source| folder.join(&source.name)).collect())
}

/// The templates with their texts, in the order of [`template_files`].
pub(super) fn sources(folder: &Path, template: &str) -> Result<Vec<Source>, Error> {
    let tags = Tags::new()?;
    let (main, mut wanted) = tags.read(folder, template, None)?;
    let mut known = BTreeSet::from([template.to_owned()]);
    let mut others = Vec::new();
    while let Some(Wanted { name, place, optional }) = wanted.pop() {
        if !known.insert(name.clone()) || (optional && !folder.join(&name).is_file()) {
            continue;
        }
        let (source, more) = tags.read(folder, &name, Some(&place))?;
        others.push(source);
        wanted.extend(more);
    }
    others.sort_by(|a, b| a.name.cmp(&b.name));
    Ok([main].into_iter().chain(others).collect())
}

struct Wanted {
    name: String,
    place: String,
    /// One of a list of which the first that exists is taken, or `ignore missing`.
    optional: bool,
}

struct Tags {
    silent: Regex,
    tag: Regex,
    literal: Regex,
}

impl Tags {
    fn new() -> Result<Self, Error> {
        let regex = |pattern| Regex::new(pattern).map_err(|error| Error::new(error.to_string()));
        Ok(Self {
            silent: regex(r"(?s)\{#.*?#\}|\{%[-+]?\s*raw\s*[-+]?%\}.*?\{%[-+]?\s*endraw\s*[-+]?%\}")?,
            tag: regex(r"(?s)\{%[-+]?\s*(include|extends|import|from|block)\b(.*?)[-+]?%\}")?,
            literal: regex(r#""([^"]*)"|'([^']*)'"#)?,
        })
    }

    fn read(&self, folder: &Path, name: &str, wanted_at: Option<&str>) -> Result<(Source, Vec<Wanted>), Error> {
        let ordinary = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if !ordinary || name.is_empty() {
            return Err(Error::new(format!("the template `{name}` is not below `templates/`"))
                .at(wanted_at.unwrap_or("template"))
                .hint("name it from the folder `templates` on, without `..`"));
        }
        let path = folder.join(name);
        let text = fs::read(&path).map_err(|error| missing(folder, name, wanted_at, &error))?;
        let text = String::from_utf8(text).map_err(|error| {
            Error::new(format!("the template is not UTF-8: {error}")).in_file(&path).hint("save it as UTF-8")
        })?;
        // The same length and lines, so that places stay right.
        let plain = self.silent.replace_all(&text, |found: &regex::Captures<'_>| {
            found[0].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect::<String>()
        });
        let mut blocks = Vec::new();
        let mut wanted = Vec::new();
        for tag in self.tag.captures_iter(&plain) {
            let line = 1 + plain[..tag.get(0).map_or(0, |found| found.start())].matches('\n').count();
            let rest = tag[2].trim();
            if &tag[1] == "block" {
                let word: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                blocks.push((word, line));
                continue;
            }
            let names: Vec<&str> = self
                .literal
                .captures_iter(rest)
                .filter_map(|found| found.get(1).or_else(|| found.get(2)))
                .map(|found| found.as_str())
                .collect();
            let place = format!("templates/{name}:{line}");
            if names.is_empty() {
                return Err(Error::new(format!("`{} {rest}` does not write out the name of a template", &tag[1]))
                    .at(place)
                    .hint("write the name in quotes: what a template reads must be known before it is rendered"));
            }
            let optional = names.len() > 1 || rest.contains("ignore missing");
            let one = |name: &str| Wanted { name: name.to_owned(), place: place.clone(), optional };
            wanted.extend(names.into_iter().map(one));
        }
        Ok((Source { name: name.to_owned(), text, blocks }, wanted))
    }
}

fn missing(folder: &Path, name: &str, wanted_at: Option<&str>, error: &std::io::Error) -> Error {
    let path = folder.join(name);
    if error.kind() != std::io::ErrorKind::NotFound {
        return Error::io("read the template", &path, error);
    }
    let mut there = Vec::new();
    names(folder, folder, &mut there);
    there.sort();
    let failed = Error::new(format!("there is no template `{name}`")).hint(spec::suggest::did_you_mean(name, &there));
    match wanted_at {
        Some(place) => failed.at(place),
        None => failed.in_file(&path),
    }
}

/// The names of the templates of a folder; what cannot be read is left out, this is for a hint.
fn names(root: &Path, folder: &Path, found: &mut Vec<String>) {
    for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            names(root, &path, found);
        } else if let Ok(name) = path.strip_prefix(root) {
            found.push(name.to_string_lossy().replace('\\', "/"));
        }
    }
}
