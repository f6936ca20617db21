//! `engine check`: validates pipeline files and runs nothing.

use clap::Args;

use crate::{
    Exit,
    project::{PipelineArgs, Project},
    render,
};

/// Validate pipeline files, run nothing.
#[derive(Debug, Args)]
pub struct Check {
    /// The pipeline files.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<std::path::PathBuf>,
    /// Apply a profile.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Change a setting.
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
}

/// Checks each file; says what each holds.
pub fn run(check: Check) -> Exit {
    let mut exit = Exit::Done;
    for file in check.files {
        let args = PipelineArgs { file, profile: check.profile.clone(), set: check.set.clone(), variant: None };
        match Project::open(&args) {
            Ok(project) => {
                let (stages, members) = (project.graph.stages.len(), project.graph.nodes.len());
                let plural = if stages == 1 { "stage" } else { "stages" };
                println!("{}: fine, {stages} {plural}, {members} to run in all", args.file.display());
            }
            Err(faults) => {
                render::diagnostics(&faults);
                exit = Exit::Mistake;
            }
        }
    }
    exit
}
