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
    let mut script = Vec::new();
    clap_complete::generate(completions.shell, &mut Cli::command(), "engine", &mut script);
    out!("{}", String::from_utf8_lossy(&script));
    Exit::Done
}
