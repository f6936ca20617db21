//! How mistakes look on a terminal. The only place that turns a diagnostic into text; knows no command.

use std::io::IsTerminal;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Report, Severity};
use spec::{
    diagnostic::{Diagnostic, Place},
    job::Failure,
};

/// Prints mistakes on standard error, then how many there were.
pub fn diagnostics(faults: &[Diagnostic]) {
    let handler = handler();
    for fault in faults {
        let mut shown = MietteDiagnostic::new(fault.message.clone()).with_severity(Severity::Error);
        if !fault.hint.is_empty() {
            shown = shown.with_help(fault.hint.clone());
        }
        let report = match &fault.place {
            None => Report::new(shown),
            // What the renderer cannot draw, and nobody could read.
            Some(place) if longest_line(place) > LONGEST_LINE => {
                let mut text = format!("{}: {}", place.position(), fault.message);
                if !fault.hint.is_empty() {
                    text.push_str(&format!("\nhelp: {}", fault.hint));
                }
                eprintln!("{text}");
                continue;
            }
            Some(place) => {
                let label = LabeledSpan::new(None, place.start, place.length);
                let source = NamedSource::new(&place.source.name, place.source.text.clone());
                Report::new(shown.with_labels([label])).with_source_code(source)
            }
        };
        let mut text = String::new();
        match handler.render_report(&mut text, report.as_ref()) {
            Ok(()) => eprint!("{text}"),
            Err(_) => eprintln!("{fault}"),
        }
    }
    if faults.len() > 1 {
        eprintln!("{} mistakes", faults.len());
    }
}

/// Lines of more bytes are not drawn.
const LONGEST_LINE: usize = 4000;

/// The longest of the lines about a place, in bytes.
fn longest_line(place: &Place) -> usize {
    let text = &place.source.text;
    let before = text.get(..place.start).unwrap_or(text).rsplit('\n').take(2).map(str::len).sum::<usize>();
    let after = text.get(place.start..).unwrap_or_default().split('\n').take(2).map(str::len).sum::<usize>();
    before + after
}

/// Prints why a stage failed, or why a command could not be done.
pub fn failure(name: Option<&str>, failure: &Failure) {
    let mut message = String::new();
    if let Some(name) = name {
        message.push_str(&format!("{name}: "));
    }
    message.push_str(&failure.message);
    if let Some(place) = &failure.place {
        message.push_str(&format!("\nat {place}"));
    }
    let mut shown = MietteDiagnostic::new(message).with_severity(Severity::Error);
    if let Some(hint) = &failure.hint {
        shown = shown.with_help(hint.clone());
    }
    let report = Report::new(shown);
    let mut text = String::new();
    match handler().render_report(&mut text, report.as_ref()) {
        Ok(()) => eprint!("{text}"),
        Err(_) => eprintln!("{}", failure.message),
    }
}

fn handler() -> GraphicalReportHandler {
    let colors = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let theme = if colors { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    GraphicalReportHandler::new_themed(theme).with_width(width())
}

/// The terminal's width, or 100 columns where there is none.
pub fn width() -> usize {
    columns(std::io::stderr()).unwrap_or(100)
}

/// The width of what is written to: a terminal's, and no end where it is none.
pub fn width_of(stream: impl std::os::fd::AsFd) -> usize {
    columns(stream).unwrap_or(usize::MAX)
}

fn columns(stream: impl std::os::fd::AsFd) -> Option<usize> {
    rustix::termios::tcgetwinsize(stream).ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns >= 40)
}
