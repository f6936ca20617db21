//! Scores texts with the engine's metrics, without a pipeline: what an evaluation left, other systems' answers, SQuAD's own
//! files.
//!
//! ```text
//! score ROWS.jsonl METRIC…                  rows with `output` (or `prediction`) and `references`
//! score GOLD.json PREDICTIONS.json METRIC…  SQuAD's nested questions, and a map from their ids to answers
//! ```
//!
//! A metric is written as in a pipeline file: `bleu`, `{rouge: {tokenizer: google}}`. Each gives one line of JSON.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use data::metrics::{self, Counter, TextRow, Uncertainty};
use serde_json::{Value, json};
use spec::metric::Metric;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("score: {problem}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let started = Instant::now();
    let (rows, metrics) = match arguments {
        [gold, predictions, metrics @ ..] if predictions.ends_with(".json") => (squad(gold, predictions)?, metrics),
        [rows, metrics @ ..] => (lines(rows)?, metrics),
        [] => return Err("usage: score ROWS.jsonl METRIC… | score GOLD.json PREDICTIONS.json METRIC…".to_owned()),
    };
    let reading = started.elapsed().as_secs_f64();
    for metric in metrics {
        let metric: Metric = serde_yaml::from_str(metric).map_err(|error| format!("{metric}: {error}"))?;
        let Counter::Text(counter) = metrics::counter(&metric) else {
            return Err(format!("`{}` does not count texts", metric.name()));
        };
        if let Some(row) = rows.iter().position(|row| row.references.is_empty()).filter(|_| counter.wants_references())
        {
            return Err(format!("row {} has no reference, which `{}` needs", row + 1, metric.name()));
        }
        let started = Instant::now();
        let counted = counter.count(&rows);
        let uncertainty = |(name, uncertainty): (&String, &Uncertainty)| match uncertainty {
            Uncertainty::StandardError(error) => (name.clone(), json!({ "standard_error": error })),
            Uncertainty::Interval { low, high } => (name.clone(), json!({ "low": low, "high": high })),
        };
        let line = json!({
            "metric": metric.name(),
            "figures": counted.summary,
            "uncertainty": counted.uncertainty.iter().map(uncertainty).collect::<BTreeMap<_, _>>(),
            "signature": counted.signature,
            "seconds": { "reading": reading, "counting": started.elapsed().as_secs_f64() },
        });
        println!("{line}");
    }
    Ok(())
}

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

fn texts(value: Option<&Value>) -> Vec<String> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// A row a line.
fn lines(path: &str) -> Result<Vec<TextRow>, String> {
    let text = read(path)?;
    let row = |(number, line): (usize, &str)| {
        let row: Value = serde_json::from_str(line).map_err(|error| format!("{path}:{}: {error}", number + 1))?;
        let answer = row.get("output").or_else(|| row.get("prediction")).and_then(Value::as_str);
        Ok(TextRow::new(answer.map(str::to_owned), texts(row.get("references"))))
    };
    text.lines().enumerate().filter(|(_, line)| !line.is_empty()).map(row).collect()
}

/// SQuAD's questions in their order; one without a prediction has failed.
fn squad(gold: &str, predictions: &str) -> Result<Vec<TextRow>, String> {
    let parse = |path: &str| serde_json::from_str(&read(path)?).map_err(|error| format!("{path}: {error}"));
    let (gold_file, answers): (Value, Value) = (parse(gold)?, parse(predictions)?);
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut rows = Vec::new();
    for article in list(&gold_file, "data") {
        for paragraph in list(&article, "paragraphs") {
            for question in list(&paragraph, "qas") {
                let id = question.get("id").and_then(Value::as_str).ok_or(format!("{gold}: a question has no id"))?;
                let golds: Vec<Value> = list(&question, "answers")
                    .iter_mut()
                    .filter_map(|answer| answer.get_mut("text").map(Value::take))
                    .collect();
                let answer = answers.get(id).and_then(Value::as_str).map(str::to_owned);
                rows.push(TextRow::new(answer, texts(Some(&Value::Array(golds)))));
            }
        }
    }
    match rows.is_empty() {
        true => Err(format!("{gold} holds no question of SQuAD's form")),
        false => Ok(rows),
    }
}
