//! A comparison as a table of at most a hundred columns. Knows what is compared, not how.

use plan::compare::{Change, Comparison, Figure, MemberChanges, StageChanges};

use super::sides::Side;
use crate::progress::figure;

/// The widest line.
const WIDTH: usize = 100;
/// Between two columns.
const GAP: usize = 2;
/// The most members that are named one by one.
const NAMED: usize = 6;

/// Member, what differs, old, new, difference.
type Row = [String; 5];

/// Prints a pipeline's comparison.
pub fn print(name: &str, old: &Side, new: &Side, comparison: &Comparison) {
    outln!("{name}: {} → {}", old.label, new.label);
    old.notes.iter().chain(&new.notes).for_each(|note| outln!("  {note}"));
    let mut rows: Vec<(Option<&str>, Row)> = Vec::new();
    let mut below: Vec<String> = Vec::new();
    for stage in &comparison.stages {
        let own = rows_of(stage);
        rows.extend(
            own.into_iter().enumerate().map(|(place, row)| ((place == 0).then_some(stage.stage.as_str()), row)),
        );
        for (members, side) in [(&stage.only_old, old), (&stage.only_new, new)] {
            if !members.is_empty() {
                below.push(format!("only in {}: {}", side.label, listed(members)));
            }
        }
        let waiting: Vec<String> =
            stage.changed.iter().filter(|member| member.not_run).map(|member| member.member.clone()).collect();
        if !waiting.is_empty() {
            below.push(format!("not run since its settings changed: {}", listed(&waiting)));
        }
    }
    lines(&rows).iter().for_each(|line| outln!("{line}"));
    below.iter().for_each(|line| outln!("  {}", cut(line, WIDTH - 2)));
    if !comparison.other_contents.is_empty() {
        outln!("  same settings and figures, other contents: {}", cut(&listed(&comparison.other_contents), WIDTH - 46));
    }
    outln!("  {} the same", counted(comparison.same));
}

fn counted(count: usize) -> String {
    if count == 1 { "1 member is".to_owned() } else { format!("{count} members are") }
}

fn listed(names: &[String]) -> String {
    let mut shown: Vec<String> = names.iter().take(NAMED).cloned().collect();
    if names.len() > NAMED {
        shown.push(format!("{} more", names.len() - NAMED));
    }
    shown.join(", ")
}

fn rows_of(stage: &StageChanges) -> Vec<Row> {
    let everyone = format!("all {}", stage.members);
    let mut rows: Vec<Row> = stage.common.iter().map(|change| setting(&everyone, change)).collect();
    for MemberChanges { member, settings, figures, .. } in &stage.changed {
        let label = member.strip_prefix(&stage.stage).unwrap_or(member).trim_matches(['[', ']']).to_owned();
        let mut own: Vec<Row> = settings.iter().map(|change| setting(&label, change)).collect();
        own.extend(figures.iter().map(|figure| metric(&label, figure)));
        // A member is named once.
        own.iter_mut().skip(1).for_each(|row| row[0].clear());
        rows.extend(own);
    }
    rows
}

fn setting(member: &str, change: &Change) -> Row {
    let Change { what, file, old, new } = change;
    let absent = || "–".to_owned();
    let (old, new) = match (file, old, new) {
        (true, Some(_), Some(_)) => (String::new(), "changed".to_owned()),
        (true, old, _) => (String::new(), if old.is_some() { "gone" } else { "new" }.to_owned()),
        (false, old, new) => focused(&old.clone().unwrap_or_else(absent), &new.clone().unwrap_or_else(absent)),
    };
    [member.to_owned(), what.clone(), old, new, String::new()]
}

/// Long values from a little before the place where they begin to differ.
fn focused(old: &str, new: &str) -> (String, String) {
    const LONG: usize = 28;
    const BEFORE: usize = 8;
    let shared = old.chars().zip(new.chars()).take_while(|(a, b)| a == b).count();
    if old.chars().count().max(new.chars().count()) <= LONG || shared <= BEFORE {
        return (old.to_owned(), new.to_owned());
    }
    let from = |text: &str| format!("…{}", text.chars().skip(shared - BEFORE).collect::<String>());
    (from(old), from(new))
}

fn metric(member: &str, changed: &Figure) -> Row {
    let shown = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), figure);
    let (mut old, mut new) = (shown(changed.old), shown(changed.new));
    if let (Some(one), Some(other), true) = (changed.old, changed.new, old == new) {
        (old, new) = apart(one, other);
    }
    let difference = changed.difference().map(signed).unwrap_or_default();
    [member.to_owned(), changed.name.clone(), old, new, difference]
}

/// Two figures that are too close for the usual digits, with as many as tell them apart.
fn apart(old: f64, new: f64) -> (String, String) {
    // Seventeen digits tell any two numbers apart.
    let tiny = old.abs().max(new.abs()) < 1e-4;
    let written = |value: f64, digits: usize| match tiny {
        true => format!("{value:.digits$e}"),
        false => format!("{value:.digits$}"),
    };
    let pairs = (1..=17).map(|digits| (written(old, digits), written(new, digits)));
    let usual = |text: &str| tiny || text.len() > figure(old).len();
    pairs
        .into_iter()
        .find(|(one, other)| one != other && usual(one))
        .unwrap_or_else(|| (old.to_string(), new.to_string()))
}

fn signed(difference: f64) -> String {
    let sign = if difference < 0.0 { "−" } else { "+" };
    let size = difference.abs();
    let digits = if size >= 1e-4 { figure(size) } else { format!("{size:.0e}") };
    format!("{sign}{digits}")
}

/// The rows below their stages, in columns that fit.
fn lines(rows: &[(Option<&str>, Row)]) -> Vec<String> {
    let mut widths = [0; 5];
    for (_, row) in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let room = WIDTH - 2 - 4 * GAP;
    while widths.iter().sum::<usize>() > room {
        // The widest column gives way.
        let Some(widest) = widths.iter_mut().max() else { break };
        *widest -= 1;
    }
    let mut lines = Vec::new();
    for (stage, row) in rows {
        lines.extend(stage.map(str::to_owned));
        let [member, what, old, new, difference] = row;
        let cells = [member, what, old, new, difference];
        let mut line = String::from("  ");
        for (place, (cell, width)) in cells.into_iter().zip(widths).enumerate() {
            let cell = cut(cell, width);
            let fill = " ".repeat(width - cell.chars().count());
            // Values stand at the right, under each other.
            line.push_str(&if place < 2 { format!("{cell}{fill}") } else { format!("{fill}{cell}") });
            line.push_str(&" ".repeat(GAP));
        }
        lines.push(line.trim_end().to_owned());
    }
    lines
}

/// The beginning of a text that is too long.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: [&str; 5]) -> Row {
        cells.map(str::to_owned)
    }

    #[test]
    fn no_line_is_wider_than_a_hundred_columns() {
        let long = "x".repeat(70);
        let rows = [
            (Some("tuned"), row([&long, &long, &long, &long, "+1.00"])),
            (None, row(["seed=0", "loss", "1.25", "2.25", "+1.00"])),
        ];
        let lines = lines(&rows);
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:#?}");
        assert!(lines[1].ends_with("+1.00") && lines[1].matches('…').count() == 4, "{lines:#?}");
    }

    #[test]
    fn long_values_show_where_they_differ() {
        let same = "a".repeat(40);
        let (old, new) = focused(&format!("{same}bcd"), &format!("{same}xyz"));
        assert_eq!((old.as_str(), new.as_str()), ("…aaaaaaaabcd", "…aaaaaaaaxyz"));
        assert_eq!(focused("8", "16"), ("8".to_owned(), "16".to_owned()));
    }

    #[test]
    fn close_figures_have_the_digits_that_tell_them_apart() {
        let cells = |old, new| {
            let [_, _, old, new, _] = metric("seed=0", &Figure { name: "f1".into(), old: Some(old), new: Some(new) });
            (old, new)
        };
        assert_eq!(cells(14.0 / 17.0, 0.8236), ("0.8235".into(), "0.8236".into()), "the usual digits do");
        assert_eq!(cells(14.0 / 17.0, 0.823_531_1), ("0.823529".into(), "0.823531".into()));
        assert_eq!(apart(61.2001, 61.2042), ("61.200".into(), "61.204".into()));
        assert_eq!(apart(1e-9, 2e-9), ("1.0e-9".into(), "2.0e-9".into()));
        assert_eq!(apart(0.1, 0.1 + f64::EPSILON / 8.0), ("0.10000000000000001".into(), "0.10000000000000003".into()));
    }

    #[test]
    fn differences_carry_their_sign() {
        assert_eq!(signed(-1.5), "−1.50");
        assert_eq!(signed(0.0123), "+0.0123");
        assert_eq!(signed(2e-9), "+2e-9");
    }
}
