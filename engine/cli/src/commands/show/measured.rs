//! What a stage observed of its own time, in lines. Knows the names of files and figures; not how they were measured.

use std::{fs, path::Path};

use serde::{Deserialize, de::DeserializeOwned};
use spec::{
    files,
    observed::{BatchLatency, Latency, TrainingTimes},
};

use crate::{commands::plan::size, progress::duration};

/// What of a `measured.json` is shown.
#[derive(Deserialize)]
struct Measured {
    seconds: Option<f64>,
    tokens_per_second: Option<f64>,
    peak_memory_bytes: Option<u64>,
    part_seconds: Option<TrainingTimes>,
    device: Option<String>,
    threads: Option<u64>,
}

/// Prints what is observed in a folder; nothing where nothing is, or it cannot be read.
pub(super) fn print(folder: &Path) {
    if let Some(measured) = read::<Measured>(&folder.join(files::MEASURED)) {
        lines_of(&measured).iter().for_each(|line| outln!("{line}"));
    }
    if let Some(latency) = read::<Latency>(&folder.join(files::LATENCY)) {
        table(&latency).iter().for_each(|line| outln!("{line}"));
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn lines_of(measured: &Measured) -> Vec<String> {
    let threads =
        measured.threads.map(|threads| if threads == 1 { "1 thread".into() } else { format!("{threads} threads") });
    let on: Vec<String> = measured.device.iter().cloned().chain(threads).collect();
    let figures = [
        measured.seconds.map(duration),
        measured.tokens_per_second.map(|speed| format!("{speed:.0} tokens/s")),
        measured.peak_memory_bytes.map(|bytes| format!("peak memory {}", size(bytes))),
    ];
    let figures: Vec<String> = figures.into_iter().flatten().collect();
    let mut lines = Vec::new();
    if !figures.is_empty() {
        let on = if on.is_empty() { String::new() } else { format!(" on {}", on.join(", ")) };
        lines.push(format!("measured{on}: {}", figures.join(" · ")));
    }
    if let Some(times) = &measured.part_seconds {
        let parts = times.parts().into_iter().filter(|(_, seconds)| *seconds > 0.0);
        let parts: Vec<String> = parts.map(|(name, seconds)| format!("{name} {}", length(seconds))).collect();
        let share = times.percentages().map(|shares| format!(" ({shares} %)")).unwrap_or_default();
        lines.push(format!("time by part: {}{share}", parts.join(" · ")));
    }
    lines
}

/// A length of time, a short one in milliseconds.
fn length(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", 1e3 * seconds) } else { duration(seconds) }
}

fn table(latency: &Latency) -> Vec<String> {
    let Latency { weights, warmup, iterations, batches } = latency;
    let mut lines = vec![
        format!("forward time, {}, {iterations} passes after {warmup}:", weights.words()),
        "    rows  padded to      median         p95".to_owned(),
    ];
    let line = |batch: &BatchLatency| {
        let BatchLatency { size, length, median_seconds, p95_seconds, .. } = batch;
        format!("  {size:>6}  {length:>9}  {:>7.3} ms  {:>7.3} ms", 1e3 * median_seconds, 1e3 * p95_seconds)
    };
    lines.extend(batches.iter().map(line));
    lines
}

#[cfg(test)]
mod tests {
    use spec::observed::Weights;

    use super::*;

    #[test]
    fn times_are_shown_with_their_units() {
        let measured: Measured = serde_json::from_str(
            r#"{"seconds": 75, "tokens_per_second": 812.4, "peak_memory_bytes": 1048576, "device": "cpu", "threads": 2,
                "part_seconds": {"data": 0.0625, "forward": 20, "backward": 40, "optimizer": 2, "validation": 0, "checkpoints": 0}}"#,
        )
        .unwrap();
        assert_eq!(
            lines_of(&measured),
            [
                "measured on cpu, 2 threads: 1 min 15 s · 812 tokens/s · peak memory 1.0 MiB",
                "time by part: data 62 ms · forward 20 s · backward 40 s · optimiser 2.0 s \
                 (data <1, forward 32, backward 64, optimiser 3 %)",
            ]
        );
        let batch = BatchLatency { size: 2, length: 37, tokens: 70, median_seconds: 0.0125, p95_seconds: 0.1 };
        let latency = Latency { weights: Weights::Unmerged, warmup: 10, iterations: 100, batches: vec![batch] };
        assert_eq!(table(&latency)[0], "forward time, adapter unmerged, 100 passes after 10:");
        assert_eq!(table(&latency)[2], "       2         37   12.500 ms  100.000 ms");
    }
}
