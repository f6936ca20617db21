//! A text with a name, and the index from YAML paths to places in it. The index is built when a mistake needs it.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::path::{Segment, YamlPath};
use crate::diagnostic::Place;

/// A text with a name.
#[derive(Debug)]
pub struct Source {
    /// The file as the user named it, or `--set`.
    pub name: String,
    /// The whole text.
    pub text: String,
    index: OnceLock<HashMap<YamlPath, Node>>,
}

/// Whether a key or its value is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The key: for what should not be there, or lacks something.
    Key,
    /// The value.
    Value,
    /// The key of a map that lacks something, or the map itself where it has no key: wherever the map was written.
    Holder,
}

#[derive(Debug, Clone, Copy, Default)]
struct Node {
    key: Option<(usize, usize)>,
    value: (usize, usize),
}

impl Source {
    /// A text with a name.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), text: text.into(), index: OnceLock::new() })
    }

    /// The place of what stands at a path; of the nearest thing above it, where the path does not exist.
    pub fn locate(self: &Arc<Self>, path: &YamlPath, side: Side) -> Option<Place> {
        let index = self.index.get_or_init(|| index(&self.text));
        let mut steps = path.0.as_slice();
        let (found, exact) = loop {
            if let Some(node) = index.get(&YamlPath(steps.to_vec())) {
                break (node, steps.len() == path.0.len());
            }
            steps = steps.split_last()?.1;
        };
        let (start, end) = match (side, found.key) {
            (Side::Key | Side::Holder, Some(key)) => key,
            // Where nothing was written, the key is what can be shown.
            (Side::Value, Some(key)) if !exact || found.value.0 == found.value.1 => key,
            _ => found.value,
        };
        Some(self.span(start, end))
    }

    /// A place by bytes; long or many-lined stretches are cut at the end of their first line.
    pub fn span(self: &Arc<Self>, start: usize, end: usize) -> Place {
        let start = start.min(self.text.len());
        let stretch = self.text.get(start..end.clamp(start, self.text.len())).unwrap_or_default();
        let first_line = stretch.lines().next().unwrap_or_default().trim_end();
        Place { source: self.clone(), start, length: first_line.len() }
    }
}

/// Every path of a YAML text with the bytes of its key and value. Stops at the first thing that is no YAML.
fn index(text: &str) -> HashMap<YamlPath, Node> {
    let bytes: Vec<usize> = text.char_indices().map(|(byte, _)| byte).chain([text.len()]).collect();
    let byte = |character: usize| bytes.get(character).copied().unwrap_or(text.len());
    let range = |span: &Span| (byte(span.start.index()), byte(span.end.index()));
    let mut nodes = HashMap::new();
    let mut open: Vec<Frame> = Vec::new();
    let mut parser = Parser::new_from_str(text);
    while let Some(Ok((event, span))) = parser.next_event() {
        let (start, end) = range(&span);
        match event {
            Event::Scalar(value, style, ..) => {
                let end = if style == ScalarStyle::Plain { start + text[start..end].trim_end().len() } else { end };
                if let Some(Frame { kind: Kind::Map { key: key @ None }, .. }) = open.last_mut() {
                    *key = Some((value.into_owned(), (start, end)));
                } else {
                    enter(&mut nodes, &mut open, start, end);
                }
            }
            Event::Alias(_) => {
                enter(&mut nodes, &mut open, start, end);
            }
            Event::MappingStart(..) => {
                let path = enter(&mut nodes, &mut open, start, end);
                open.push(Frame { path, kind: Kind::Map { key: None } });
            }
            Event::SequenceStart(..) => {
                let path = enter(&mut nodes, &mut open, start, end);
                open.push(Frame { path, kind: Kind::List { next: 0 } });
            }
            Event::MappingEnd | Event::SequenceEnd => {
                if let Some(frame) = open.pop()
                    && let Some(node) = nodes.get_mut(&frame.path)
                {
                    let content = text[node.value.0..end].trim_end().len();
                    node.value.1 = node.value.0 + content;
                }
            }
            _ => {}
        }
    }
    nodes
}

struct Frame {
    path: YamlPath,
    kind: Kind,
}

enum Kind {
    Map { key: Option<(String, (usize, usize))> },
    List { next: usize },
}

/// Notes a value in the container that is open, and gives its path.
fn enter(nodes: &mut HashMap<YamlPath, Node>, open: &mut [Frame], start: usize, end: usize) -> YamlPath {
    let Some(frame) = open.last_mut() else {
        nodes.insert(YamlPath::root(), Node { key: None, value: (start, end) });
        return YamlPath::root();
    };
    let (segment, key) = match &mut frame.kind {
        Kind::Map { key } => {
            let (name, place) = key.take().unwrap_or_default();
            (Segment::Key(name), Some(place))
        }
        Kind::List { next } => {
            *next += 1;
            (Segment::Index(*next - 1), None)
        }
    };
    let path = frame.path.join(&[segment]);
    nodes.insert(path.clone(), Node { key, value: (start, end) });
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, path: &str, side: Side) -> (String, usize, usize) {
        let place = Source::new("p.yaml", text).locate(&YamlPath::dotted(path), side).unwrap();
        let (line, column) = place.line_and_column();
        (place.text().to_owned(), line, column)
    }

    const TEXT: &str = "name: é\nstages:\n  a: {kind: x, list: [1, {b: 'two'}]}\n  c:\n    d: 3\n";

    #[test]
    fn keys_and_values_are_found() {
        assert_eq!(at(TEXT, "stages.a.kind", Side::Key), ("kind".into(), 3, 7));
        assert_eq!(at(TEXT, "stages.a.list.1.b", Side::Value), ("'two'".into(), 3, 30));
        assert_eq!(at(TEXT, "stages.c.d", Side::Value), ("3".into(), 5, 8));
        assert_eq!(at(TEXT, "name", Side::Value), ("é".into(), 1, 7));
    }

    #[test]
    fn what_is_missing_is_shown_at_what_holds_it() {
        assert_eq!(at(TEXT, "stages.c.e", Side::Value), ("c".into(), 4, 3));
    }
}
