//! One side of a comparison: where its files are, and the pipeline and lock read from them. Knows files; compares nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    rc::Rc,
};

use plan::{
    compare::Version,
    digest::Digest,
    graph::{Graph, Node},
    lockfile::LockFile,
};
use spec::{diagnostic::Diagnostic, job::Failure, pipeline::Pipeline, stage::Read};
use tempfile::TempDir;

use crate::{
    project::{read_pipeline, root_above},
    revision,
    session::template_files,
};

/// The files of a project at one revision, or as they are now.
#[derive(Clone)]
pub struct Files {
    /// How the revision was written.
    pub label: String,
    /// The project's root, or a folder that holds its files as they were.
    root: PathBuf,
    /// Before a file's name in messages: `HEAD~3:`.
    prefix: String,
    /// The folder of an older revision, removed with its last user.
    _folder: Option<Rc<TempDir>>,
}

/// What a word of the command line names.
pub enum Named {
    /// A whole revision.
    Revision(Files),
    /// One file, relative to the root of where it is.
    File(Files, String),
}

impl Named {
    /// `REVISION`, `FILE` or `REVISION:FILE`. What is there as a file is one.
    pub fn read(here: &Path, word: &str) -> Result<Self, Failure> {
        if Path::new(word).is_file() {
            let path = std::fs::canonicalize(word).unwrap_or_else(|_| word.into());
            let root = root_above(path.parent().unwrap_or(here));
            let file = path.strip_prefix(&root).unwrap_or(&path).display().to_string();
            return Ok(Self::File(Files::working_tree(&root), file));
        }
        match word.split_once(':') {
            Some((revision, file)) if !revision.is_empty() && !file.is_empty() => {
                let files = Files::revision(here, revision)?;
                Ok(Self::File(files, file.trim_start_matches("./").to_owned()))
            }
            _ => Ok(Self::Revision(Files::revision(here, word)?)),
        }
    }
}

impl Files {
    /// The files as they are.
    pub fn working_tree(root: &Path) -> Self {
        Self { label: "working tree".to_owned(), root: root.to_owned(), prefix: String::new(), _folder: None }
    }

    /// The files of a revision.
    pub fn revision(root: &Path, revision: &str) -> Result<Self, Failure> {
        let commit = revision::commit(root, revision)?;
        let folder = revision::files(root, &commit)?;
        Ok(Self {
            label: revision.to_owned(),
            root: std::fs::canonicalize(folder.path()).unwrap_or_else(|_| folder.path().to_owned()),
            prefix: format!("{revision}:"),
            _folder: Some(Rc::new(folder)),
        })
    }

    /// The locks below `pipelines/`, relative to the root.
    pub fn locks(&self) -> BTreeSet<String> {
        self.yaml_files("pipelines").into_iter().filter(|name| name.ends_with(".lock.yaml")).collect()
    }

    fn yaml_files(&self, folder: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![self.root.join(folder)];
        while let Some(folder) = open.pop() {
            for path in std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|item| item.path()) {
                let ending = path.extension().and_then(|ending| ending.to_str());
                if path.is_dir() && !path.is_symlink() {
                    open.push(path);
                } else if matches!(ending, Some("yaml" | "yml")) {
                    found.extend(path.strip_prefix(&self.root).map(|name| name.display().to_string()));
                }
            }
        }
        found
    }
}

/// A pipeline as one side knows it.
pub struct Side {
    /// What the side is called.
    pub label: String,
    /// Its settings and figures.
    pub version: Version,
    /// Where its lock is, if there is one that can be read.
    pub lock: Option<String>,
    /// What could not be read.
    pub notes: Vec<String>,
}

impl Side {
    /// A pipeline by its file.
    pub fn of_file(files: &Files, file: &str, profile: Option<&str>) -> Result<Self, Failure> {
        if !files.root.join(file).is_file() {
            let known = files.yaml_files("pipelines");
            let known: Vec<&str> =
                known.iter().map(String::as_str).filter(|name| !name.ends_with(".lock.yaml")).collect();
            return Err(Failure {
                message: format!("there is no `{file}` in {}", files.label),
                place: None,
                hint: Some(spec::suggest::did_you_mean(file, known)),
            });
        }
        let pipeline = files.pipeline(file, profile);
        let name = pipeline.as_ref().map_or_else(
            |_| Path::new(file).file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            |pipeline| pipeline.name.clone(),
        );
        let suffix = profile.map(|profile| format!(".{profile}")).unwrap_or_default();
        let lock = Path::new(file).with_file_name(format!("{name}{suffix}.lock.yaml")).display().to_string();
        let label = format!("{}{file}", files.prefix);
        Ok(Self::new(files, label, Some((file, pipeline)), &lock))
    }

    /// A pipeline by its lock: its file is the one in the same folder that has such a name and profile.
    pub fn of_lock(files: &Files, lock: &str) -> Self {
        let (folder, variant) = lock.rsplit_once('/').unwrap_or(("", lock));
        let variant = variant.trim_end_matches(".lock.yaml");
        for file in files.yaml_files(folder) {
            let beside = Path::new(&file).parent() == Some(Path::new(folder)) && !file.ends_with(".lock.yaml");
            if !beside {
                continue;
            }
            let stem = Path::new(&file).file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let plain = files.pipeline(&file, None);
            let name = plain.as_ref().map_or(stem, |pipeline| pipeline.name.clone());
            if name == variant {
                return Self::new(files, files.label.clone(), Some((&file, plain)), lock);
            }
            let Some(suffix) = variant.strip_prefix(&name).and_then(|rest| rest.strip_prefix('.')) else { continue };
            let has_profile = plain.as_ref().is_ok_and(|pipeline| pipeline.profiles().any(|profile| profile == suffix));
            if has_profile {
                let pipeline = files.pipeline(&file, Some(suffix));
                return Self::new(files, files.label.clone(), Some((&file, pipeline)), lock);
            }
            let mut side = Self::new(files, files.label.clone(), None, lock);
            side.notes.push(format!("`{variant}` is a variant with settings of a command line: these are not known"));
            return side;
        }
        Self::new(files, files.label.clone(), None, lock)
    }

    fn new(
        files: &Files,
        label: String,
        pipeline: Option<(&str, Result<Pipeline, Vec<Diagnostic>>)>,
        lock: &str,
    ) -> Self {
        let mut notes = Vec::new();
        let mut note = |faults: Vec<Diagnostic>, file: &str| {
            let first = faults.first().map(ToString::to_string).unwrap_or_default();
            notes.push(format!("{}{file} cannot be read, so settings are not compared: {first}", files.prefix));
        };
        let graph = match pipeline {
            None => None,
            Some((file, Err(faults))) => {
                note(faults, file);
                None
            }
            Some((file, Ok(pipeline))) => match Graph::expand(&pipeline) {
                Ok(graph) => Some(graph),
                Err(faults) => {
                    note(faults, file);
                    None
                }
            },
        };
        let path = files.root.join(lock);
        let shown = format!("{}{lock}", files.prefix);
        let read = match LockFile::read(&path) {
            _ if !path.is_file() => {
                notes.push(format!("there is no lock {shown}: no figures"));
                None
            }
            Ok(lock) => Some(lock),
            Err(error) => {
                let error = error.to_string().replace(&path.display().to_string(), &shown);
                notes.push(format!("{error}: no figures"));
                None
            }
        };
        let empty = LockFile::default();
        let texts = |node: &Node| files.templates(node);
        let version = Version::new(graph.as_ref(), read.as_ref().unwrap_or(&empty), texts).unwrap_or_else(|error| {
            notes.push(format!("a setting has no JSON form: {error}"));
            Version::default()
        });
        Self { label, version, lock: read.map(|_| shown), notes }
    }
}

impl Files {
    fn pipeline(&self, file: &str, profile: Option<&str>) -> Result<Pipeline, Vec<Diagnostic>> {
        let place = |name: &str| self.root.join(name.strip_prefix(&self.prefix).unwrap_or(name));
        read_pipeline(&self.root, &format!("{}{file}", self.prefix), &place, profile, &[])
    }

    /// The templates that a member reads, each with the digest of its text.
    fn templates(&self, node: &Node) -> BTreeMap<String, Digest> {
        let named = node.local_paths.iter().filter(|local| local.read == Read::Template);
        let files = named.flat_map(|local| template_files(&self.root, &local.path).unwrap_or_default());
        let digest = |path: PathBuf| {
            let name = path.strip_prefix(&self.root).unwrap_or(&path).display().to_string();
            Some((name, Digest::of(&std::fs::read(&path).ok()?)))
        };
        files.filter_map(digest).collect()
    }
}
