//! A mistake as data: what is wrong, where it was written, what to do. Knows no terminal; it is rendered once, at the edge.

use std::sync::Arc;

use crate::text::Source;

/// One mistake.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    /// What is wrong.
    pub message: String,
    /// Where it was written.
    pub place: Option<Place>,
    /// What to do.
    pub hint: String,
}

/// A stretch of a text.
#[derive(Debug, Clone)]
pub struct Place {
    /// The text.
    pub source: Arc<Source>,
    /// Bytes from the text's beginning.
    pub start: usize,
    /// Length in bytes.
    pub length: usize,
}

impl Place {
    /// Line and column, both from one; the column counts characters.
    pub fn line_and_column(&self) -> (usize, usize) {
        let before = self.source.text.get(..self.start).unwrap_or(&self.source.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |tail| tail.chars().count()) + 1;
        (line, column)
    }

    /// `file:line:column`.
    pub fn position(&self) -> String {
        let (line, column) = self.line_and_column();
        format!("{}:{line}:{column}", self.source.name)
    }

    /// The stretch itself.
    pub fn text(&self) -> &str {
        self.source.text.get(self.start..self.start + self.length).unwrap_or_default()
    }
}

impl Diagnostic {
    /// A mistake without a place.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), place: None, hint: hint.into() }
    }

    /// The same mistake, at a place.
    pub fn at(mut self, place: Option<Place>) -> Self {
        self.place = place;
        self
    }

    /// `file:line:column`, where the place is known.
    pub fn position(&self) -> Option<String> {
        self.place.as_ref().map(Place::position)
    }
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(position) = self.position() {
            write!(f, "{position}: ")?;
        }
        write!(f, "{} ({})", self.message, self.hint)
    }
}

impl std::error::Error for Diagnostic {}
