//! The `engine` program: reads the command line and hands over to a command. Never loads libtorch.

#![deny(clippy::print_stdout)]

#[macro_use]
mod out;

mod blocks;
mod commands;
mod following;
mod left;
mod lock;
mod progress;
mod project;
mod render;
mod revision;
mod session;

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
    Run(commands::run::Run),
    Plan(commands::plan::Plan),
    Check(commands::check::Check),
    Status(commands::plan::Status),
    Show(commands::show::Show),
    Graph(commands::graph::GraphCommand),
    Preview(commands::preview::Preview),
    Estimate(commands::estimate::Estimate),
    Try(commands::try_model::Try),
    Export(commands::export::Export),
    Import(commands::import::Import),
    Diff(commands::diff::Diff),
    History(commands::history::History),
    Gc(commands::gc::Gc),
    Doctor(commands::doctor::Doctor),
    Schema(commands::schema::Schema),
    Completions(commands::completions::Completions),
    #[command(hide = true)]
    Job(commands::job::JobCommand),
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
        Command::Run(run) => commands::run::run(&run),
        Command::Plan(plan) => commands::plan::plan(&plan),
        Command::Check(check) => commands::check::run(&check),
        Command::Status(status) => commands::plan::status(&status),
        Command::Show(show) => commands::show::run(&show),
        Command::Graph(graph) => commands::graph::run(&graph),
        Command::Preview(preview) => commands::preview::run(&preview),
        Command::Try(asked) => commands::try_model::run(&asked),
        Command::Export(export) => commands::export::run(&export),
        Command::Import(import) => commands::import::run(&import),
        Command::Estimate(estimate) => commands::estimate::run(&estimate),
        Command::Diff(diff) => commands::diff::run(&diff),
        Command::History(history) => commands::history::run(&history),
        Command::Gc(gc) => commands::gc::run(&gc),
        Command::Doctor(doctor) => commands::doctor::run(&doctor),
        Command::Schema(schema) => commands::schema::run(&schema),
        Command::Completions(completions) => commands::completions::run(&completions),
        Command::Job(job) => commands::job::run(&job),
    };
    std::process::ExitCode::from(exit as u8)
}
