//! `engine show --worst N`: the rows of an evaluation that did worst. Which these are is found by `data`; here is how they
//! look on a screen: a line for each text, in which no control character takes effect.

use std::io::{BufWriter, Write};

use data::{
    metrics::RowScore,
    worst::{By, Worst, WorstRow, worst},
};
use plan::{graph::NodeId, state::Freshness};
use serde_json::{Value, json};
use spec::{job::Failure, stage::Stage};
use unicode_width::UnicodeWidthChar;

use super::Show;
use crate::{Exit, progress::figure, project::Project, render, session::Session};

/// Shows the worst rows of each member that is meant.
pub(super) fn show(
    show: &Show,
    project: &Project,
    session: &Session,
    survey: &[Freshness],
    meant: &[NodeId],
    count: usize,
) -> Exit {
    for (position, id) in meant.iter().enumerate() {
        let node = project.graph.node(*id);
        let name = node.name();
        let refused = |exit: Exit, failure: &Failure| {
            render::failure(None, failure);
            exit
        };
        let Stage::Evaluate(stage) = node.settings.as_ref() else {
            let message = format!("`{name}` is a stage of kind `{}`: it scores no rows", node.settings.kind());
            let hint = Some("name an `evaluate` stage".to_owned());
            return refused(Exit::Mistake, &Failure { message, place: None, hint });
        };
        let by = match By::of(&stage.metrics, show.by.as_deref()) {
            Ok(by) => by,
            Err(error) => return refused(Exit::Mistake, &error.into()),
        };
        let Freshness::Fresh(record) = &survey[id.0] else {
            let message = format!("`{name}` is not made, or stale: there are no rows of it");
            let file = show.pipeline.file.display();
            let hint = Some(format!("run `engine run {file} --until {}` first", node.stage));
            return refused(Exit::Failed, &Failure { message, place: None, hint });
        };
        let path = session.store.tree_folder(record).join(spec::files::PREDICTIONS);
        let found = match worst(&path, &by, count) {
            Ok(found) => found,
            Err(error) => return refused(Exit::Failed, &error.into()),
        };
        let mut out = BufWriter::new(std::io::stdout().lock());
        let width = std::io::IsTerminal::is_terminal(&std::io::stdout()).then(render::width).unwrap_or(WIDTH);
        // A reader that went away has seen enough.
        let _ = match show.json {
            true => found.rows.iter().try_for_each(|row| writeln!(out, "{}", as_json(&name, &by, row))),
            false => {
                let gap = if position > 0 { "\n" } else { "" };
                write!(out, "{gap}").and_then(|()| print(&mut out, &name, &by, &found, width))
            }
        };
    }
    Exit::Done
}

/// Columns where there is no terminal.
const WIDTH: usize = 120;

/// A row for programs: the line of the file whole, and what it was judged by.
fn as_json(member: &str, by: &By, row: &WorstRow) -> Value {
    let whole: Value = serde_json::from_str(&row.text).unwrap_or_default();
    let score = row.score.and_then(|score| score.value);
    json!({ "member": member, "by": by.to_string(), "score": score, "line": row.line, "row": whole })
}

fn print(out: &mut impl Write, member: &str, by: &By, found: &Worst, width: usize) -> std::io::Result<()> {
    match found.rows.len() {
        0 => writeln!(out, "{member}: no rows")?,
        1 => writeln!(out, "{member}: the worst of {} rows by {by}", found.of)?,
        count => writeln!(out, "{member}: the {count} worst of {} rows by {by}, the worst first", found.of)?,
    }
    for row in &found.rows {
        let whole: Value = serde_json::from_str(&row.text).unwrap_or_default();
        let id = fit(&harmless(whole["id"].as_str().unwrap_or_default()), width / 2);
        writeln!(out, "{}  {id}  line {}", judged(row), row.line)?;
        for key in ["failed", "prompt", "pair", "output", "extracted", "references"] {
            let text = match &whole[key] {
                Value::Null if key == "output" => "(none)".to_owned(),
                Value::Null => continue,
                Value::String(text) => harmless(text),
                Value::Array(list) => listed(list),
                other => harmless(&other.to_string()),
            };
            writeln!(out, "  {key}: {}", fit(&text, width.saturating_sub(key.len() + 4)))?;
        }
        for (metric, figures) in whole["scores"].as_object().into_iter().flatten() {
            let figures: Vec<String> = figures
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, value)| format!("{name} {}", value.as_f64().map_or_else(|| "–".to_owned(), figure)))
                .collect();
            writeln!(out, "  {metric}: {}", fit(&figures.join(", "), width.saturating_sub(metric.len() + 4)))?;
        }
    }
    Ok(())
}

/// How a row did, in a word or two.
fn judged(row: &WorstRow) -> String {
    match row.score {
        _ if row.failed => "failed".to_owned(),
        Some(RowScore { name, value: Some(value), .. }) => format!("{name} {}", figure(value)),
        Some(RowScore { name, value: None, .. }) => format!("{name} is no number"),
        None => "no score".to_owned(),
    }
}

/// Texts apart by a bar; none, in words.
fn listed(list: &[Value]) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => harmless(text),
        other => other.to_string(),
    };
    match list {
        [] => "(none)".to_owned(),
        list => list.iter().map(text).collect::<Vec<_>>().join(" | "),
    }
}

/// A text in one line: a line break is `⏎`, a tab `⇥`, and what else would move the cursor, colour the screen or turn the
/// direction of writing stands as its number.
fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => shown.push('⏎'),
            '\t' => shown.push('⇥'),
            c if c.is_control() || turns(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// Characters of Unicode that are not seen and change how others are shown: directions, line and paragraph separators.
fn turns(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A text in at most so many columns: what is too long loses its middle. A question and its answer stand at the end of
/// most prompts, what they are about at the beginning.
fn fit(text: &str, columns: usize) -> String {
    const GAP: &str = " … ";
    let width = |text: &str| text.chars().map(columns_of).sum::<usize>();
    // A text of so many bytes may fit; one with more characters than columns need not be measured whole.
    if text.len() <= columns || (text.len() <= 4 * columns && width(text) <= columns) {
        return text.to_owned();
    }
    let left = columns.saturating_sub(GAP.chars().count());
    let taken = |chars: &mut dyn Iterator<Item = char>, most: usize| {
        let mut used = 0;
        chars
            .take_while(|c| {
                used += columns_of(*c);
                used <= most
            })
            .map(char::len_utf8)
            .sum::<usize>()
    };
    let head = taken(&mut text.chars(), left - left / 2);
    let tail = taken(&mut text.chars().rev(), left / 2);
    format!("{}{GAP}{}", text.get(..head).unwrap_or_default(), text.get(text.len() - tail..).unwrap_or_default())
}

/// The columns of a character; a mark that stands on another has none.
fn columns_of(c: char) -> usize {
    c.width().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_row_moves_the_cursor() {
        assert_eq!(harmless("a\nb\tc"), "a⏎b⇥c");
        assert_eq!(harmless("\u{1b}[31mred\u{7}\r"), "\\u{1b}[31mred\\u{7}\\u{d}");
        assert_eq!(harmless("x\u{202e}y\u{9b}1m"), "x\\u{202e}y\\u{9b}1m");
        let all: String = (0..0x11_0000).filter_map(char::from_u32).collect();
        assert!(!harmless(&all).chars().any(|c| c.is_control() || turns(c)));
    }

    #[test]
    fn a_long_text_loses_its_middle_and_fits() {
        assert_eq!(fit("short", 5), "short");
        assert_eq!(fit("a long prompt with its question?", 15), "a long … stion?");
        let width = |text: &str| text.chars().map(columns_of).sum::<usize>();
        for text in [
            "длинный вопрос о чём угодно и ещё немного",
            "長い質問がここにあります。答えは何ですか。",
            "e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}e\u{301}",
        ] {
            for columns in 4..60 {
                let fitted = fit(text, columns);
                assert!(width(&fitted) <= columns, "{fitted} in {columns}");
                assert!(width(text) > columns || fitted == text, "{fitted} in {columns}");
            }
        }
        let million = "x".repeat(1_000_000);
        assert_eq!(fit(&million, 80).chars().count(), 80);
    }
}
