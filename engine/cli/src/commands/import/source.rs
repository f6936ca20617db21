//! Where a configuration's model and rows come from: a file of this machine where there is one, else the Hub. Knows names
//! and files, and how many rows a file holds; no tool.

use std::path::{Path, PathBuf};

use spec::stage::{Download, Hub, Origin, Source, Url};

/// The folders in which a configuration's relative paths may lie, and the project that the pipeline belongs to.
#[derive(Debug)]
pub struct Places {
    root: PathBuf,
    own: PathBuf,
    folders: Vec<PathBuf>,
}

/// Endings of files of rows.
const ENDINGS: &[&str] = &["json", "jsonl", "ndjson", "csv", "tsv", "parquet", "txt", "arrow", "gz", "zip"];
/// Larger files are not counted.
const COUNTED: u64 = 256 << 20;
/// So many folders above a configuration's own are looked into: it often stands some below where the tool is started.
const ABOVE: usize = 6;
/// The project, the current folder and the configuration's own are the first.
const NEAR: usize = 3;

impl Places {
    /// Paths are looked for in the project, in the current folder, and from the configuration's own folder upwards.
    pub fn new(root: &Path, config: &Path) -> Self {
        let own =
            std::fs::canonicalize(config.parent().filter(|own| !own.as_os_str().is_empty()).unwrap_or(Path::new(".")));
        let own = own.unwrap_or_default();
        let mut folders = vec![root.to_path_buf()];
        folders.extend(std::env::current_dir().ok());
        folders.extend(own.ancestors().take(ABOVE).map(Path::to_path_buf));
        Self { root: root.to_path_buf(), own, folders }
    }

    /// The file or folder that a path means.
    pub fn find(&self, path: &str) -> Option<PathBuf> {
        Self::find_in(&self.folders, path)
    }

    /// The same, in the project, the current folder and the configuration's own alone.
    pub fn find_near(&self, path: &str) -> Option<PathBuf> {
        Self::find_in(self.folders.get(..NEAR).unwrap_or(&self.folders), path)
    }

    fn find_in(folders: &[PathBuf], path: &str) -> Option<PathBuf> {
        if path.trim().is_empty() || path.contains('\0') {
            return None;
        }
        let found = folders.iter().map(|folder| folder.join(path)).find(|place| place.exists())?;
        std::fs::canonicalize(found).ok()
    }

    /// A file beside the configuration.
    pub fn beside(&self, name: &str) -> bool {
        self.own.join(name).is_file()
    }

    /// Whether a folder holds the project.
    fn is_above(&self, folder: &Path) -> bool {
        std::fs::canonicalize(&self.root).is_ok_and(|root| root.starts_with(folder))
    }

    /// A path as the pipeline file writes it: relative to the project where it is in it.
    pub fn written(&self, path: &Path) -> String {
        let root = std::fs::canonicalize(&self.root).unwrap_or_else(|_| self.root.clone());
        path.strip_prefix(&root).unwrap_or(path).display().to_string()
    }
}

/// Where something comes from, and what is to be said of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The source.
    pub from: Source,
    /// The file or folder of this machine.
    pub file: Option<PathBuf>,
    /// What the reader must know.
    pub why: Option<String>,
}

/// The source that a tool's name of a model or a data set means.
pub fn locate(places: &Places, name: &str, is_data: bool, revision: Option<String>) -> Found {
    let ending = Path::new(name).extension().map(|ending| ending.to_string_lossy().to_lowercase());
    let is_file = is_data && ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()));
    let is_path = name.starts_with(['/', '.', '~']) || name.contains('\\') || name.ends_with('/');
    // A name that may be the Hub's is looked for near by alone, as the tools do.
    let here = if is_file || is_path { places.find(name) } else { places.find_near(name) };
    if let Some(file) = here.as_ref().filter(|file| places.is_above(file)) {
        let why = format!("{} holds the whole project, and is no folder of its own", file.display());
        return Found { from: Source::Path(name.to_owned()), file: None, why: Some(why) };
    }
    if let Some(file) = here {
        let why = revision.map(|revision| format!("a path of this machine has no revision `{revision}`"));
        return Found { from: Source::Path(places.written(&file)), file: Some(file), why };
    }
    let absent = |why: &str| Found { from: Source::Path(name.to_owned()), file: None, why: Some(why.to_owned()) };
    if name.starts_with("https://") {
        let url = Url { address: name.to_owned(), sha256: None };
        return Found { from: Source::Url(url), file: None, why: None };
    }
    if name.contains("://") {
        return absent(
            "downloads are from https and the Hub: bring it to this machine, and say where in the stage's `from`",
        );
    }
    const NOT_THERE: &str = "there is no such file or folder here, and `engine check` will ask for it: put it there, or say \
                             where it is in the stage's `from`";
    if is_file || is_path {
        return absent(NOT_THERE);
    }
    let (model, dataset) = if is_data { (None, Some(name.to_owned())) } else { (Some(name.to_owned()), None) };
    let hub = Hub { model, dataset, ..Hub::default() };
    if is_refused(&Source::Hub(hub.clone())) {
        return absent(NOT_THERE);
    }
    let revised = Hub { revision: revision.clone(), ..hub.clone() };
    match is_refused(&Source::Hub(revised.clone())) {
        false => Found { from: Source::Hub(revised), file: None, why: None },
        true => {
            let why = format!("`{}` is no revision: `main` is taken", revision.unwrap_or_default());
            Found { from: Source::Hub(hub), file: None, why: Some(why) }
        }
    }
}

/// Whether a download stage would refuse a source.
pub fn is_refused(source: &Source) -> bool {
    use spec::stage::Kind;
    !Download { from: Origin(source.clone()) }.faults().is_empty()
}

/// How many rows a file or folder of this machine holds under a name; none where it cannot be told cheaply.
pub fn rows_in(path: &Path, name: &str) -> Option<usize> {
    let files = match path.is_dir() {
        true => data::rows::find(path, name).ok()?,
        false => vec![path.to_path_buf()],
    };
    let mut rows = 0_usize;
    for file in files {
        let about = std::fs::metadata(&file).ok()?;
        if !about.is_file() || about.len() > COUNTED {
            return None;
        }
        rows = rows.checked_add(data::rows::read(&file, None, &mut |_| {}).ok()?.len())?;
    }
    Some(rows)
}
