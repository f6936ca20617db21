//! The `engine` program: reads the command line and hands over to a command. Never loads libtorch.

mod commands;
mod project;
mod render;

use clap::{Parser, Subcommand};

/// Declarative fine-tuning experiments: a YAML file in, a cached and comparable result out.
#[derive(Debug, Parser)]
#[command(name = "engine", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(commands::check::Check),
    Graph(commands::graph::GraphCommand),
}

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All is done.
    Done = 0,
    /// A stage failed.
    Failed = 1,
    /// The file or the command line is wrong.
    Mistake = 2,
    /// Stopped by the user.
    Interrupted = 130,
}

fn main() -> std::process::ExitCode {
    let exit = match Cli::parse().command {
        Command::Check(check) => commands::check::run(check),
        Command::Graph(graph) => commands::graph::run(&graph),
    };
    std::process::ExitCode::from(exit as u8)
}
