//! `engine export`: a trained adapter or model as a folder for other tools.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
};

use clap::Args;
use plan::{
    graph::{Node, NodeId},
    process::{Environment, Output, Program},
};
use serde_json::{Value, json};
use spec::{
    diagnostic::Diagnostic,
    files,
    job::{Device, Event, Failure, Job, JobInput},
    model::ModelSource,
    stage::{Source, Stage},
};

use super::run::device;
use crate::{
    Exit,
    left::{input, left},
    project::{PipelineArgs, Project},
    render,
    session::{Session, members, programs, shown},
};

/// Write a trained adapter in PEFT's format, or a whole model, into a folder of its own.
#[derive(Debug, Args)]
pub struct Export {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The stage (or member) that left the adapter or the model.
    #[arg(value_name = "STAGE")]
    stage: String,
    /// The folder to write; it must not exist, or be empty.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Merge the adapter into its model, and write that.
    #[arg(long)]
    merge: bool,
    /// With --merge: the most that a logit may be off, relative to the largest; without it as for a `merge` stage.
    #[arg(long, value_name = "BOUND", requires = "merge", value_parser = bound)]
    max_error: Option<f64>,
    /// The base model's name on the Hub, for the adapter's settings; without it the one that it was downloaded by.
    #[arg(long, value_name = "NAME", conflicts_with = "merge")]
    base: Option<String>,
    /// Processor cores to use; all of them by default.
    #[arg(long, value_name = "N", requires = "merge")]
    jobs: Option<usize>,
    /// Where tensors are computed: auto, cpu, cuda or cuda:N.
    #[arg(long, value_name = "DEVICE", default_value = "auto", requires = "merge", value_parser = device)]
    device: Device,
}

fn bound(text: &str) -> Result<f64, String> {
    let wanted = || "give a number above zero, such as 0.01".to_owned();
    let bound: f64 = text.parse().map_err(|_| wanted())?;
    if bound > 0.0 && bound.is_finite() { Ok(bound) } else { Err(wanted()) }
}

/// Writes the folder.
pub fn run(export: &Export) -> Exit {
    let project = match Project::open(&export.pipeline) {
        Ok(project) => project,
        Err(faults) => {
            render::diagnostics(&faults);
            return Exit::Mistake;
        }
    };
    let meant = match members(&project.graph, &export.stage) {
        Ok(meant) => meant,
        Err(fault) => {
            render::diagnostics(&[fault]);
            return Exit::Mistake;
        }
    };
    match write(export, &project, &meant) {
        Ok(exit) => exit,
        Err(failure) => {
            render::failure(None, &failure);
            Exit::Failed
        }
    }
}

fn write(export: &Export, project: &Project, meant: &[NodeId]) -> Result<Exit, Failure> {
    let session = Session::open(project)?;
    let survey = session.state(project).survey();
    let meant = shown(&project.graph, &survey, meant.iter().copied());
    let [id] = meant.as_slice() else {
        let names: Vec<String> = meant.iter().map(|id| project.graph.node(*id).name()).collect();
        render::diagnostics(&[Diagnostic::new(
            format!("`{}` means {} members, and one is written", export.stage, names.len()),
            format!("name one of them: {}", names.join(", ")),
        )]);
        return Ok(Exit::Mistake);
    };
    let node = project.graph.node(*id);
    let is_adapter = match node.settings.as_ref() {
        Stage::Train(train) => train.adapter.is_adapter(),
        Stage::Merge(_) => false,
        _ => {
            return Err(Failure {
                message: format!("`{}` is a stage of kind `{}`: it trains nothing", node.name(), node.settings.kind()),
                place: None,
                hint: Some("name a `train` or a `merge` stage".into()),
            });
        }
    };
    if export.merge && !is_adapter {
        return Err(Failure {
            message: format!("`{}` left a whole model: there is nothing to merge", node.name()),
            place: None,
            hint: Some("leave `--merge` out".into()),
        });
    }
    let made = left(project, &session, &survey, &export.pipeline.file, (*id, None))?;
    let target = Target::new(&export.folder)?;
    let said = match (export.merge, is_adapter) {
        (true, _) => merged(export, node, made, &target.folder)?,
        (false, true) => {
            let base = export.base.clone().or_else(|| hub_name(project, node));
            adapter(&made.result, base.as_deref(), &target.folder)?
        }
        (false, false) => {
            copy(&made.result, &target.folder, &|name| ![files::HISTORY, files::SUMMARY].contains(&name))?;
            "a whole model".to_owned()
        }
    };
    target.finish()?;
    outln!("{}: {said}", export.folder.display());
    Ok(Exit::Done)
}

/// The folder while it is written, beside where it will be: it is there whole or not at all.
struct Target {
    wanted: PathBuf,
    folder: PathBuf,
}

impl Target {
    fn new(wanted: &Path) -> Result<Self, Failure> {
        let taken = match fs::read_dir(wanted) {
            Ok(mut items) => items.next().is_some(),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        };
        let name = wanted.file_name().filter(|_| !taken);
        let Some(name) = name else {
            return Err(Failure {
                message: "the folder is not empty, or no folder".into(),
                place: Some(wanted.display().to_string()),
                hint: Some("name one that does not exist yet".into()),
            });
        };
        let folder = wanted.with_file_name(format!(".{}.part-{}", name.to_string_lossy(), std::process::id()));
        fs::create_dir_all(&folder).map_err(|error| failed("make", &folder, &error))?;
        Ok(Self { wanted: wanted.to_owned(), folder })
    }

    fn finish(self) -> Result<(), Failure> {
        if self.wanted.exists() {
            fs::remove_dir(&self.wanted).map_err(|error| failed("replace", &self.wanted, &error))?;
        }
        fs::rename(&self.folder, &self.wanted).map_err(|error| failed("write", &self.wanted, &error))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Copies an adapter's files, and names the base model in its settings.
fn adapter(from: &Path, base: Option<&str>, to: &Path) -> Result<String, Failure> {
    copy(from, to, &|name| ![files::HISTORY, files::SUMMARY].contains(&name))?;
    let mut folders = vec![to.to_owned()];
    folders.extend(inner_folders(to)?);
    for path in folders.iter().map(|folder| folder.join(files::ADAPTER_CONFIG)).filter(|path| path.exists()) {
        let text = fs::read(&path).map_err(|error| failed("read", &path, &error))?;
        let mut config: Value = serde_json::from_slice(&text).map_err(|error| failed("read", &path, &error.into()))?;
        if let (Some(base), Some(config)) = (base, config.as_object_mut()) {
            config.insert("base_model_name_or_path".to_owned(), json!(base));
        }
        fs::write(&path, format!("{config:#}\n")).map_err(|error| failed("write", &path, &error))?;
    }
    Ok(match base {
        Some(base) => format!("an adapter of {base}"),
        None => "an adapter; --base NAME would say of which model".to_owned(),
    })
}

fn inner_folders(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let items = fs::read_dir(folder).map_err(|error| failed("read", folder, &error))?;
    Ok(items.flatten().map(|item| item.path()).filter(|path| path.is_dir()).collect())
}

/// Copies the files that are `wanted`, and folders whole.
fn copy(from: &Path, to: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<(), Failure> {
    for item in fs::read_dir(from).map_err(|error| failed("read", from, &error))? {
        let item = item.map_err(|error| failed("read", from, &error))?;
        let (path, name) = (item.path(), item.file_name());
        let target = to.join(&name);
        if path.is_dir() {
            fs::create_dir(&target).map_err(|error| failed("make", &target, &error))?;
            copy(&path, &target, &|_| true)?;
        } else if wanted(&name.to_string_lossy()) {
            // Contents alone: in the store files are read-only.
            let contents = fs::File::open(&path).and_then(|mut from| {
                let mut to = fs::File::create_new(&target)?;
                io::copy(&mut from, &mut to)
            });
            contents.map_err(|error| failed("copy", &path, &error))?;
        }
    }
    Ok(())
}

/// The name on the Hub of the model that an adapter was trained on.
fn hub_name(project: &Project, node: &Node) -> Option<String> {
    match node.settings.as_ref() {
        Stage::Download(download) => match &download.from.0 {
            Source::Hub(hub) => hub.model.clone(),
            _ => None,
        },
        Stage::Train(train) if train.adapter.is_adapter() && matches!(train.model, ModelSource::Stage(_)) => {
            hub_name(project, project.graph.node(input(node, "model")?.0))
        }
        _ => None,
    }
}

/// Lets the worker merge.
fn merged(export: &Export, node: &Node, made: JobInput, folder: &Path) -> Result<String, Failure> {
    let work = tempfile::tempdir().map_err(|error| failed("make", &std::env::temp_dir(), &error))?;
    let cores = export.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, Into::into)).max(1);
    let mut settings = json!({ "model": node.stage });
    if let (Some(bound), Some(settings)) = (export.max_error, settings.as_object_mut()) {
        settings.insert("max_error".to_owned(), json!(bound));
    }
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let job = Job {
        kind: "merge".to_owned(),
        name: node.name(),
        settings,
        inputs: BTreeMap::from([("model".to_owned(), vec![made])]),
        files: BTreeMap::new(),
        result: absolute(folder),
        observed: work.path().to_owned(),
        state: work.path().to_owned(),
        threads: cores,
        device: export.device,
        revision: None,
        origin: None,
    };
    let path = work.path().join("job.json");
    let text = serde_json::to_vec(&job).map_err(|error| failed("write", &path, &error.into()))?;
    fs::write(&path, text).map_err(|error| failed("write", &path, &error))?;
    let program = Program {
        program: programs()?.worker()?,
        args: vec![path.into()],
        environment: Environment::Also(BTreeMap::new()),
        folder: work.path().to_owned(),
        log: work.path().join("log.txt"),
        output: Output::Events,
    };
    eprintln!("merging {} …", node.name());
    let file_failure = |error: plan::file_error::FileError| plan::state::failure_of(&error);
    let warn = |event| {
        if let Event::Warning { message } = event {
            eprintln!("{message}");
        }
    };
    let ended = program.start(Stdio::null()).map_err(file_failure)?.wait(warn).map_err(file_failure)?;
    match ended.verdict {
        Some(Event::Finished) if ended.status.success() => {}
        Some(Event::Failed(failure)) => return Err(failure),
        _ => {
            let log = fs::read_to_string(work.path().join("log.txt")).unwrap_or_default();
            return Err(Failure {
                message: format!("the worker ended early: {}", ended.describe()),
                place: log.lines().last().map(str::to_owned),
                hint: Some("it may have had too little memory".into()),
            });
        }
    }
    let measured = fs::read(work.path().join(files::MEASURED)).unwrap_or_default();
    let measured: Value = serde_json::from_slice(&measured).unwrap_or_default();
    let keys = ["merge_error", "merge_error_bound", "stored_as"];
    let figures = Value::Object(keys.map(|key| (key.to_owned(), measured[key].clone())).into_iter().collect());
    let saved = folder.join("merge.json");
    fs::write(&saved, format!("{figures:#}\n")).map_err(|error| failed("write", &saved, &error))?;
    Ok(format!(
        "a whole model in {}; its logits are off by {:.1e} of the largest",
        measured["stored_as"].as_str().unwrap_or("float32"),
        measured["merge_error"].as_f64().unwrap_or(f64::NAN)
    ))
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Failure {
    Failure { message: format!("cannot {what} it: {error}"), place: Some(path.display().to_string()), hint: None }
}
