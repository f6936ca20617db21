//! `engine history`: the last runs of a pipeline, and one of them in detail.

use clap::Args;
use plan::history::{self, Kept, Member, MemberState, Outcome, Run};
use spec::{diagnostic::Diagnostic, suggest};

use crate::{
    Exit,
    commands::plan::size,
    progress::{difference, duration},
    project::{PipelineArgs, Project},
    render,
    session::Session,
};

/// Show the last runs of a pipeline, or one of them: what it did, why, and how long it took.
#[derive(Debug, Args)]
pub struct History {
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// The run, by its name or by its number in the list.
    #[arg(value_name = "RUN")]
    run: Option<String>,
    /// How many runs to list.
    #[arg(long, value_name = "N", default_value_t = 20)]
    last: usize,
}

/// Prints the list, or the run.
pub fn run(asked: &History) -> Exit {
    let project = match Project::open(&asked.pipeline) {
        Ok(project) => project,
        Err(faults) => {
            render::diagnostics(&faults);
            return Exit::Mistake;
        }
    };
    let session = match Session::open(&project) {
        Ok(session) => session,
        Err(failure) => {
            render::failure(None, &failure);
            return Exit::Failed;
        }
    };
    let all = match history::runs(&session.store) {
        Ok(all) => all,
        Err(error) => {
            render::failure(None, &error.into());
            return Exit::Failed;
        }
    };
    let is_own = |kept: &Kept| {
        asked.pipeline.profile.is_none()
            && asked.pipeline.variant.is_none()
            && kept.run.variant.split('.').next() == Some(project.graph.pipeline.as_str())
    };
    let runs: Vec<Kept> = all.into_iter().filter(|kept| kept.run.variant == project.variant || is_own(kept)).collect();
    let Some(wanted) = &asked.run else {
        list(&runs, asked.last);
        return Exit::Done;
    };
    let by_number = wanted.parse::<usize>().ok().and_then(|number| runs.get(number.checked_sub(1)?));
    match by_number.or_else(|| runs.iter().find(|kept| kept.run.id == *wanted)) {
        Some(kept) => show(kept),
        None => {
            let names = runs.iter().map(|kept| kept.run.id.as_str());
            let fault = Diagnostic::new(format!("no run is named `{wanted}`"), suggest::did_you_mean(wanted, names));
            render::diagnostics(&[fault]);
            return Exit::Mistake;
        }
    }
    Exit::Done
}

fn list(runs: &[Kept], last: usize) {
    if runs.is_empty() {
        outln!("no run did anything here yet");
    }
    for (number, kept) in runs.iter().take(last).enumerate() {
        outln!("{:>3}  {} UTC  {}", number + 1, history::utc(kept.run.begun), line(&kept.run));
    }
    if runs.len() > last {
        outln!("     and {} earlier ones: `--last {}`", runs.len() - last, runs.len());
    }
}

fn outcome(run: &Run) -> &'static str {
    match run.outcome {
        Outcome::Open if run.goes_on() => "running",
        Outcome::Open => "killed",
        Outcome::Done => "done",
        Outcome::Failed => "failed",
        Outcome::Interrupted => "interrupted",
    }
}

fn line(run: &Run) -> String {
    let mut parts = vec![format!("{:<11}", outcome(run))];
    let counts = [
        (run.count(MemberState::Done), "done"),
        (run.count(MemberState::Cached), "up to date"),
        (run.count(MemberState::Failed), "failed"),
        (run.not_tried(), "not tried"),
    ];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, word)| format!("{count} {word}")).collect();
    parts.push(counts.join(", "));
    parts.extend(run.seconds.map(duration));
    parts.extend(run.git.as_ref().map(revision));
    parts.push(asked(run));
    parts.retain(|part| !part.is_empty());
    parts.join("  ").trim_end().to_owned()
}

fn revision(git: &history::Revision) -> String {
    let short: String = git.commit.chars().take(10).collect();
    if git.dirty == Some(true) { format!("{short} with changes") } else { short }
}

/// What was asked of a run beside the file, as it was written.
fn asked(run: &Run) -> String {
    let mut words: Vec<String> = Vec::new();
    words.extend(run.asked.profile.iter().map(|profile| format!("--profile {profile}")));
    words.extend(run.asked.set.iter().map(|set| format!("--set {set}")));
    words.extend(run.asked.options.iter().cloned());
    words.join(" ")
}

fn show(kept: &Kept) {
    let run = &kept.run;
    outln!("{}  {}", run.id, line(run));
    outln!("began        {} UTC, results last used {} UTC", history::utc(run.begun), history::utc(kept.used));
    outln!("asked        {}", run.asked.command());
    outln!("engine       {} (build {})", run.engine, run.build);
    let machine = &run.machine;
    outln!("machine      {}, {} cores, {}, {}", machine.processor, machine.cores, size(machine.memory), machine.system);
    for class in &machine.classes {
        outln!("computed on  {class}");
    }
    if let Some(git) = &run.git {
        outln!("revision     {}{}", git.commit, if git.dirty == Some(true) { ", with changes" } else { "" });
    }
    for member in run.members.iter().filter(|member| member.state != MemberState::Cached) {
        show_member(member);
    }
    outln!("{} up to date", run.count(MemberState::Cached));
}

fn show_member(member: &Member) {
    let Member { name, state, key, seconds, why, failure } = member;
    let mark = match state {
        MemberState::Done => "✓",
        MemberState::Failed => "✗",
        MemberState::Started => "…",
        MemberState::Cached | MemberState::Skipped => "-",
    };
    let mut parts = vec![format!("{mark} {name}")];
    parts.extend(seconds.map(duration));
    parts.extend(key.map(|key| format!("key {}", key.short())));
    outln!("{}", parts.join("  "));
    why.iter().for_each(|part| outln!("    {}", difference(part)));
    if let Some(failure) = failure {
        failure.lines().for_each(|line| outln!("    {line}"));
    }
}
