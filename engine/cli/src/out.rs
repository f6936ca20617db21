//! Words on standard output. A reader that went away (`engine graph FILE | head`) is no mistake of ours: what is left is said
//! to nobody, and the command goes on to its end.

/// Says something as `print!` would, and a reader that is gone does not panic.
macro_rules! out {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = write!(std::io::stdout(), $($words)*);
    }};
}

/// Says a line as `println!` would, and a reader that is gone does not panic.
macro_rules! outln {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($words)*);
    }};
}
