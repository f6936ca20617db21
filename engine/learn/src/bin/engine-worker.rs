//! `engine-worker JOB.json` does one stage that needs tensors; `engine-worker --build-id` says from which sources it was
//! built, `--describe` what it computes with; `--estimate` answers what `engine estimate` asks on standard input (and asks
//! `--estimate-memory` itself), `--try` what `engine try` does. Events go to standard output, one JSON object a line; everything else to standard error.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    learn::worker::memory::keep_freed();
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [option] if option == "--build-id" => {
            println!("{}", build_id::BUILD_ID);
            ExitCode::SUCCESS
        }
        [option] if option == "--describe" => {
            learn::worker::open_cuda();
            learn::worker::describe().iter().for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        }
        [option] if option == "--estimate" => {
            learn::worker::open_cuda();
            match learn::worker::estimate() {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            }
        }
        [option] if option == "--estimate-memory" => match learn::worker::estimate_memory() {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        },
        [option] if option == "--try" => {
            learn::worker::open_cuda();
            match learn::worker::trial() {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            }
        }
        [job] => {
            learn::worker::open_cuda();
            match learn::worker::run(Path::new(job)) {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            }
        }
        _ => {
            eprintln!(
                "usage: engine-worker JOB.json\n       engine-worker --build-id | --describe | --estimate | --try\n\n`engine run` starts this program."
            );
            ExitCode::from(2)
        }
    }
}
