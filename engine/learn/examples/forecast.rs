//! One training of a model's shape with random weights: what it was forecast to need, and what it needed, as one JSON
//! object. Its words are those of `measured::run`.

use std::process::ExitCode;

#[path = "../tests/training/measured.rs"]
mod measured;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match measured::run(&arguments) {
        Ok(found) => {
            println!("{found}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}\n{}", error.hint().unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}
