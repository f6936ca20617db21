//! The rows of an evaluation that did worst: `predictions.jsonl` is read line by line, and no more lines are held than are
//! asked for. Knows what a line holds; how it is shown is decided elsewhere.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use serde::{Deserialize, de::IgnoredAny};
use spec::metric::Metric;

use crate::{
    Error,
    metrics::{self, RowScore, row_score},
};

/// By which figure rows are judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// The metric as figures are named after it: `squad_v2`, or `squad_v2_2` where one stands a second time.
    pub metric: String,
    /// Its figure.
    pub figure: String,
}

/// Figures that rows alone have.
const OF_ROWS: [&str; 3] = ["nll", "correct", "error"];

impl By {
    /// The first headline figure of the first of these metrics, or the one of theirs that `named` is: `metric.figure`.
    ///
    /// # Errors
    /// A name that is no `metric.figure`, or whose metric is none of these.
    pub fn of(metrics: &[Metric], named: Option<&str>) -> Result<Self, Error> {
        let names = metrics::names(metrics);
        let Some(named) = named else {
            let (Some(name), Some(metric)) = (names.first(), metrics.first()) else {
                return Err(Error::new("the stage has no metric").hint("name one in its `metrics`"));
            };
            let figure = metrics::counter(metric).headline().first().copied().unwrap_or_default();
            return Ok(Self { metric: name.clone(), figure: figure.to_owned() });
        };
        let headline = || {
            names.iter().zip(metrics).flat_map(|(name, metric)| {
                metrics::counter(metric).headline().iter().map(move |figure| format!("{name}.{figure}"))
            })
        };
        let unknown = || {
            let known: Vec<String> = headline().collect();
            let hint = spec::suggest::did_you_mean(named, known.iter().map(String::as_str));
            Error::new(format!("`{named}` is no figure of this stage's metrics")).hint(hint)
        };
        let (metric, figure) = named.split_once('.').ok_or_else(unknown)?;
        let is_known = metrics::meaning(named).is_some() || OF_ROWS.contains(&figure);
        match names.iter().any(|name| name == metric) && is_known {
            true => Ok(Self { metric: metric.to_owned(), figure: figure.to_owned() }),
            false => Err(unknown()),
        }
    }
}

impl std::fmt::Display for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.metric, self.figure)
    }
}

/// A row that did badly.
#[derive(Debug, Clone, PartialEq)]
pub struct WorstRow {
    /// Its line in the file, counted from one.
    pub line: usize,
    /// Whether it failed: it got no answer.
    pub failed: bool,
    /// How it did; none where it has no such figure.
    pub score: Option<RowScore>,
    /// The line, one JSON object.
    pub text: String,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Worst {
    /// The worst rows, the worst first.
    pub rows: Vec<WorstRow>,
    /// How many rows the file has.
    pub of: usize,
}

/// What is read of every line.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    failed: Option<IgnoredAny>,
    scores: BTreeMap<String, BTreeMap<String, Option<f64>>>,
}

/// A row on the heap, whose greatest is the least bad.
struct Ranked {
    /// Failed rows, then those whose score is no number, then the others, at last those without a score.
    class: u8,
    /// The score, less of it being worse.
    goodness: f64,
    row: WorstRow,
}

impl Ranked {
    fn place(&self) -> (u8, f64, usize) {
        (self.class, self.goodness, self.row.line)
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        let (one, two) = (self.place(), other.place());
        one.0.cmp(&two.0).then(one.1.total_cmp(&two.1)).then(one.2.cmp(&two.2))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

/// The `count` worst rows of a `predictions.jsonl`: failed ones first, then by their score; ties in the order of the file.
///
/// # Errors
/// A file that cannot be read, a line that is no row of an evaluation, or a figure that no row has.
pub fn worst(path: &Path, by: &By, count: usize) -> Result<Worst, Error> {
    let file = File::open(path).map_err(|error| Error::io("read it", path, &error))?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut heap: BinaryHeap<Ranked> = BinaryHeap::new();
    let (mut bytes, mut of, mut judged) = (Vec::new(), 0, false);
    let mut figures: BTreeSet<String> = BTreeSet::new();
    loop {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes).map_err(|error| Error::io("read it", path, &error))? == 0 {
            break;
        }
        of += 1;
        let damaged = |why: String| {
            Error::new(format!("the predictions are damaged: {why}"))
                .at(format!("{}:{of}", path.display()))
                .hint("make them again: `engine run FILE --force STAGE`")
        };
        if bytes.last() != Some(&b'\n') {
            return Err(damaged("the last line is cut short".to_owned()));
        }
        let text = std::str::from_utf8(&bytes).map_err(|error| damaged(format!("no UTF-8: {error}")))?.trim_end();
        let line: Line = serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
        let row = line.scores.get(&by.metric);
        let score = row.and_then(|row| row_score(&by.figure, row));
        for name in row.into_iter().flat_map(BTreeMap::keys) {
            if !figures.contains(name) {
                figures.insert(name.clone());
            }
        }
        judged |= score.is_some();
        let failed = line.failed.is_some();
        let (class, goodness) = match score {
            _ if failed => (0, 0.0),
            Some(RowScore { value: None, .. }) => (1, 0.0),
            Some(RowScore { value: Some(value), more_is_better: true, .. }) => (2, value),
            Some(RowScore { value: Some(value), .. }) => (2, -value),
            None => (3, 0.0),
        };
        let is_worse = heap.len() < count
            || heap.peek().is_some_and(|best| {
                (class, goodness).partial_cmp(&(best.class, best.goodness)) == Some(Ordering::Less)
            });
        if is_worse {
            heap.push(Ranked { class, goodness, row: WorstRow { line: of, failed, score, text: text.to_owned() } });
            if heap.len() > count {
                heap.pop();
            }
        }
    }
    if !judged && !figures.is_empty() {
        let known: Vec<String> = figures.iter().map(|figure| format!("{}.{figure}", by.metric)).collect();
        let hint = spec::suggest::did_you_mean(&by.to_string(), known.iter().map(String::as_str));
        return Err(Error::new(format!("no row has the figure `{by}`")).in_file(path).hint(hint));
    }
    Ok(Worst { rows: heap.into_sorted_vec().into_iter().map(|ranked| ranked.row).collect(), of })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn by(metric: &str, figure: &str) -> By {
        By { metric: metric.to_owned(), figure: figure.to_owned() }
    }

    fn found(lines: &[String], by: &By, count: usize) -> Result<Worst, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("predictions.jsonl");
        std::fs::write(&path, lines.concat()).unwrap();
        worst(&path, by, count)
    }

    fn lines(rows: &[(Option<f64>, bool)], figure: &str) -> Vec<String> {
        rows.iter()
            .map(|(score, failed)| {
                let why = failed.then_some("it did not fit");
                let scores = json!({ "m": { (figure): score, "tokens": 1.0 }, "n": { "exact": score } });
                format!("{}\n", json!({ "id": "é", "failed": why, "scores": scores }))
            })
            .collect()
    }

    #[test]
    fn failed_rows_come_first_then_the_worst_and_ties_in_their_order() {
        let rows = [(0.5, false), (0.0, false), (1.0, false), (0.0, false), (1.0, true), (0.25, false)]
            .map(|(score, failed)| (Some(score), failed));
        let order = |found: Worst| found.rows.iter().map(|row| row.line).collect::<Vec<_>>();
        let all = [5, 2, 4, 6, 1, 3];
        for count in 0..8 {
            let worst = found(&lines(&rows, "nll"), &by("n", "exact"), count).unwrap();
            assert_eq!(worst.of, 6);
            assert_eq!(order(worst), all[..count.min(6)], "{count}");
        }
        // The other way round where less is better, and what is no number is worse than any.
        let rows = [(Some(0.5), false), (Some(3.0), false), (None, false), (Some(3.0), false)];
        let worst = found(&lines(&rows, "nll"), &by("m", "perplexity"), 3).unwrap();
        assert_eq!(worst.rows[1].score.unwrap().value, Some(3.0));
        assert_eq!(order(worst), [3, 2, 4]);
    }

    #[test]
    fn what_is_damaged_is_said_with_its_line() {
        let mut rows = lines(&[(Some(1.0), false); 3], "nll");
        rows[1] = "{\"id\": \n".to_owned();
        let error = found(&rows, &by("n", "exact"), 2).unwrap_err();
        assert!(error.place.as_deref().unwrap().ends_with("predictions.jsonl:2"), "{error}");
        let hint = error.hint.as_deref().unwrap();
        assert!(hint.contains("--force"), "{error}");
        rows[1] = "[1]\n".to_owned();
        assert!(found(&rows, &by("n", "exact"), 2).is_err());
        let mut rows = lines(&[(Some(1.0), false); 3], "nll");
        rows[2].truncate(20);
        let error = found(&rows, &by("n", "exact"), 2).unwrap_err();
        assert!(error.message.contains("cut short"), "{error}");
    }

    #[test]
    fn a_figure_is_one_of_the_stages_metrics() {
        let metrics: Vec<Metric> = serde_json::from_str(r#"["perplexity", "token_accuracy"]"#).unwrap();
        assert_eq!(By::of(&metrics, None).unwrap(), by("perplexity", "perplexity"));
        let other = By::of(&metrics, Some("token_accuracy.token_accuracy")).unwrap();
        assert_eq!(other, by("token_accuracy", "token_accuracy"));
        for wrong in ["perplexty.perplexity", "perplexity", "perplexity.", "perplexity.exact", ""] {
            let error = By::of(&metrics, Some(wrong)).unwrap_err();
            assert!(error.hint.is_some(), "{error}");
        }
        let rows = lines(&[(Some(1.0), false); 2], "nll");
        let error = found(&rows, &by("n", "exakt"), 1).unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("did you mean `n.exact`?"));
    }
}
