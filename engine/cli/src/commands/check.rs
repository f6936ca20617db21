//! `engine check`: validates pipeline files and their locks, and runs nothing.

use std::path::Path;

use clap::Args;
use plan::lockfile::LockFile;
use serde::Serialize;
use spec::diagnostic::Diagnostic;

use crate::{
    Exit,
    project::{self, PipelineArgs, Project},
    render,
};

/// Validate pipeline files, run nothing. Without `--profile`, each file is checked as it stands and under each of its profiles.
/// Locks are read, too.
#[derive(Debug, Args)]
pub struct Check {
    /// The pipeline files.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<std::path::PathBuf>,
    /// Check the file under this profile alone.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Change a setting.
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Print one JSON object a mistake on standard output: `file`, `line`, `column` (from one, in characters), `text`
    /// (what stands there), `message` and `hint`; nothing where all is fine.
    #[arg(long)]
    json: bool,
}

/// A mistake for programs. What has no place in a text, such as an absent file, has neither line, column nor text.
#[derive(Debug, Serialize)]
struct Mistake<'a> {
    file: &'a str,
    line: Option<usize>,
    column: Option<usize>,
    text: Option<&'a str>,
    message: &'a str,
    hint: &'a str,
}

/// Checks each file; says what each holds.
pub fn run(check: &Check) -> Exit {
    let mut exit = Exit::Done;
    for file in &check.files {
        let checked = if project::is_lock(file) { check_lock(file) } else { check_pipeline(check, file) };
        match checked {
            Ok(_) if check.json => {}
            Ok(holds) => outln!("{}: fine, {holds}", file.display()),
            Err(faults) => {
                if check.json {
                    print_json(file, &faults);
                } else {
                    render::diagnostics(&faults);
                }
                exit = Exit::Mistake;
            }
        }
    }
    exit
}

/// What a pipeline file holds, in words.
fn check_pipeline(check: &Check, file: &Path) -> Result<String, Vec<Diagnostic>> {
    let (profile, set) = (check.profile.clone(), check.set.clone());
    let project = open_with_profiles(&PipelineArgs { file: file.to_owned(), profile, set, variant: None })?;
    let graph = &project.graph;
    let members: usize = graph.stages.iter().map(|stage| graph.names(&stage.members).len()).sum();
    let stages = graph.stages.len();
    let plural = if stages == 1 { "stage" } else { "stages" };
    Ok(format!("{stages} {plural}, {members} to run in all"))
}

/// What a lock holds, in words: `pipelines/*.yaml` names locks, too.
fn check_lock(file: &Path) -> Result<String, Vec<Diagnostic>> {
    let fault = |message: String, hint: String| vec![Diagnostic::new(message, hint)];
    if !file.is_file() {
        return Err(fault(format!("cannot read {}: there is no such file", file.display()), "look at the name".into()));
    }
    let lock = LockFile::read(file).map_err(|error| fault(error.to_string(), error.hint()))?;
    Ok(format!("a lock of {} results", lock.results.len()))
}

/// The project as it stands, once it has been opened under each of its profiles too where none was asked for.
fn open_with_profiles(args: &PipelineArgs) -> Result<Project, Vec<Diagnostic>> {
    let project = Project::open(args)?;
    if args.profile.is_some() {
        return Ok(project);
    }
    let mut faults: Vec<Diagnostic> = Vec::new();
    for profile in &project.profiles {
        let args = PipelineArgs { profile: Some(profile.clone()), ..args.clone() };
        let found = Project::open(&args).err().unwrap_or_default();
        for fault in found {
            if !faults.iter().any(|known| known.to_string() == fault.to_string()) {
                faults.push(fault);
            }
        }
    }
    if faults.is_empty() { Ok(project) } else { Err(faults) }
}

fn print_json(file: &Path, faults: &[Diagnostic]) {
    let shown = file.display().to_string();
    for fault in faults {
        let place = fault.place.as_ref();
        let position = place.map(spec::diagnostic::Place::line_and_column);
        let mistake = Mistake {
            file: place.map_or(&shown, |place| &place.source.name),
            line: position.map(|(line, _)| line),
            column: position.map(|(_, column)| column),
            text: place.map(spec::diagnostic::Place::text),
            message: &fault.message,
            hint: &fault.hint,
        };
        match serde_json::to_string(&mistake) {
            Ok(line) => outln!("{line}"),
            Err(error) => eprintln!("{fault}: cannot be written as JSON: {error}"),
        }
    }
}
