//! What one member left, as a report needs it: scores, steps, times. Reads the files; knows no table and no plot.

use std::{collections::BTreeMap, fs, io, path::Path};

use serde::Deserialize;
use serde_json::Value;
use spec::{
    files,
    job::{Failure, JobInput},
    observed::{Latency, TrainingTimes},
};

/// One member of a stage that is reported on.
#[derive(Debug, Clone)]
pub struct Member {
    /// The stage, the coordinates and the folders.
    pub input: JobInput,
    /// What was learned, where it left a history or counts of parameters.
    pub trained: Option<Trained>,
    /// What was scored, where it left scores.
    pub scored: Option<Scored>,
    /// What was measured while it ran.
    pub measured: Measured,
    /// How long a forward pass takes, where that was measured.
    pub latency: Option<Latency>,
    /// What was chosen, of a `select` stage.
    pub selected: Option<Selected>,
}

/// What a `select` stage chose.
#[derive(Debug, Clone, Deserialize)]
pub struct Selected {
    /// The winner's labels by axis.
    pub coordinates: BTreeMap<String, String>,
    /// The figure that decided.
    pub metric: String,
    /// The winner's.
    pub value: f64,
}

/// A training run.
#[derive(Debug, Clone, Default)]
pub struct Trained {
    /// Counts by name, such as `trainable_parameters`, all numbers of the summary.
    pub figures: BTreeMap<String, f64>,
    /// (step, loss).
    pub losses: Vec<(f64, f64)>,
    /// (step, learning rate).
    pub rates: Vec<(f64, f64)>,
    /// (step, loss on the validation split).
    pub validation: Vec<(f64, f64)>,
    /// (step, figure on the validation split), of each figure that was counted on the way.
    pub asked: BTreeMap<String, Vec<(f64, f64)>>,
}

/// An evaluation.
#[derive(Debug, Clone, Default)]
pub struct Scored {
    /// The figures that tables show, in the order of the file.
    pub headline: Vec<(String, f64)>,
    /// All figures, as `metric.figure`.
    pub figures: BTreeMap<String, f64>,
    /// The 95 % intervals over rows of figures that have one.
    pub intervals: BTreeMap<String, (f64, f64)>,
    /// Rows that count.
    pub rows: Option<u64>,
    /// Rows among them that got no prediction.
    pub failed: u64,
}

/// Time, memory and machine. All may be absent.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Measured {
    /// Wall time of the work.
    pub seconds: Option<f64>,
    /// Tokens that went through the model, a second.
    pub tokens_per_second: Option<f64>,
    /// The most memory that was held.
    pub peak_memory_bytes: Option<u64>,
    /// Where the time of a training went.
    pub part_seconds: Option<TrainingTimes>,
    /// The device, in words.
    pub device: Option<String>,
    /// The version of libtorch.
    pub libtorch: Option<String>,
    /// Threads that were used.
    pub threads: Option<u64>,
}

impl Scored {
    /// The 95 % interval of a figure over rows.
    pub fn interval(&self, figure: &str) -> Option<(f64, f64)> {
        self.intervals.get(figure).copied()
    }
}

impl Trained {
    /// A count of the summary.
    pub fn count(&self, name: &str) -> Option<u64> {
        self.figures.get(name).filter(|value| **value >= 0.0).map(|value| *value as u64)
    }
}

impl Member {
    /// Reads what a member left.
    ///
    /// # Errors
    /// When a file cannot be read or is not what it should be, or when an evaluation left no scores.
    pub fn read(input: &JobInput) -> Result<Self, Failure> {
        let metrics = read_json(&input.file(files::METRICS))?;
        let summary = read_json(&input.file(files::SUMMARY))?;
        let history = input.file(files::HISTORY);
        let is_training = input.kind == "train" || history.is_file();
        if input.kind == "evaluate" && metrics.is_none() {
            return Err(Failure {
                message: format!("`{}` left no {}", input.name(), files::METRICS),
                place: Some(input.result.display().to_string()),
                hint: Some("run that stage again: `engine run FILE --force STAGE`".to_owned()),
            });
        }
        let trained = if is_training { Some(trained(summary.as_ref(), &history)?) } else { None };
        Ok(Self {
            trained,
            scored: metrics.as_ref().map(scored),
            measured: match read_json(&input.observed.join(files::MEASURED))? {
                Some(value) => serde_json::from_value(value).unwrap_or_default(),
                None => Measured::default(),
            },
            latency: match read_json(&input.observed.join(files::LATENCY))? {
                Some(value) => serde_json::from_value(value).ok(),
                None => None,
            },
            selected: match read_json(&input.file(files::SELECTED))? {
                Some(value) => serde_json::from_value(value).ok(),
                None => None,
            },
            input: input.clone(),
        })
    }

    /// The label on an axis.
    pub fn label(&self, axis: &str) -> Option<&str> {
        self.input.coordinates.iter().find(|(name, _)| name == axis).map(|(_, label)| label.as_str())
    }
}

fn trained(summary: Option<&Value>, history: &Path) -> Result<Trained, Failure> {
    let mut trained = Trained::default();
    if let Some(summary) = summary {
        flatten(summary, &mut String::new(), &mut trained.figures);
    }
    let text = match fs::read_to_string(history) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(trained),
        Err(error) => return Err(unreadable(history, &error)),
    };
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let entry: Value = serde_json::from_str(line).map_err(|error| malformed(history, index + 1, &error))?;
        let number = |name: &str| entry.get(name).and_then(Value::as_f64).filter(|value| value.is_finite());
        let Some(step) = number("step") else { continue };
        trained.losses.extend(number("loss").map(|loss| (step, loss)));
        trained.rates.extend(number("learning_rate").map(|rate| (step, rate)));
        trained.validation.extend(number("validation_loss").map(|loss| (step, loss)));
        for (name, value) in entry.get("metrics").and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_f64().filter(|value| value.is_finite());
            trained.asked.entry(name.clone()).or_default().extend(value.map(|value| (step, value)));
        }
    }
    Ok(trained)
}

fn scored(metrics: &Value) -> Scored {
    let mut figures = BTreeMap::new();
    for part in ["metrics", "headline"] {
        flatten(metrics.get(part).unwrap_or(&Value::Null), &mut String::new(), &mut figures);
    }
    let headline = match metrics.get("headline") {
        Some(Value::Object(map)) => map.iter().filter_map(|(name, v)| Some((name.clone(), v.as_f64()?))).collect(),
        _ => figures.iter().map(|(name, value)| (name.clone(), *value)).collect(),
    };
    let number = |name: &str| metrics.get(name).and_then(Value::as_u64);
    let intervals = intervals(metrics, &figures);
    Scored { headline, figures, intervals, rows: number("rows"), failed: number("failed").unwrap_or_default() }
}

/// The intervals that metrics give, and those that standard errors mean: 1.96 of them on both sides.
fn intervals(metrics: &Value, figures: &BTreeMap<String, f64>) -> BTreeMap<String, (f64, f64)> {
    let mut said = BTreeMap::new();
    flatten(metrics.get("uncertainty").unwrap_or(&Value::Null), &mut String::new(), &mut said);
    let interval = |(name, value): (&String, &f64)| {
        let said = |what: &str| said.get(&format!("{name}.{what}")).copied();
        let around = |error: f64| (value - 1.959_963_984_540_054 * error, value + 1.959_963_984_540_054 * error);
        let interval = said("standard_error").map(around).or_else(|| Some((said("low")?, said("high")?)))?;
        Some((name.clone(), interval))
    };
    figures.iter().filter_map(interval).collect()
}

/// All finite numbers of a value by their path, `a.b.c`.
pub fn flatten(value: &Value, path: &mut String, into: &mut BTreeMap<String, f64>) {
    match value {
        Value::Number(number) => {
            into.extend(number.as_f64().filter(|number| number.is_finite()).map(|number| (path.clone(), number)));
        }
        Value::Object(map) => {
            for (key, inner) in map {
                let length = path.len();
                if length > 0 {
                    path.push('.');
                }
                path.push_str(key);
                flatten(inner, path, into);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// A JSON file; nothing where there is none.
fn read_json(path: &Path) -> Result<Option<Value>, Failure> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(path, &error)),
    };
    serde_json::from_str(&text).map(Some).map_err(|error| malformed(path, error.line(), &error))
}

/// A file that cannot be read.
pub fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure {
        message: format!("failed to read {}: {error}", path.display()),
        place: Some(path.display().to_string()),
        hint: Some("check that the file is there and that you may read it".to_owned()),
    }
}

/// A file that is not JSON.
pub fn malformed(path: &Path, line: usize, error: &serde_json::Error) -> Failure {
    Failure {
        message: format!("{} is no valid JSON: {error}", path.display()),
        place: Some(format!("{}:{line}", path.display())),
        hint: Some("the stage that left it wrote something else: run it again".to_owned()),
    }
}
