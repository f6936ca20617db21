//! `engine check`: validates pipeline files and runs nothing.

use std::path::Path;

use clap::Args;
use serde::Serialize;
use spec::diagnostic::Diagnostic;

use crate::{
    Exit,
    project::{PipelineArgs, Project},
    render,
};

/// Validate pipeline files, run nothing. Without `--profile`, each file is checked as it stands and under each of its profiles.
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
        let args =
            PipelineArgs { file: file.clone(), profile: check.profile.clone(), set: check.set.clone(), variant: None };
        match open_with_profiles(&args) {
            Ok(_) if check.json => {}
            Ok(project) => {
                let graph = &project.graph;
                let members: usize = graph.stages.iter().map(|stage| graph.names(&stage.members).len()).sum();
                let stages = graph.stages.len();
                let plural = if stages == 1 { "stage" } else { "stages" };
                println!("{}: fine, {stages} {plural}, {members} to run in all", file.display());
            }
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
            Ok(line) => println!("{line}"),
            Err(error) => eprintln!("{fault}: cannot be written as JSON: {error}"),
        }
    }
}
