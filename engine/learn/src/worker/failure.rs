//! An error of this crate as the failure of a stage: message, place and hint. Knows the errors; no stage.

use std::io::ErrorKind;

use spec::job::Failure;

use crate::Error;

/// What `engine` is told.
pub fn failure(error: &Error) -> Failure {
    let place = match error {
        Error::Stopped { place, .. } => place.clone(),
        _ => None,
    };
    let hint = match error {
        Error::Io { source, .. } => io_hint(source.kind()).map(str::to_owned),
        Error::Tensor(source) => tensor_hint(&source.to_string()).map(str::to_owned),
        _ => error.hint().map(str::to_owned),
    };
    let message = match error {
        Error::Tensor(source) => format!("libtorch: {}", first_part(&source.to_string())),
        other => other.to_string(),
    };
    Failure { message, place, hint }
}

fn io_hint(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Some("free space on the disk and run again; nothing that was finished is lost")
        }
        ErrorKind::PermissionDenied => Some("check the permissions of the file and of its folder"),
        ErrorKind::NotFound => Some("run the stage that leaves this file again, with `--force`"),
        _ => None,
    }
}

fn tensor_hint(message: &str) -> Option<&'static str> {
    let message = message.to_lowercase();
    if message.contains("out of memory") || message.contains("can't allocate memory") {
        return Some("make `batch.micro` smaller (the result stays the same up to rounding), or `max_length` shorter");
    }
    message.contains("index out of range").then_some("give the tokenizer that belongs to the model")
}

/// The message without the C++ stack that libtorch adds.
fn first_part(message: &str) -> &str {
    let end = ["\nException raised from", "\nThe above exception"].iter().filter_map(|mark| message.find(mark)).min();
    message.get(..end.unwrap_or(message.len())).unwrap_or(message).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtorchs_stack_is_left_out_and_memory_has_a_hint() {
        let text = "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to \
                    allocate 8 bytes.\nException raised from alloc_cpu at ../c10:127 (most recent call first):\nframe #0";
        let failure = failure(&Error::Tensor(tch::TchError::Torch(text.into())));
        assert!(failure.message.ends_with("8 bytes."), "{}", failure.message);
        assert!(failure.hint.is_some_and(|hint| hint.contains("batch.micro")));
    }

    #[test]
    fn a_full_disk_has_a_hint() {
        let full = std::io::Error::from(ErrorKind::StorageFull);
        let failure = failure(&Error::io("write", std::path::Path::new("a/b"), full));
        assert!(failure.message.starts_with("cannot write a/b"), "{}", failure.message);
        assert!(failure.hint.is_some_and(|hint| hint.contains("free space")));
    }
}
