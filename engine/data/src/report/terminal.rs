//! The scores of a finished report for a terminal: the tables of `report.md` with aligned columns. Knows the page, no
//! figure.

/// The title and score tables of a page, columns aligned, as many as fit into lines of this width.
pub fn comparison(page: &str, width: usize) -> String {
    let mut text = String::new();
    let mut table: Vec<Vec<String>> = Vec::new();
    let until_second_section = page.lines().scan(0, |sections, line| {
        *sections += usize::from(line.starts_with("## "));
        (*sections < 2).then_some(line)
    });
    let mut skipped = false;
    for line in until_second_section.chain([""]) {
        // Differences are told by the sentence above.
        if let Some(title) = line.strip_prefix("### ") {
            skipped = title.starts_with("Against ");
        }
        if skipped {
            continue;
        }
        if let Some(row) = line.strip_prefix('|').and_then(|rest| rest.strip_suffix('|')) {
            if !row.starts_with("---") {
                table.push(cells(row));
            }
            continue;
        }
        if !table.is_empty() {
            align(&mut text, &std::mem::take(&mut table), width);
        }
        let plain = line.trim_start_matches('#').trim();
        if !plain.is_empty() && plain != "Scores" && !plain.starts_with("![") {
            text.push_str(&format!("{}\n", unescaped(plain)));
        }
    }
    text
}

/// The cells of a row; a bar that is part of a text is escaped.
fn cells(row: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut escaped = false;
    for character in without_small(row).chars() {
        match character {
            '|' if !escaped => cells.push(String::new()),
            _ => cells.last_mut().into_iter().for_each(|cell| cell.push(character)),
        }
        escaped = character == '\\' && !escaped;
    }
    cells.iter().map(|cell| unescaped(cell.trim()).replace("**", "").trim_matches('*').to_owned()).collect()
}

/// A row without what a page shows in small: a screen is narrow.
fn without_small(row: &str) -> String {
    let mut parts = row.split("<sub>");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once("</sub>").map_or(part, |(_, rest)| rest))
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut escaped = false;
    for character in text.chars() {
        if character == '\\' && !escaped {
            escaped = true;
        } else {
            plain.push(character);
            escaped = false;
        }
    }
    plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// How far columns stand apart.
const GAP: usize = 2;

fn align(text: &mut String, table: &[Vec<String>], most: usize) {
    let columns = table.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        table.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut end = 0;
    let fits = |width: &&usize| {
        end += GAP + **width;
        end <= most
    };
    let widths: Vec<usize> = widths.iter().take_while(fits).copied().collect();
    for row in table {
        let line: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(
                |(column, (cell, width))| {
                    if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                },
            )
            .collect();
        text.push_str(&format!("  {}\n", line.join("  ").trim_end()));
    }
    let left_out = table.first().into_iter().flatten().skip(widths.len()).cloned().collect::<Vec<String>>();
    if !left_out.is_empty() {
        text.push_str(&format!("  in the report: {}\n", left_out.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::comparison;

    #[test]
    fn what_does_not_fit_is_named_and_signs_are_themselves() {
        let page = "# A &lt; B &amp; C\n\n## Scores\n\n| | exact | time of all | f1 |\n|---|---:|---:|---:|\n| lora | 81.0 | 3 | 9 |\n";
        let full = "A < B & C\n        exact  time of all  f1\n  lora   81.0            3   9\n";
        assert_eq!(comparison(page, 30), full);
        let cut = "A < B & C\n        exact\n  lora   81.0\n  in the report: time of all, f1\n";
        assert_eq!(comparison(page, 29 - 4), cut);
    }

    #[test]
    fn tables_are_aligned_and_the_rest_is_left_out() {
        let page = "# A report\n\n## Scores\n\n### exact\n\n| | exact | f1 |\n|---|---:|---:|\n| lora\\_a | **81.0** ± 0.5 | 9 |\n| x | 7.25 | 10 |\n\n## Training\n\n| no | more |\n";
        assert_eq!(
            comparison(page, 80),
            "A report\nexact\n             exact  f1\n  lora_a  81.0 ± 0.5   9\n  x             7.25  10\n"
                .replace("             exact", "               exact")
        );
    }
}
