//! A report as Markdown. Knows no figure: it prints what the tables hold.

use std::fmt::Write;

use super::{Report, inspection, samples::Sample, table::Sheet};

/// The whole report.
pub fn page(report: &Report<'_>) -> String {
    let mut text = format!("# {}\n", escape(&report.title));
    for sentence in &report.summary {
        let _ = write!(text, "\n{}\n", escape(sentence));
    }
    section(&mut text, "Scores", &report.scores);
    section(&mut text, "Training", &report.training);
    section(&mut text, "Forward time", &report.latency);
    inspection::as_markdown(&mut text, &report.inspections);
    samples(&mut text, report);
    text.push_str("\n## What this was\n\n");
    sheet(&mut text, &report.inputs);
    text
}

fn section(text: &mut String, title: &str, sheets: &[Sheet]) {
    if sheets.is_empty() {
        return;
    }
    let _ = write!(text, "\n## {title}\n");
    for one in sheets {
        let _ = write!(text, "\n### {}\n\n", escape(&one.title));
        sheet(text, one);
    }
}

/// A table and what is below it.
pub fn sheet(text: &mut String, sheet: &Sheet) {
    let columns: Vec<String> = sheet.columns.iter().map(|column| escape(column)).collect();
    let _ = writeln!(text, "| | {} |", columns.join(" | "));
    let _ = writeln!(text, "|---|{}", "---:|".repeat(columns.len()));
    for line in &sheet.lines {
        let cells: Vec<String> = line
            .cells
            .iter()
            .map(|cell| {
                let figure = if cell.text.is_empty() { "–".to_owned() } else { escape(&cell.text) };
                let figure = if cell.is_best { format!("**{figure}**") } else { figure };
                match &cell.deviation {
                    Some(deviation) => format!("{figure} ± {deviation}"),
                    None => figure,
                }
            })
            .collect();
        let label = match &line.source {
            Some(source) => format!("*{}, published: {}*", escape(&line.label), escape(source)),
            None => escape(&line.label),
        };
        let _ = writeln!(text, "| {label} | {} |", cells.join(" | "));
    }
    if !sheet.notes.is_empty() {
        let _ = write!(text, "\n{}\n", escape(&sheet.notes.join(" ")));
    }
}

fn samples(text: &mut String, report: &Report<'_>) {
    if report.samples.is_empty() {
        return;
    }
    let _ = write!(text, "\n## Some rows\n\n{}\n", escape(&report.samples_note));
    for (index, Sample { why, prompt, references, outputs }) in report.samples.iter().enumerate() {
        let _ = write!(text, "\n**{}.** ({why})\n\n", index + 1);
        for line in prompt.lines() {
            let _ = writeln!(text, "    {line}");
        }
        let right: Vec<String> = references.iter().map(|reference| escape(reference)).collect();
        let right = if right.is_empty() { "no answer".to_owned() } else { right.join(" / ") };
        let _ = write!(text, "\n| | answer |\n|---|---|\n| *right answer* | {right} |\n");
        for (row, output, is_right) in outputs {
            let output = output.as_deref().map_or_else(|| "(none: the prompt did not fit)".to_owned(), escape);
            let mark = if *is_right { "✓" } else { "✗" };
            let _ = writeln!(text, "| {} | {mark} {output} |", escape(&report.rows[*row]));
        }
    }
}

/// A text that Markdown prints as it is, in one line.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '|' | '[' | ']' | '#' | '~' => escaped.extend(['\\', c]),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #[test]
    fn data_cannot_leave_its_cell() {
        assert_eq!(super::escape("a|b\n<i>*x*"), r"a\|b &lt;i&gt;\*x\*");
    }
}
