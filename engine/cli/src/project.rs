//! Where a pipeline's project is, and its graph. Knows files and the plan, no command.

use std::path::{Path, PathBuf};

use clap::Args;
use plan::graph::Graph;
use spec::{diagnostic::Diagnostic, pipeline::Pipeline, text::Source};

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
    /// Its members and edges.
    pub graph: Graph,
    /// The name that results and lock are kept under: the pipeline's, with the profile or variant.
    pub variant: String,
    /// Where the lock is; nothing where this run is to leave none.
    pub lock: Option<PathBuf>,
}

impl Project {
    /// Reads, expands and checks a pipeline file.
    ///
    /// # Errors
    /// Every mistake found.
    pub fn open(args: &PipelineArgs) -> Result<Self, Vec<Diagnostic>> {
        let shown = args.file.display().to_string();
        let text = std::fs::read(&args.file).map_err(|error| {
            vec![Diagnostic::new(format!("cannot read {shown}: {error}"), unreadable_hint(&args.file))]
        })?;
        let text = String::from_utf8(text).map_err(|error| {
            let line =
                error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
            vec![Diagnostic::new(format!("{shown}: line {line} is not UTF-8"), "save the file as UTF-8")]
        })?;
        let text = text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned);
        let source = Source::new(shown, text);
        let pipeline = Pipeline::read(source, args.profile.as_deref(), &args.set)?;
        let root = root_of(&args.file);
        let graph = Graph::expand(&pipeline)?;
        let faults = plan::sources::absent_paths(&pipeline, &graph, &root);
        if !faults.is_empty() {
            return Err(faults);
        }
        let suffix = args.variant.as_ref().or(args.profile.as_ref());
        if let Some(name) = suffix.filter(|name| !spec::names::is_name(name)) {
            return Err(vec![Diagnostic::new(format!("`{name}` is no name for a variant"), spec::names::RULE)]);
        }
        let variant = suffix.map_or_else(|| pipeline.name.clone(), |suffix| format!("{}.{suffix}", pipeline.name));
        let has_lock = args.set.is_empty() || args.variant.is_some();
        let folder = args.file.parent().map(Path::to_path_buf).unwrap_or_default();
        let lock = has_lock.then(|| folder.join(format!("{variant}.lock.yaml")));
        let profiles = pipeline.profiles().map(str::to_owned).collect();
        Ok(Self { root, profiles, graph, variant, lock })
    }
}

fn unreadable_hint(file: &Path) -> String {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".yaml") && !name.ends_with(".lock.yaml"))
        .collect();
    let word = file.file_name().unwrap_or_default().to_string_lossy();
    match spec::suggest::nearest(&word, &names) {
        Some(near) => format!("did you mean `{}`?", folder.join(near).display()),
        None => "name a pipeline file, such as `pipelines/quickstart.yaml`".into(),
    }
}

/// The nearest folder at or above the file that holds `pipelines/` or `outputs/`, else the file's own folder.
fn root_of(file: &Path) -> PathBuf {
    let own = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let own = std::fs::canonicalize(own).unwrap_or_else(|_| own.to_path_buf());
    let is_root = |folder: &&Path| folder.join("pipelines").is_dir() || folder.join("outputs").is_dir();
    own.ancestors().find(is_root).unwrap_or(&own).to_path_buf()
}
