//! `engine completions SHELL`: what a shell needs to complete this program's words.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{Cli, Exit};

/// Print a shell's completion script.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
pub fn run(completions: &Completions) -> Exit {
    clap_complete::generate(completions.shell, &mut Cli::command(), "engine", &mut std::io::stdout());
    Exit::Done
}
