//! How well one row did, by the figure of all rows that a person looks at. A metric's figures of a row are often others
//! than its figures of all rows: an accuracy counts `correct`, a perplexity adds up `nll`. Knows figures by name; no file.

use std::collections::BTreeMap;

/// How well a row did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowScore {
    /// What it is called: `exact`, `mean_nll`.
    pub name: &'static str,
    /// The number; none where it is not finite.
    pub value: Option<f64>,
    /// Whether more of it is better.
    pub more_is_better: bool,
}

/// Figures of rows of which more is better; what else a row has is a count.
const SCORES: [&str; 19] = [
    "exact",
    "f1",
    "exact_match",
    "bleu",
    "chrf",
    "rouge1",
    "rouge1_precision",
    "rouge1_recall",
    "rouge2",
    "rouge2_precision",
    "rouge2_recall",
    "rougeL",
    "rougeL_precision",
    "rougeL_recall",
    "rougeLsum",
    "rougeLsum_precision",
    "rougeLsum_recall",
    "meteor",
    "correct",
];

/// The score of a row by `figure`, a figure of all rows or of one, from what a metric says of the row; a figure of it is
/// nothing where it is no finite number. Nothing where the row does not tell, such as one without a token that counts.
///
/// The row's own figure of that name comes first. Else a perplexity's row is judged by its mean negative log-likelihood (or,
/// for a share of tokens, by its own share), a class by whether it is right, and a number by how far off it is.
pub fn row_score(figure: &str, row: &BTreeMap<String, Option<f64>>) -> Option<RowScore> {
    let more = |name, value| Some(RowScore { name, value, more_is_better: true });
    let less = |name, value| Some(RowScore { name, value, more_is_better: false });
    if let Some(tokens) = row.get("tokens").copied().flatten() {
        let share = |of: &str| row.get(of).map(|sum| sum.map(|sum| sum / tokens));
        if tokens <= 0.0 {
            return None;
        }
        return match figure {
            "nll" => less("nll", *row.get("nll")?),
            "token_accuracy" | "row_accuracy" | "correct" => more("token_accuracy", share("correct")?),
            _ => match share("nll") {
                Some(mean) => less("mean_nll", mean),
                None => more("token_accuracy", share("correct")?),
            },
        };
    }
    if let Some(name) = SCORES.iter().find(|name| **name == figure)
        && let Some(value) = row.get(*name)
    {
        return more(name, *value);
    }
    if let Some(correct) = row.get("correct") {
        return more("correct", *correct);
    }
    row.get("error").and_then(|error| less("error", error.map(f64::abs)))
}

#[cfg(test)]
mod tests {
    use spec::metric::Metric;

    use super::*;
    use crate::metrics::{ChoiceRow, ChoiceScore, ClassRow, Counted, Counter, NumberRow, TextRow, TokenScore, counter};

    fn counted(counter: &Counter) -> Counted {
        let text = |answer: &str| TextRow::new(Some(answer.to_owned()), vec!["a small red thing".to_owned()]);
        let choices = |first: f64| ChoiceRow {
            choices: [first, -2.0]
                .map(|log_likelihood| ChoiceScore { log_likelihood, tokens: 1, characters: 1, bytes: 1 })
                .to_vec(),
            right: 0,
        };
        let tokens = |nll, correct| TokenScore { nll, tokens: 4, correct, ..TokenScore::default() };
        match counter {
            Counter::Text(metric) => metric.count(&[text("a small red thing"), text("dogs")]),
            Counter::Tokens(metric) => metric.count(&[tokens(1.0, 3), tokens(9.0, 1)]),
            Counter::Classes(metric) => metric.count(
                &[ClassRow { predicted: Some(1), right: 1 }, ClassRow { predicted: Some(1), right: 0 }],
                &["no".to_owned(), "yes".to_owned()],
            ),
            Counter::Choices(metric) => metric.count(&[choices(-1.0), choices(-3.0)]),
            Counter::Numbers(metric) => metric.count(&[
                NumberRow { predicted: Some(1.1), right: 1.0 },
                NumberRow { predicted: Some(-4.0), right: 1.0 },
            ]),
        }
    }

    #[test]
    fn a_bad_row_is_worse_than_a_good_one_by_every_metrics_first_figure() {
        for name in Metric::NAMES {
            let metric: Metric = serde_json::from_value((*name).into()).unwrap();
            let counter = counter(&metric);
            let score = |row: &BTreeMap<String, f64>| {
                let row = row.iter().map(|(name, value)| (name.clone(), Some(*value))).collect();
                row_score(counter.headline()[0], &row).unwrap_or_else(|| panic!("{name}: {row:?}"))
            };
            let counted = counted(&counter);
            let (good, bad) = (score(&counted.rows[0]), score(&counted.rows[1]));
            let (good, bad, more) = (good.value.unwrap(), bad.value.unwrap(), good.more_is_better);
            assert!(if more { bad < good } else { bad > good }, "{name}: {good} and {bad}");
        }
    }

    #[test]
    fn a_row_is_judged_by_its_own_figure_first() {
        let row = |figures: &[(&str, Option<f64>)]| {
            figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect::<BTreeMap<_, _>>()
        };
        let text = row(&[("exact", Some(0.0)), ("f1", Some(0.25)), ("has_answer", Some(1.0))]);
        assert_eq!(row_score("f1", &text).unwrap().value, Some(0.25));
        assert_eq!(row_score("has_answer", &text), None);
        assert_eq!(row_score("rouge1", &text), None);
        let tokens = row(&[("nll", Some(6.0)), ("tokens", Some(4.0)), ("correct", Some(1.0))]);
        let mean = RowScore { name: "mean_nll", value: Some(1.5), more_is_better: false };
        assert_eq!(row_score("perplexity", &tokens), Some(mean));
        assert_eq!(row_score("token_accuracy", &tokens).unwrap().value, Some(0.25));
        assert_eq!(row_score("perplexity", &row(&[("nll", Some(0.0)), ("tokens", Some(0.0))])), None);
        let unknown = row(&[("nll", None), ("tokens", Some(4.0)), ("correct", Some(1.0))]);
        assert_eq!(row_score("perplexity", &unknown).unwrap().value, None);
        let off = row(&[("error", Some(-2.0))]);
        assert_eq!(
            row_score("pearson", &off),
            Some(RowScore { name: "error", value: Some(2.0), more_is_better: false })
        );
    }
}
