//! `engine job FILE`: does one stage that needs no tensor. `engine run` starts it; people do not.

use std::{io::Write, path::PathBuf};

use clap::Args;
use spec::job::{Event, Failure, Job};

use crate::Exit;

/// Do one stage. Started by `engine run`.
#[derive(Debug, Args)]
pub struct JobCommand {
    /// The job.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Does the job; events go to standard output, one JSON object a line.
pub fn run(command: &JobCommand) -> Exit {
    let tell = |event: Event| {
        let mut out = std::io::stdout().lock();
        // An engine that is gone no longer listens; the work is worth finishing all the same.
        let _ = serde_json::to_writer(&mut out, &event);
        let _ = out.write_all(b"\n").and_then(|()| out.flush());
    };
    let outcome = read(&command.file).and_then(|job| data::job::run(&job, &tell));
    match outcome {
        Ok(()) => {
            tell(Event::Finished);
            Exit::Done
        }
        Err(failure) => {
            tell(Event::Failed(failure));
            Exit::Failed
        }
    }
}

fn read(path: &PathBuf) -> Result<Job, Failure> {
    let failure = |message: String| Failure { message, place: Some(path.display().to_string()), hint: None };
    let text = std::fs::read(path).map_err(|error| failure(format!("cannot read the job: {error}")))?;
    serde_json::from_slice(&text).map_err(|error| failure(format!("this is no job: {error}")))
}
