//! `engine-worker JOB.json` does one stage that needs tensors; `engine-worker --build-id` says from which sources it was
//! built. Events go to standard output, one JSON object a line; everything else to standard error.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [option] if option == "--build-id" => {
            println!("{}", build_id::BUILD_ID);
            ExitCode::SUCCESS
        }
        [job] => {
            let interrupted = Arc::new(AtomicBool::new(false));
            for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
                if let Err(error) = signal_hook::flag::register(signal, Arc::clone(&interrupted)) {
                    eprintln!("signal {signal} will end this process without a checkpoint: {error}");
                }
            }
            learn::worker::open_cuda();
            match learn::worker::run(Path::new(job), interrupted) {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            }
        }
        _ => {
            eprintln!(
                "usage: engine-worker JOB.json\n       engine-worker --build-id\n\n`engine run` starts this program."
            );
            ExitCode::from(2)
        }
    }
}
