//! A report's figures in long form: one figure a line, for other programs. Knows no layout.

use super::{latency, member::Member};

/// All figures of all members, with a column for each axis.
pub fn page(members: &[Member]) -> String {
    let mut axes: Vec<&str> = Vec::new();
    for (axis, _) in members.iter().flat_map(|member| &member.input.coordinates) {
        if !axes.contains(&axis.as_str()) {
            axes.push(axis);
        }
    }
    let named = |axis: &&str| match *axis {
        "stage" | "metric" | "value" => format!("axis_{axis}"),
        axis => axis.to_owned(),
    };
    let header = std::iter::once("stage".to_owned()).chain(axes.iter().map(named));
    let mut text = line(header.chain(["metric".to_owned(), "value".to_owned()]));
    for member in members {
        let mut figures: Vec<(String, f64)> = Vec::new();
        if let Some(scored) = &member.scored {
            figures.extend(scored.figures.iter().map(|(name, value)| (name.clone(), *value)));
            figures.extend(scored.rows.map(|rows| ("rows".to_owned(), rows as f64)));
            figures.push(("failed".to_owned(), scored.failed as f64));
        }
        if let Some(trained) = &member.trained {
            figures.extend(trained.figures.iter().map(|(name, value)| (name.clone(), *value)));
        }
        let measured = &member.measured;
        figures.extend(measured.seconds.map(|seconds| ("seconds".to_owned(), seconds)));
        figures.extend(measured.tokens_per_second.map(|speed| ("tokens_per_second".to_owned(), speed)));
        figures.extend(measured.peak_memory_bytes.map(|bytes| ("peak_memory_bytes".to_owned(), bytes as f64)));
        for (part, seconds) in measured.part_seconds.iter().flat_map(|times| times.parts()) {
            figures.push((format!("part_seconds.{part}"), seconds));
        }
        figures.extend(latency::figures(member));
        for (name, value) in figures {
            let start = std::iter::once(member.input.stage.clone());
            let labels = axes.iter().map(|axis| member.label(axis).unwrap_or_default().to_owned());
            text.push_str(&line(start.chain(labels).chain([name, value.to_string()])));
        }
    }
    text
}

fn line(fields: impl Iterator<Item = String>) -> String {
    let quoted = fields.map(|field| match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field,
    });
    quoted.collect::<Vec<_>>().join(",") + "\n"
}
