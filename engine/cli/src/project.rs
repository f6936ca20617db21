//! Where a pipeline's project is, and its graph. Knows files and the plan, no command.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use plan::{
    graph::Graph,
    lockfile::{LockError, LockFile},
};
use spec::{
    diagnostic::Diagnostic,
    include::Unreadable,
    pipeline::Pipeline,
    text::{Document, Source},
    track::Tracker,
};

use crate::blocks;

/// The pipeline file and what is changed in it for this run.
#[derive(Debug, Clone, Args)]
pub struct PipelineArgs {
    /// The pipeline file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Apply a profile of the file; its results and lock are kept apart.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// Change a setting: `vars.rows=256`, `stages.tuned.epochs=2`.
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// Keep results and lock under this name: with `--set`, a lock is only written with it.
    #[arg(long, value_name = "NAME")]
    pub variant: Option<String>,
}

/// A pipeline that was read and expanded.
pub struct Project {
    /// The folder that paths of the file are relative to.
    pub root: PathBuf,
    /// The names of the file's profiles.
    pub profiles: Vec<String>,
    /// The file as it was written, with what it includes and what was changed for this run.
    pub document: Document,
    /// Where its runs are shown.
    pub track: Vec<Tracker>,
    /// Its members and edges.
    pub graph: Graph,
    /// The name that results and lock are kept under: the pipeline's, with the profile or variant.
    pub variant: String,
    /// The folder of the pipeline file, where its locks are.
    pub folder: PathBuf,
    /// The lock; nothing where this run is to leave none.
    pub lock: Option<Lock>,
}

/// A lock file and what it says, or why it cannot be read.
pub struct Lock {
    /// Where it is.
    pub path: PathBuf,
    /// What it says; empty where there is none.
    pub says: Result<Arc<LockFile>, Arc<LockError>>,
}

/// How the names of locks end.
const LOCK_ENDING: &str = ".lock.yaml";

/// Whether a file is a lock, by its name.
pub fn is_lock(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().ends_with(LOCK_ENDING))
}

impl Lock {
    fn read(path: PathBuf) -> Self {
        let says = LockFile::read(&path).map(Arc::new).map_err(Arc::new);
        Self { path, says }
    }
}

impl Project {
    /// Reads, expands and checks a pipeline file, and reads its lock.
    ///
    /// # Errors
    /// Every mistake found.
    pub fn open(args: &PipelineArgs) -> Result<Self, Vec<Diagnostic>> {
        Self::open_beside(args, |_, _| ()).map(|(project, ())| project)
    }

    /// As [`Self::open`]; `beside` is done with the project's root and what the lock says (nothing where there is no
    /// sound one), most often while the pipeline is still being read. It may be done twice, the second time counts.
    ///
    /// # Errors
    /// Every mistake found.
    pub fn open_beside<T: Send>(
        args: &PipelineArgs,
        beside: impl Fn(&Path, &LockFile) -> T + Sync,
    ) -> Result<(Self, T), Vec<Diagnostic>> {
        // All of it on the threads that share in it: the memory that one step leaves is there for the next.
        rayon::scope(|_| Self::open_on_threads(args, &beside))
    }

    fn open_on_threads<T: Send>(
        args: &PipelineArgs,
        beside: &(impl Fn(&Path, &LockFile) -> T + Sync),
    ) -> Result<(Self, T), Vec<Diagnostic>> {
        let shown = args.file.display().to_string();
        let root = root_of(&args.file);
        let folder = args.file.parent().map(Path::to_path_buf).unwrap_or_default();
        let suffix = args.variant.as_ref().or(args.profile.as_ref());
        let unnamed = suffix.filter(|name| !spec::names::is_name(name));
        let variant_of = |name: &str| suffix.map_or_else(|| name.to_owned(), |suffix| format!("{name}.{suffix}"));
        let has_lock = args.set.is_empty() || args.variant.is_some();
        let lock_of = |name: &str| has_lock.then(|| folder.join(format!("{}{LOCK_ENDING}", variant_of(name))));
        let with_lock = |path: Option<PathBuf>| {
            let lock = path.map(Lock::read);
            let says = lock.as_ref().and_then(|lock| lock.says.clone().ok()).unwrap_or_default();
            (lock, beside(&root, &says))
        };
        // Most pipelines are named as their files are: then the lock can be read at the same time.
        let stem = args.file.file_stem().unwrap_or_default().to_string_lossy();
        let (pipeline, ahead) = rayon::join(
            || read_pipeline(&root, &shown, &|name| PathBuf::from(name), args.profile.as_deref(), &args.set),
            || unnamed.is_none().then(|| with_lock(lock_of(&stem))),
        );
        let pipeline = pipeline?;
        if let Some(name) = unnamed {
            return Err(vec![Diagnostic::new(format!("`{name}` is no name for a variant"), spec::names::RULE)]);
        }
        let path = lock_of(&pipeline.name);
        let is_own = |lock: &Option<Lock>| lock.as_ref().map(|lock| &lock.path) == path.as_ref();
        let (lock, done) = match ahead.filter(|(lock, _)| is_own(lock)) {
            Some(ahead) => ahead,
            None => with_lock(path),
        };
        let graph = Graph::expand(&pipeline)?;
        let mut faults = plan::sources::absent_paths(&pipeline, &graph, &root);
        faults.extend(blocks::missing_blocks(&pipeline, &graph, &root));
        if !faults.is_empty() {
            return Err(faults);
        }
        let profiles = pipeline.profiles().map(str::to_owned).collect();
        let variant = variant_of(&pipeline.name);
        Ok((
            Self { root, profiles, document: pipeline.document, track: pipeline.track, graph, variant, folder, lock },
            done,
        ))
    }
}

/// Reads a pipeline file of a project with all that it includes. `place` tells where a file is by the name that messages
/// give it.
///
/// # Errors
/// Every mistake that can be found without looking at how stages depend on each other.
pub fn read_pipeline(
    root: &Path,
    shown: &str,
    place: &dyn Fn(&str) -> PathBuf,
    profile: Option<&str>,
    sets: &[String],
) -> Result<Pipeline, Vec<Diagnostic>> {
    let file = place(shown);
    if is_lock(&file) {
        let hint = "name the pipeline file that it belongs to";
        return Err(vec![Diagnostic::new(format!("`{shown}` is a lock, not a pipeline"), hint)]);
    }
    let bytes = std::fs::read(&file)
        .map_err(|error| vec![Diagnostic::new(format!("cannot read {shown}: {error}"), unreadable_hint(&file))])?;
    let text = text_of(shown, bytes).map_err(|fault| vec![Diagnostic::new(fault.message, fault.hint)])?;
    let load = |name: &str| included(root, name, &place(name));
    Pipeline::read_including(Source::new(shown, text), &load, profile, sets)
}

/// The text of a file that a pipeline file includes: a file of the project, links followed.
fn included(root: &Path, name: &str, file: &Path) -> Result<String, Unreadable> {
    const RELATIVE: &str = "paths in `include` are relative to the file that they stand in";
    let unreadable = |message: String, hint: &str| Unreadable { message, hint: hint.into() };
    // The folder first: of what is outside the project nothing is told, not even whether it is there.
    let folder = std::fs::canonicalize(folder_of(file))
        .map_err(|_| unreadable(format!("cannot read {name}: there is no such folder"), RELATIVE))?;
    let outside = || {
        let hint = format!("copy it to somewhere under {}", root.display());
        unreadable(format!("{name} is not in the project"), &hint)
    };
    if !folder.starts_with(root) {
        return Err(outside());
    }
    let real = std::fs::canonicalize(file).map_err(|error| {
        let hint = nearest_beside(file).map(|near| format!("did you mean `{near}`, in the same folder?"));
        unreadable(format!("cannot read {name}: {error}"), hint.as_deref().unwrap_or(RELATIVE))
    })?;
    if !real.starts_with(root) {
        return Err(outside());
    }
    if !real.is_file() {
        return Err(unreadable(format!("{name} is no file"), "name one YAML file"));
    }
    let bytes = std::fs::read(&real)
        .map_err(|error| unreadable(format!("cannot read {name}: {error}"), "look at the file's permissions"))?;
    text_of(name, bytes)
}

/// A file's text, without the mark that some editors put first.
pub fn text_of(name: &str, bytes: Vec<u8>) -> Result<String, Unreadable> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        Unreadable { message: format!("{name}: line {line} is not UTF-8"), hint: "save the file as UTF-8".into() }
    })?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(unmarked) => unmarked.to_owned(),
        None => text,
    })
}

fn unreadable_hint(file: &Path) -> String {
    match nearest_beside(file) {
        Some(near) => format!("did you mean `{}`?", folder_of(file).join(near).display()),
        None => "name a pipeline file, such as `pipelines/quickstart.yaml`".into(),
    }
}

/// The name of the pipeline file in the same folder whose name is nearest.
fn nearest_beside(file: &Path) -> Option<String> {
    let names: Vec<String> = std::fs::read_dir(folder_of(file))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".yaml") && !name.ends_with(".lock.yaml"))
        .collect();
    let word = file.file_name().unwrap_or_default().to_string_lossy();
    spec::suggest::nearest(&word, &names).map(str::to_owned)
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

/// The nearest folder at or above the file that holds `pipelines/` or `outputs/`, else the file's own folder.
fn root_of(file: &Path) -> PathBuf {
    root_above(folder_of(file))
}

/// The nearest folder at or above this one that holds `pipelines/` or `outputs/`, else this one.
pub fn root_above(own: &Path) -> PathBuf {
    let own = std::fs::canonicalize(own).unwrap_or_else(|_| own.to_path_buf());
    let is_root = |folder: &&Path| folder.join("pipelines").is_dir() || folder.join("outputs").is_dir();
    own.ancestors().find(is_root).unwrap_or(&own).to_path_buf()
}
