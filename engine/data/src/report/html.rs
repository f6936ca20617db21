//! A report as one HTML file that needs no other: styles and pictures stand in it. Knows no figure: it prints what
//! the tables and plots hold.

use std::fmt::Write;

use super::{
    Report, Section,
    facts::Facts,
    plots::Plot,
    samples::{Good, Output},
    svg::colour,
    table::Sheet,
};

/// Characters of a cell that is never broken into lines.
const WIDEST: usize = 32;

/// The whole report.
pub fn page(report: &Report<'_>) -> String {
    let title = escape(&report.title);
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{}</style>\n</head>\n\
         <body>\n<main>\n<h1>{title}</h1>\n",
        concat!(include_str!("colours.css"), include_str!("plots.css"), include_str!("style.css"))
    );
    for sentence in &report.summary {
        let _ = writeln!(text, "<p class=\"summary\">{}</p>", escape(sentence));
    }
    for Section { title, parts } in &report.sections {
        let _ = writeln!(text, "<section>\n<h2>{}</h2>", escape(title));
        for part in parts {
            if !part.sheet.title.is_empty() {
                let _ = writeln!(text, "<h3>{}</h3>", escape(&part.sheet.title));
            }
            sheet(&mut text, &part.sheet);
            plots(&mut text, &part.plots);
        }
        text.push_str("</section>\n");
    }
    samples(&mut text, report);
    text.push_str("<section>\n<h2>What this was</h2>\n");
    sheet(&mut text, &report.members);
    text.push_str("</section>\n");
    for one in &report.facts {
        facts(&mut text, one);
    }
    let _ = write!(text, "</main>\n<script>\n{}</script>\n</body>\n</html>\n", include_str!("tables.js"));
    text
}

/// A table and what is below it.
fn sheet(text: &mut String, sheet: &Sheet) {
    text.push_str("<div class=\"scroll\"><table>\n<thead><tr><th></th>");
    for column in &sheet.columns {
        let _ = write!(text, "<th scope=\"col\">{}</th>", escape(column));
    }
    text.push_str("</tr></thead>\n<tbody>\n");
    for line in &sheet.lines {
        let class = if line.aside.is_some() { " class=\"published\"" } else { "" };
        let swatch = line.row.map(swatch).unwrap_or_default();
        let _ = write!(text, "<tr{class}><th scope=\"row\">{swatch}{}", escape(&line.label));
        if let Some(aside) = &line.aside {
            let _ = write!(text, "<span class=\"source\">{}</span>", escape(aside));
        }
        text.push_str("</th>");
        for cell in &line.cells {
            let figure = if cell.text.is_empty() { "–".to_owned() } else { escape(&cell.text) };
            let figure = if cell.is_best { format!("<strong>{figure}</strong>") } else { figure };
            let deviation = cell.deviation.as_ref().map(|d| format!("<span class=\"sd\"> ± {}</span>", escape(d)));
            let more = cell.more.as_ref().map(|more| format!("<span class=\"more\">{}</span>", escape(more)));
            let class = if cell.text.chars().count() > WIDEST { " class=\"words\"" } else { "" };
            let _ =
                write!(text, "<td{class}>{figure}{}{}</td>", deviation.unwrap_or_default(), more.unwrap_or_default());
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody></table></div>\n");
    if !sheet.notes.is_empty() {
        let _ = writeln!(text, "<p class=\"note\">{}</p>", escape(&sheet.notes.join(" ")));
    }
}

fn swatch(row: usize) -> String {
    format!("<i class=\"swatch {}\"></i>", colour(row))
}

fn plots(text: &mut String, plots: &[Plot]) {
    if plots.is_empty() {
        return;
    }
    text.push_str("<div class=\"plots\">\n");
    for plot in plots {
        let _ = write!(text, "<figure>\n<figcaption><b>{}</b>", escape(&plot.title));
        if !plot.legend.is_empty() {
            text.push_str("<span class=\"legend\">");
            for (series, name) in &plot.legend {
                let _ = write!(text, "<span>{}{}</span>", swatch(*series), escape(name));
            }
            text.push_str("</span>");
        }
        let _ = write!(text, "</figcaption>\n{}", plot.svg);
        if !plot.note.is_empty() {
            let _ = writeln!(text, "<p class=\"note\">{}</p>", escape(&plot.note));
        }
        text.push_str("</figure>\n");
    }
    text.push_str("</div>\n");
}

/// Names and what is said of them.
fn facts(text: &mut String, facts: &Facts) {
    let _ = writeln!(text, "<section>\n<h2>{}</h2>\n<dl class=\"facts\">", escape(&facts.title));
    for (name, said) in &facts.lines {
        let _ = writeln!(text, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(said));
    }
    text.push_str("</dl>\n");
    if !facts.note.is_empty() {
        let _ = writeln!(text, "<p class=\"note\">{}</p>", escape(&facts.note));
    }
    text.push_str("</section>\n");
}

fn samples(text: &mut String, report: &Report<'_>) {
    if report.samples.is_empty() {
        return;
    }
    let _ = writeln!(text, "<section>\n<h2>Some rows</h2>\n<p class=\"note\">{}</p>", escape(&report.samples_note));
    for sample in &report.samples {
        let _ = writeln!(text, "<article>\n<p class=\"why\">{}</p>\n<pre>{}</pre>", sample.why, escape(&sample.prompt));
        let right = match sample.references.as_slice() {
            [] => "<em>no answer</em>".to_owned(),
            list => list.iter().map(|reference| escape(reference)).collect::<Vec<_>>().join(" / "),
        };
        let _ = writeln!(text, "<dl>\n<dt>right answer</dt><dd>{right}</dd>");
        for Output { row, text: output, score } in &sample.outputs {
            let class = match score {
                Good::Right => "right",
                Good::Wrong => "wrong",
                Good::By(_) => "score",
            };
            let output = match output.as_deref() {
                None => "<em>none: the prompt did not fit</em>".to_owned(),
                Some("") => "<em>empty</em>".to_owned(),
                Some(output) => escape(output),
            };
            let _ = writeln!(
                text,
                "<dt>{}{}</dt><dd><span class=\"{class}\">{}</span> {output}</dd>",
                swatch(*row),
                escape(&report.rows[*row]),
                score.mark()
            );
        }
        text.push_str("</dl>\n</article>\n");
    }
    text.push_str("</section>\n");
}

/// A text that HTML prints as it is, within an element or an attribute.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // HTML has no form for the other control characters.
            c if c.is_control() && !matches!(c, '\n' | '\t') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
