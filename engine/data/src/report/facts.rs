//! Things that are said by name: which settings differ, and how the whole is done again. Knows settings as JSON; no table of
//! figures.

use std::collections::BTreeSet;

use serde_json::Value;
use spec::job::{Job, Origin};

use super::{layout::Layout, member::Member};

/// Names and what is said of them.
#[derive(Debug, Default)]
pub struct Facts {
    /// What is above them.
    pub title: String,
    /// Each with what is said of it.
    pub lines: Vec<(String, String)>,
    /// What is below them.
    pub note: String,
}

/// Names that are listed of one value; further ones are counted.
const NAMED: usize = 6;

/// The settings in which the members of a kind differ, each value with the rows that have it.
pub fn settings(layout: &Layout<'_>) -> Vec<Facts> {
    let kinds = [("Training", &layout.trainings), ("Evaluation", &layout.groups)];
    let of_kind = |(title, groups): (&str, &Vec<super::layout::Group<'_>>)| {
        let mut rows: Vec<(&str, Value)> = Vec::new();
        for group in groups {
            for (row, members) in group.filled() {
                for made in members.iter().filter_map(|member| member.input.made.as_ref()) {
                    rows.push((&layout.rows[row], said(&made.settings)));
                }
            }
        }
        let mut lines = Vec::new();
        let values: Vec<(&str, Option<&Value>)> = rows.iter().map(|(row, value)| (*row, Some(value))).collect();
        differ("", &values, &mut lines);
        let note =
            "Settings that all have in common are not listed; `engine show FILE STAGE` prints them all.".to_owned();
        (!lines.is_empty()).then(|| Facts { title: format!("{title}: settings that differ"), lines, note })
    };
    kinds.into_iter().filter_map(of_kind).collect()
}

/// Settings without the names of stages: what these left is told by the rows' own names.
fn said(settings: &Value) -> Value {
    let mut settings = settings.clone();
    if let Some(settings) = settings.as_object_mut() {
        settings.remove("model");
        settings.remove("data");
    }
    settings
}

/// Adds the settings below a path in which rows differ. Of one-of choices the choice is a line of its own, and what is in
/// it is compared whatever the choice.
fn differ(path: &str, values: &[(&str, Option<&Value>)], lines: &mut Vec<(String, String)>) {
    if values.windows(2).all(|pair| pair[0].1 == pair[1].1) {
        return;
    }
    let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    let choice = |value: Option<&Value>| -> Option<(String, Value)> {
        match value? {
            Value::String(name) => Some((name.clone(), Value::Null)),
            Value::Object(map) if map.len() == 1 => {
                map.iter().next().map(|(name, inner)| (name.clone(), inner.clone()))
            }
            _ => None,
        }
    };
    let choices: Option<Vec<(String, Value)>> = values.iter().map(|(_, value)| choice(*value)).collect();
    let is_map = values.iter().any(|(_, value)| matches!(value, Some(Value::Object(_))));
    if let Some(choices) = choices.filter(|choices| is_map && choices.windows(2).any(|pair| pair[0].0 != pair[1].0)) {
        let named: Vec<(&str, String)> =
            values.iter().zip(&choices).map(|((row, _), (name, _))| (*row, name.clone())).collect();
        lines.push((path.to_owned(), by_value(&named)));
        let inner: Vec<(&str, Option<&Value>)> = values
            .iter()
            .zip(&choices)
            .filter(|(_, (_, inner))| inner.is_object())
            .map(|((row, _), (_, inner))| (*row, Some(inner)))
            .collect();
        return differ(path, &inner, lines);
    }
    if values.iter().all(|(_, value)| value.is_none_or(Value::is_object)) {
        let maps = || values.iter().filter_map(|(_, value)| value.and_then(Value::as_object));
        let mut keys: Vec<&String> = Vec::new();
        for key in maps().flat_map(|map| map.keys()) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        for key in keys {
            let below: Vec<(&str, Option<&Value>)> =
                values.iter().map(|(row, value)| (*row, value.and_then(|value| value.get(key)))).collect();
            differ(&at(key), &below, lines);
        }
        return;
    }
    let written: Vec<(&str, String)> = values.iter().map(|(row, value)| (*row, written(*value))).collect();
    lines.push((path.to_owned(), by_value(&written)));
}

fn written(value: Option<&Value>) -> String {
    match value {
        None => "not set".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) => list.iter().map(|item| written(Some(item))).collect::<Vec<_>>().join(", "),
        Some(value) => value.to_string(),
    }
}

/// Each value with the rows that have it: `2e-4 (lora, dora); 1e-5 (full)`. A value that all rows have, because their
/// members differ, stands alone.
fn by_value(rows: &[(&str, String)]) -> String {
    let all: BTreeSet<&str> = rows.iter().map(|(row, _)| *row).collect();
    let mut values: Vec<(&str, Vec<&str>)> = Vec::new();
    for (row, value) in rows {
        let index = values.iter().position(|(known, _)| known == value).unwrap_or_else(|| {
            values.push((value, Vec::new()));
            values.len() - 1
        });
        if !values[index].1.contains(row) {
            values[index].1.push(row);
        }
    }
    let one = |(value, rows): (&str, Vec<&str>)| {
        if rows.len() == all.len() {
            return value.to_owned();
        }
        let more = rows.len().saturating_sub(NAMED);
        let named = rows.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{value} ({named}{more})")
    };
    values.into_iter().map(one).collect::<Vec<_>>().join("; ")
}

/// How the whole is done again, and on what it was done.
pub fn again(job: &Job, members: &[Member]) -> Facts {
    let mut lines = Vec::new();
    if let Some(Origin { command, engine, commit, changed }) = &job.origin {
        lines.push(("command".to_owned(), command.clone()));
        let commit = commit.as_ref().map(|commit| match changed {
            Some(true) => format!("{commit}, with changes that were not committed"),
            _ => commit.clone(),
        });
        lines.extend(commit.map(|commit| ("revision".to_owned(), commit)));
        lines.push(("engine".to_owned(), engine.clone()));
    }
    let seen = |of: &dyn Fn(&Member) -> Option<String>| {
        let all: BTreeSet<String> = members.iter().filter_map(of).collect();
        (!all.is_empty()).then(|| all.into_iter().collect::<Vec<_>>().join("; "))
    };
    let devices = seen(&|member| {
        let threads = member.measured.threads.map(|threads| format!(", {threads} threads")).unwrap_or_default();
        member.measured.device.as_ref().map(|device| format!("{device}{threads}"))
    });
    lines.extend(devices.map(|devices| ("device".to_owned(), devices)));
    lines.extend(seen(&|member| member.measured.libtorch.clone()).map(|version| ("libtorch".to_owned(), version)));
    let note = "Models, data and numbers are pinned by the pipeline's lock file, which stands beside it.".to_owned();
    Facts { title: "How to do this again".to_owned(), lines, note }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lines(values: &[(&str, Value)]) -> Vec<(String, String)> {
        let values: Vec<(&str, Option<&Value>)> = values.iter().map(|(row, value)| (*row, Some(value))).collect();
        let mut lines = Vec::new();
        differ("", &values, &mut lines);
        lines
    }

    #[test]
    fn only_what_differs_is_said_and_choices_are_compared_inside() {
        let found = lines(&[
            ("lora", json!({"adapter": {"lora": {"rank": 8, "alpha": 16}}, "epochs": 3, "seed": 0})),
            ("lora", json!({"adapter": {"lora": {"rank": 8, "alpha": 16}}, "epochs": 3, "seed": 1})),
            ("dora", json!({"adapter": {"dora": {"rank": 4, "alpha": 16}}, "epochs": 3, "seed": 0, "clip": 1.0})),
            ("full", json!({"adapter": "full", "epochs": 3, "seed": 1})),
        ]);
        let found: Vec<(&str, &str)> = found.iter().map(|(path, said)| (path.as_str(), said.as_str())).collect();
        assert_eq!(
            found,
            [
                ("adapter", "lora (lora); dora (dora); full (full)"),
                ("adapter.rank", "8 (lora); 4 (dora)"),
                ("seed", "0 (lora, dora); 1 (lora, full)"),
                ("clip", "not set (lora, full); 1.0 (dora)"),
            ]
        );
    }

    #[test]
    fn long_lists_of_rows_are_counted() {
        let names: Vec<String> = (0..9).map(|row| format!("r{row}")).collect();
        let rows: Vec<(&str, Value)> = names
            .iter()
            .enumerate()
            .map(|(row, name)| (name.as_str(), json!({"rank": usize::from(row > 7)})))
            .collect();
        assert_eq!(lines(&rows)[0].1, "0 (r0, r1, r2, r3, r4, r5 and 2 more); 1 (r8)");
    }
}
