//! Calls of libraries on files of others: some end by a panic where bytes make no sense, and that becomes an error of the
//! file. Knows no format.

use std::{
    any::Any,
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    path::Path,
    sync::Once,
};

use crate::Error;

thread_local! {
    /// Whether a panic of this thread will be told as an error.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// What `call` gives; where it panics, an error that names the file. Nothing is printed then. `call` must leave nothing that
/// is used after a panic.
///
/// # Errors
/// When `call` panics.
pub fn guarded<T>(path: &Path, call: impl FnOnce() -> T) -> Result<T, Error> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if !CAUGHT.get() {
                before(info);
            }
        }));
    });
    let outer = CAUGHT.replace(true);
    let done = catch_unwind(AssertUnwindSafe(call));
    CAUGHT.set(outer);
    done.map_err(|panic| {
        Error::new(format!("the library that reads this file gave up: {}", message(panic.as_ref())))
            .in_file(path)
            .hint("is the file damaged? fetch it again, or write it anew with another tool")
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it did not say why")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_of_the_file() {
        let path = Path::new("a.parquet");
        assert_eq!(guarded(path, || 3).unwrap(), 3);
        let numbers: Vec<u8> = Vec::new();
        let error = guarded(path, || numbers[std::hint::black_box(7)]).unwrap_err().to_string();
        assert!(error.contains("a.parquet") && error.contains("index is 7"), "{error}");
        let error = guarded(path, || guarded(path, || panic!("inner")).and(guarded(path, || panic!("other"))));
        assert!(error.unwrap().unwrap_err().to_string().contains("gave up: inner"));
    }
}
