//! A report as Markdown. Knows no figure: it prints what the tables hold.

use std::fmt::Write;

use super::{
    Report, Section,
    facts::Facts,
    samples::{Output, Sample},
    table::Sheet,
};

/// The whole report; the plots stand in files beside it, by their place.
pub fn page(report: &Report<'_>) -> String {
    let mut text = format!("# {}\n", escape(&report.title));
    let mut files = super::PlotFiles::default();
    for sentence in &report.summary {
        let _ = write!(text, "\n{}\n", escape(sentence));
    }
    for Section { title, parts } in &report.sections {
        let _ = write!(text, "\n## {}\n", escape(title));
        for part in parts {
            if !part.sheet.title.is_empty() {
                let _ = write!(text, "\n### {}\n", escape(&part.sheet.title));
            }
            text.push('\n');
            sheet(&mut text, &part.sheet);
            for plot in &part.plots {
                let _ = write!(text, "\n![{}]({})\n", escape(&plot.title), files.next(plot));
            }
        }
    }
    samples(&mut text, report);
    text.push_str("\n## What this was\n\n");
    sheet(&mut text, &report.members);
    for one in &report.facts {
        facts(&mut text, one);
    }
    text
}

fn sheet(text: &mut String, sheet: &Sheet) {
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
                let deviation = cell.deviation.iter().map(|deviation| format!(" ± {deviation}"));
                let more = cell.more.iter().map(|more| format!(" <sub>{}</sub>", escape(more)));
                std::iter::once(figure).chain(deviation).chain(more).collect::<String>()
            })
            .collect();
        let label = match &line.aside {
            Some(aside) => format!("*{}, {}*", escape(&line.label), escape(aside)),
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
        for Output { row, text: output, score } in outputs {
            let output = output.as_deref().map_or_else(|| "(none: the prompt did not fit)".to_owned(), escape);
            let _ = writeln!(text, "| {} | {} {output} |", escape(&report.rows[*row]), score.mark());
        }
    }
}

/// Names and what is said of them.
fn facts(text: &mut String, facts: &Facts) {
    let _ = write!(text, "\n## {}\n\n| | |\n|---|---|\n", escape(&facts.title));
    for (name, said) in &facts.lines {
        let _ = writeln!(text, "| {} | {} |", escape(name), escape(said));
    }
    if !facts.note.is_empty() {
        let _ = write!(text, "\n{}\n", escape(&facts.note));
    }
}

/// A text that Markdown prints as it is, in one line.
fn escape(text: &str) -> String {
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
